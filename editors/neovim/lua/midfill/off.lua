--- Switching off: in this buffer, for a filetype (nothing is asked there any more), or everywhere (the server is told, and
--- lets its engine go).

local attach = require('midfill.attach')
local api = vim.api

local M = {}

---@alias midfill.Scope 'here'|'filetype'|'everywhere'

---@type table<string, true>
local filetypes = {}

--- Why a buffer goes without; nil where it does not.
---@param buf integer
---@return string?
function M.reason(buf)
  if vim.b[buf].midfill_off then
    return 'off in this buffer; on again: :Midfill enable here'
  end
  local filetype = vim.bo[buf].filetype
  if filetypes[filetype] then
    return ('off for %s; on again: :Midfill enable filetype'):format(filetype)
  end
end

--- Whether it is switched off for all: this the server knows.
---@param buf integer
---@return string?
function M.everywhere(buf)
  local known = require('midfill.status').of(attach.client(buf))
  return known and known.state == 'off' and 'off everywhere; on again: :Midfill enable everywhere' or nil
end

---@param client vim.lsp.Client?
---@param enabled boolean
local function tell(client, enabled)
  if client then
    client:notify('workspace/didChangeConfiguration', { settings = { midfill = { enabled = enabled } } })
  end
end

--- Buffers of which a filetype's or their own switch is meant.
---@param scope midfill.Scope
---@param buf integer
---@return integer[]
local function buffers(scope, buf)
  if scope == 'here' then
    return { buf }
  end
  return vim.tbl_filter(function(other)
    return api.nvim_buf_is_loaded(other) and vim.bo[other].filetype == vim.bo[buf].filetype
  end, api.nvim_list_bufs())
end

---@param scope midfill.Scope
---@param buf integer
function M.disable(scope, buf)
  local client = attach.client(buf)
  if scope == 'everywhere' then
    return tell(client, false)
  end
  if scope == 'here' then
    vim.b[buf].midfill_off = true
  else
    filetypes[vim.bo[buf].filetype] = true
  end
  for _, one in ipairs(buffers(scope, buf)) do
    attach.leave(one)
    if client then
      require('midfill.popup').suspend(client, one)
    end
  end
  vim.cmd.redrawstatus()
end

---@param scope midfill.Scope
---@param buf integer
function M.enable(scope, buf)
  local client = attach.client(buf)
  if scope == 'everywhere' then
    tell(client, true)
  elseif scope == 'filetype' then
    filetypes[vim.bo[buf].filetype] = nil
  end
  vim.b[buf].midfill_off = nil
  for _, one in ipairs(buffers(scope, buf)) do
    if client and client.attached_buffers[one] and not M.reason(one) then
      attach.join(client, one)
    end
  end
  if not client then
    vim.lsp.enable('midfill')
  end
  vim.cmd.redrawstatus()
end

return M
