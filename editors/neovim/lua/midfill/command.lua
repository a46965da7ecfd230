--- `:Midfill`: each word after it is an entry of the table below.

local attach = require('midfill.attach')
local off = require('midfill.off')
local program = require('midfill.program')
local status = require('midfill.status')
local window = require('midfill.window')

local M = {}
local SCOPES = { 'here', 'filetype', 'everywhere' }

---@param text string
local function warn(text)
  vim.notify('midfill: ' .. text, vim.log.levels.WARN)
end

--- Ask the server; where there is none, say so.
---@param method string
---@param params table
---@param answer fun(result: any)
local function ask(method, params, answer)
  local client = attach.client(vim.api.nvim_get_current_buf())
  if not client then
    return warn('it does not run; :checkhealth midfill')
  end
  client:request(method, params, function(err, result)
    if err then
      return warn(err.message)
    end
    answer(result)
  end)
end

--- Run a command of midfill's and hand over what it printed. Not in the workspace's folder.
---@param arguments string[]
---@param answer fun(text: string)
local function run(arguments, answer)
  local cmd = program.other(arguments)
  local ok, error = pcall(vim.system, cmd, { text = true, cwd = vim.uv.os_homedir() }, vim.schedule_wrap(function(done)
    answer(vim.trim(done.code == 0 and done.stdout or done.stderr .. done.stdout))
  end))
  if not ok then
    warn(tostring(error))
  end
end

---@param change fun(scope: midfill.Scope, buf: integer)
---@return fun(scope?: string)
local function switch(change)
  return function(scope)
    scope = scope or 'here'
    if not vim.list_contains(SCOPES, scope) then
      return warn('say one of ' .. table.concat(SCOPES, ', '))
    end
    change(scope --[[@as midfill.Scope]], vim.api.nvim_get_current_buf())
  end
end

local function explain()
  local buf = vim.api.nvim_get_current_buf()
  local function say_off(reason)
    window.show('explain', { 'Nothing was shown: ' .. reason .. '.' })
  end
  if off.here(buf) then
    return say_off(off.here(buf))
  end
  ask('midfill/explain', { textDocument = { uri = vim.uri_from_bufnr(buf) } }, function(result)
    local story = result ~= vim.NIL and result and result.story
    if not story and off.reason(buf) then
      return say_off(off.reason(buf))
    end
    window.show('explain', { story or 'Nothing was asked for in this buffer yet.' })
  end)
end

---@return string
local function folder_of_state()
  local own, xdg = vim.env.MIDFILL_STATE_DIR, vim.env.XDG_STATE_HOME
  local windows = vim.fn.has('win32') == 1 and vim.env.LOCALAPPDATA or nil
  return own or vim.fs.joinpath(xdg or windows or vim.fs.joinpath(vim.uv.os_homedir() or '/', '.local', 'state'), 'midfill')
end

--- The adapters that are registered, by their folders' names.
---@return string[]
local function adapters()
  local own, xdg = vim.env.MIDFILL_DATA_DIR, vim.env.XDG_DATA_HOME
  local windows = vim.fn.has('win32') == 1 and vim.env.LOCALAPPDATA or nil
  local base = own or vim.fs.joinpath(xdg or windows or vim.fs.joinpath(vim.uv.os_homedir() or '/', '.local', 'share'), 'midfill')
  local names = { 'auto', 'none' }
  for name in vim.fs.dir(vim.fs.joinpath(base, 'adapters')) do
    if not vim.startswith(name, '.') then
      names[#names + 1] = name
    end
  end
  return names
end

---@param name? string
local function adapter(name)
  local client = attach.client(vim.api.nvim_get_current_buf())
  if not name then
    local known = status.of(client)
    return vim.notify(('midfill: adapter %s; to choose: %s'):format(known and known.adapter or 'none', table.concat(adapters(), ', ')))
  end
  if not client then
    return warn('it does not run; :checkhealth midfill')
  end
  client:notify('workspace/didChangeConfiguration', { settings = { midfill = { adapter = name } } })
end

--- Stop the server, and start it once it is gone.
local function restart()
  local gone = vim.tbl_filter(attach.is_ours, vim.lsp.get_clients())
  vim.lsp.enable('midfill', false)
  local timer = assert(vim.uv.new_timer())
  timer:start(0, 50, vim.schedule_wrap(function()
    if vim.iter(gone):all(function(client)
      return client:is_stopped()
    end) and not timer:is_closing() then
      timer:close()
      vim.lsp.enable('midfill')
    end
  end))
end

---@class midfill.Subcommand
---@field run fun(argument?: string)
---@field words? fun(): string[]

---@type table<string, midfill.Subcommand>
local SUBCOMMANDS = {
  status = {
    run = function()
      local buf = vim.api.nvim_get_current_buf()
      local reason = off.reason(buf)
      local lines = reason and { 'midfill: ' .. reason } or status.story(status.of(attach.client(buf)))
      vim.api.nvim_echo({ { table.concat(lines, '\n') } }, true, {})
    end,
  },
  enable = {
    run = switch(off.enable),
    words = function()
      return SCOPES
    end,
  },
  disable = {
    run = switch(off.disable),
    words = function()
      return SCOPES
    end,
  },
  adapter = { run = adapter, words = adapters },
  explain = { run = explain },
  stats = {
    run = function()
      run({ 'stats', '--days', '7' }, function(text)
        window.show('stats', { text })
      end)
    end,
  },
  log = {
    run = function()
      local files = vim.fn.glob(vim.fs.joinpath(folder_of_state(), 'log', '*.log'), true, true)
      if #files == 0 then
        return warn('there is no log yet')
      end
      table.sort(files, function(a, b)
        return vim.fn.getftime(a) > vim.fn.getftime(b)
      end)
      vim.cmd.split(vim.fn.fnameescape(files[1]))
      vim.bo.readonly = true
      vim.cmd('normal! G')
    end,
  },
  restart = { run = restart },
}

--- The command without a word says how things stand.
---@param words string[]
function M.run(words)
  local subcommand = SUBCOMMANDS[words[1] or 'status']
  if not subcommand then
    return warn(('unknown: %s (known: %s)'):format(words[1], table.concat(M.complete('', 'Midfill '), ', ')))
  end
  subcommand.run(words[2])
end

---@param lead string
---@param line string
---@return string[]
function M.complete(lead, line)
  local words = vim.split(vim.trim(line:sub(1, #line - #lead)), '%s+', { trimempty = true })
  local known = vim.tbl_keys(SUBCOMMANDS)
  if #words > 1 then
    local subcommand = SUBCOMMANDS[words[2]]
    known = #words == 2 and subcommand and subcommand.words and vim.deepcopy(subcommand.words()) or {}
  end
  table.sort(known)
  return vim.tbl_filter(function(word)
    return vim.startswith(word, lead)
  end, known)
end

return M
