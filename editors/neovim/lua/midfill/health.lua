--- `:checkhealth midfill`

local attach = require('midfill.attach')
local config = require('midfill.config')
local program = require('midfill.program')
local status = require('midfill.status')

local M = {}
local health = vim.health
local PATIENCE_MS = 60000 -- a machine that trains or compiles is slow, not broken

local function check_neovim()
  health.start('midfill: Neovim')
  if vim.fn.has('nvim-0.11') == 0 then
    return health.error('Neovim 0.11 or newer is needed')
  end
  health.ok('Neovim ' .. tostring(vim.version()))
  local ways = {
    plugin = 'ghost text: by this plugin, growing while the model writes',
    builtin = "ghost text: by Neovim's own vim.lsp.inline_completion",
  }
  local way = config.way()
  if way == 'builtin' and not vim.lsp.inline_completion then
    return health.error('ghost text: this Neovim has no vim.lsp.inline_completion', "set ghost_text = 'plugin'")
  end
  health.info(way and ways[way] or 'ghost text: off (ghost_text = false)')
end

--- Run a command of midfill outside the workspace's folder, and wait: the user does not type in a health report.
---@param arguments string[]
---@return string? output
local function output_of(arguments)
  local cmd = program.other(arguments)
  local ok, done = pcall(function()
    return vim.system(cmd, { text = true, cwd = vim.uv.os_homedir() }):wait(PATIENCE_MS)
  end)
  return ok and (done.code == 0 or done.stdout ~= '') and done.stdout or nil
end

---@return boolean
local function check_program()
  health.start('midfill: the program')
  local path = program.other({})[1]
  local version = output_of({ '--version' })
  if not version then
    health.error(path .. ' does not start', {
      "install it: pip install 'midfill[embedded]' (or uv tool install, or pipx install)",
      "or set its path: vim.lsp.config('midfill', { cmd = { '/path/to/midfill', 'lsp', '--stdio' } })",
    })
    return false
  end
  health.ok(('%s at %s'):format(vim.trim(version), vim.fn.exepath(path)))
  return true
end

local function check_doctor()
  health.start('midfill: midfill doctor')
  local ok, findings = pcall(vim.json.decode, output_of({ 'doctor', '--json' }) or '')
  if not ok then
    return health.error('midfill doctor gave no report', 'run it in a terminal')
  end
  local say = { ok = health.ok, warning = health.warn, fault = health.error }
  for _, finding in ipairs(findings) do
    local text = ('%s: %s'):format(finding.what, finding.says)
    say[finding.state](text, finding.state ~= 'ok' and finding.remedy ~= '' and finding.remedy or nil)
  end
end

local function check_clients()
  health.start('midfill: language server')
  if not vim.lsp.is_enabled('midfill') then
    health.warn('not enabled', "put into your init.lua: vim.lsp.enable('midfill')")
  end
  local clients = vim.tbl_filter(attach.is_ours, vim.lsp.get_clients())
  if #clients == 0 then
    return health.info('not running: it starts with the first file of one of its filetypes')
  end
  for _, client in ipairs(clients) do
    local lines = status.story(status.of(client))
    local report = (status.of(client) or {}).state == 'error' and health.error or health.ok
    local n = vim.tbl_count(client.attached_buffers)
    report(('%s, attached to %d %s'):format(table.concat(lines, ';'), n, n == 1 and 'buffer' or 'buffers'))
  end
end

local function check_keys()
  health.start('midfill: keys')
  local buf = vim.iter(vim.api.nvim_list_bufs()):find(function(one)
    return vim.iter(vim.lsp.get_clients({ bufnr = one })):any(attach.is_ours)
  end)
  for name, lhs in vim.spairs(config.options.keymaps or {}) do
    local map = lhs
      and buf
      and vim.api.nvim_buf_call(buf, function()
        return vim.fn.maparg(lhs, 'i', false, true)
      end)
    if map and not (map.desc or ''):find('midfill') then
      health.warn(
        ('%s (%s) belongs to another map: %s'):format(lhs, name, map.desc or map.rhs or 'a function'),
        ('map another key to <Plug>(midfill-%s)'):format(name)
      )
    elseif lhs then
      health.ok(('%s: %s'):format(lhs, name))
    end
  end
end

function M.check()
  check_neovim()
  check_keys()
  check_clients()
  if check_program() then
    check_doctor()
  end
end

return M
