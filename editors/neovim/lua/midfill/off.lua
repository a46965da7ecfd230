--- Switches suggestions off: in this buffer (the plugin no longer asks there), for a filetype, or everywhere. The last
--- two are settings of the server, which also says why a buffer gets no suggestions.

local attach = require('midfill.attach')
local api = vim.api

local M = {}

---@alias midfill.Scope 'here'|'filetype'|'everywhere'

---@class midfill.Why
---@field off string
---@field why string
---@field language string
---@field disabledLanguages string[]

--- How the user can undo each of the server's reasons here.
local BACK = { language_off = 'filetype', disabled = 'everywhere' }

--- The user's choices for languages in this session: a server that starts later gets them again.
---@type table<string, boolean>
local chosen = {}

--- Filetypes that were switched off while no server ran; once one runs, the plugin asks for its names of them.
---@type table<string, true>
local pending = {}

---@type table<integer, string>
local reasons = {}

--- Return why the plugin asks for nothing in a buffer; nil if it does ask.
---@param buf integer
---@return string?
function M.here(buf)
  return vim.b[buf].midfill_off and 'off in this buffer; turn it back on with :Midfill enable here' or nil
end

--- Return why a buffer gets no suggestions, in the server's words; nil if it gets some or the server was not asked yet.
---@param buf integer
---@return string?
function M.reason(buf)
  return M.here(buf) or reasons[buf]
end

---@param client vim.lsp.Client
---@param buf? integer
---@param answer fun(told: midfill.Why)
local function ask(client, buf, answer)
  local params = buf and { textDocument = { uri = vim.uri_from_bufnr(buf) } } or vim.empty_dict()
  client:request('midfill/why', params, function(err, told)
    if not err and told then
      answer(told)
    end
  end)
end

---@param client vim.lsp.Client
---@param settings table
local function tell(client, settings)
  client:notify('workspace/didChangeConfiguration', { settings = { midfill = settings } })
end

--- Ask again why buffers get no suggestions: one buffer, or all of a client.
---@param client vim.lsp.Client
---@param buf? integer
function M.refresh(client, buf)
  for _, one in ipairs(buf and { buf } or vim.tbl_keys(client.attached_buffers)) do
    ask(client, one, function(told)
      local back = BACK[told.off]
      local hint = back and ('; turn it back on with :Midfill enable %s'):format(back) or ''
      local is_open = told.language ~= '' -- else the server does not know it yet, or no longer
      local reason = is_open and told.off ~= '' and told.why .. hint or nil
      if reasons[one] ~= reason then
        reasons[one] = reason
        vim.cmd.redrawstatus({ bang = true })
      end
    end)
  end
end

---@param buf integer
function M.forget(buf)
  reasons[buf] = nil
end

--- Send a server the choices from before its start.
---@param client vim.lsp.Client
function M.again(client)
  if next(chosen) then
    ask(client, nil, function(told)
      local off = vim.tbl_filter(function(language)
        return chosen[language] ~= true
      end, told.disabledLanguages)
      for language, on in pairs(chosen) do
        if not on and not vim.list_contains(off, language) then
          off[#off + 1] = language
        end
      end
      tell(client, { disabledLanguages = off })
      M.refresh(client)
    end)
  end
end

--- Add a buffer's language to the server's list, or remove it. The server knows the language's name.
---@param client vim.lsp.Client
---@param buf integer
---@param on boolean
local function switch_language(client, buf, on)
  ask(client, buf, function(told)
    chosen[told.language] = on
    M.again(client)
  end)
end

--- Note that a buffer was attached.
---@param client vim.lsp.Client
---@param buf integer
function M.joined(client, buf)
  local filetype = vim.bo[buf].filetype
  if pending[filetype] then
    pending[filetype] = nil
    return switch_language(client, buf, false)
  end
  M.refresh(client, buf)
end

---@param scope midfill.Scope
---@param buf integer
---@param on boolean
local function switch(scope, buf, on)
  local client = attach.client(buf)
  if not client then
    if scope == 'filetype' then
      pending[vim.bo[buf].filetype] = not on or nil
    end
    if on then
      vim.lsp.enable('midfill')
    elseif scope == 'everywhere' then
      vim.notify('midfill: not running; see :checkhealth midfill', vim.log.levels.WARN)
    end
  elseif scope == 'everywhere' then
    tell(client, { enabled = on })
    M.refresh(client)
  elseif scope == 'filetype' then
    switch_language(client, buf, on)
  end
end

---@param scope midfill.Scope
---@param buf integer
function M.disable(scope, buf)
  if scope ~= 'here' then
    return switch(scope, buf, false)
  end
  vim.b[buf].midfill_off = true
  attach.leave(buf)
  local client = attach.client(buf)
  if client then
    require('midfill.popup').suspend(client, buf)
  end
  vim.cmd.redrawstatus()
end

---@param scope midfill.Scope
---@param buf integer
function M.enable(scope, buf)
  switch(scope, buf, true)
  local client = attach.client(buf)
  local was_off = vim.b[buf].midfill_off
  vim.b[buf].midfill_off = nil
  if was_off and client and client.attached_buffers[buf] then
    attach.join(client, buf)
  end
  vim.cmd.redrawstatus()
end

return M
