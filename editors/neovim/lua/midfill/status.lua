--- The server's status, for a statusline.

local M = {}

---@class midfill.Status
---@field state 'starting'|'ready'|'generating'|'off'|'error'
---@field message string
---@field remedy string
---@field stage string
---@field progress? number
---@field model string
---@field adapter string
---@field device string
---@field eagerness? string
---@field lines? string
---@field snoozed_s? number  seconds that were left when the server sent this
---@field snoozed_until? number  by Neovim's clock, in seconds

---@type table<integer, midfill.Status>
local by_client = {}

---@param client_id integer
---@param status midfill.Status
function M.update(client_id, status)
  status.snoozed_until = vim.uv.now() / 1000 + (status.snoozed_s or 0)
  by_client[client_id] = status
  vim.api.nvim_exec_autocmds('User', { pattern = 'MidfillStatus', modeline = false, data = status })
  vim.cmd.redrawstatus()
end

---@param client_id integer
function M.forget(client_id)
  by_client[client_id] = nil
end

---@param client vim.lsp.Client?
---@return midfill.Status?
function M.of(client)
  return client and by_client[client.id]
end

--- Whether the engine can answer.
---@param client vim.lsp.Client?
---@return boolean
function M.is_ready(client)
  local status = M.of(client)
  return status ~= nil and (status.state == 'ready' or status.state == 'generating')
end

---@param status midfill.Status
---@return string
local function starting(status)
  local done = type(status.progress) == 'number' and (' %d%%%%'):format(100 * status.progress + 0.5) or ''
  return 'midfill: starting' .. done
end

local LINES = {
  starting = starting,
  ready = function(status)
    local adapter = status.adapter or ''
    local is_usual = vim.list_contains({ '', 'none', 'embedded' }, adapter)
    return 'midfill' .. (is_usual and '' or ' ' .. adapter:gsub('%%', '%%%%'))
  end,
  generating = function()
    return 'midfill …'
  end,
  off = function()
    return 'midfill: off'
  end,
  error = function()
    return 'midfill: error, see :Midfill'
  end,
}

--- A component for a statusline: `%{%v:lua.require'midfill'.statusline()%}`. Empty in buffers without midfill.
---@param buf? integer
---@return string
function M.line(buf)
  buf = buf or vim.api.nvim_get_current_buf()
  local here = vim.iter(vim.lsp.get_clients({ bufnr = buf })):find(require('midfill.attach').is_ours)
  local status = M.of(here)
  local minutes = status and math.ceil((status.snoozed_until - vim.uv.now() / 1000) / 60) or 0
  if minutes > 0 and not require('midfill.off').here(buf) then
    return ('midfill: snoozed %d min'):format(minutes)
  end
  if require('midfill.off').reason(buf) then
    return 'midfill: off'
  end
  return status and LINES[status.state] and LINES[status.state](status) or ''
end

--- Return everything that is known, as lines for the user.
---@param status midfill.Status?
---@return string[]
function M.story(status)
  if not status then
    return { 'midfill is not running in this buffer', "  :lua vim.lsp.enable('midfill'), or :checkhealth midfill" }
  end
  local message = type(status.message) == 'string' and status.message or ''
  local is_remark = status.state == 'ready' or status.state == 'generating' -- suggestions work all the same
  local how = is_remark and ' (warning: %s)' or ': %s'
  local lines = { ('midfill: %s%s'):format(status.state, message ~= '' and how:format(message) or '') }
  if status.remedy and status.remedy ~= '' then
    lines[#lines + 1] = '  ' .. status.remedy
  end
  if status.model and status.model ~= '' then
    local adapter = status.adapter ~= '' and status.adapter or 'none'
    lines[#lines + 1] = ('  model %s, adapter %s, device %s'):format(status.model, adapter, status.device)
  end
  return lines
end

return M
