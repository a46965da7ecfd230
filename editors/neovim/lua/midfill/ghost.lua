--- Ghost text that grows while the model writes: one request per buffer, cancelled by the next key.
---
--- When the user types along a suggestion, the typed text disappears from it at once, before the screen is drawn again.
--- The plugin asks the server again only while the rest still grows. The server waits for the next key by itself, so
--- there is no timer here.

local Suggestion = require('midfill.suggestion')
local dismissed = require('midfill.dismissed')
local draw = require('midfill.draw')
local pieces = require('midfill.pieces')
local text = require('midfill.text')
local api = vim.api

local M = {}
local METHOD = 'midfill/inlineCompletion'
local INVOKED, AUTOMATIC = 1, 2

---@class midfill.Pending
---@field token string
---@field id? integer
---@field row integer
---@field col integer
---@field tick integer
---@field step integer     1 or -1: show the alternative after or before the shown one; 0: neither

---@class midfill.Ghost
---@field client vim.lsp.Client
---@field row integer      the cursor at the last look
---@field col integer
---@field tick integer     and the buffer's count of changes
---@field pending? midfill.Pending
---@field suggestion? midfill.Suggestion
---@field told? string     the last suggestion that the plugin reported as shown
---@field missed? integer  the trigger kind of the last request without a suggestion, perhaps because of no engine

---@type table<integer, midfill.Ghost>
local ghosts = {}
local n_tokens = 0

---@param buf integer
---@return integer row, integer col, integer tick
local function here(buf)
  local row, col = unpack(api.nvim_win_get_cursor(0))
  return row - 1, col, api.nvim_buf_get_changedtick(buf)
end

local function inserting()
  return api.nvim_get_mode().mode:find('^i') ~= nil
end

---@param ghost midfill.Ghost
local function cancel(ghost)
  if ghost.pending and ghost.pending.id then
    ghost.client:cancel_request(ghost.pending.id)
  end
  ghost.pending = nil
end

---@param buf integer
---@param ghost midfill.Ghost
local function hide(buf, ghost)
  ghost.suggestion = nil
  draw.clear(buf)
end

---@param ghost midfill.Ghost
local function tell_shown(ghost)
  local raw = ghost.suggestion:item().raw
  local id = vim.tbl_get(raw, 'command', 'arguments', 1)
  if id and id ~= ghost.told then
    ghost.told = id
    ghost.client:notify('textDocument/didShowCompletion', { item = raw })
  end
end

---@param buf integer
---@param ghost midfill.Ghost
local function show(buf, ghost)
  local suggestion = ghost.suggestion --[[@as midfill.Suggestion]]
  draw.show(buf, ghost.row, ghost.col, suggestion:rest(), suggestion:covered(), suggestion:hint())
  if not suggestion.growing then
    tell_shown(ghost)
  end
end

--- Choose from an answer to "another one, please" the first (or the last) item that is not shown already.
---@param fresh midfill.Suggestion
---@param shown string
---@param step integer
local function choose_other(fresh, shown, step)
  local first, last = step > 0 and 1 or #fresh.items, step > 0 and #fresh.items or 1
  for i = first, last, step > 0 and 1 or -1 do
    if fresh.items[i].text ~= shown then
      fresh.index = i
      return
    end
  end
end

--- Dismiss the shown suggestion: remember it, so that it does not come back, and tell the server.
---@param buf integer
---@param ghost midfill.Ghost
local function dismiss(buf, ghost)
  local suggestion = ghost.suggestion
  if not suggestion or ghost.row < 0 then
    return
  end
  local line = api.nvim_buf_get_lines(buf, ghost.row, ghost.row + 1, false)[1] or ''
  dismissed.add(buf, ghost.row, ghost.col, suggestion:rest())
  ghost.client:notify('midfill/dismissed', {
    textDocument = { uri = vim.uri_from_bufnr(buf), version = vim.lsp.util.buf_versions[buf] },
    position = { line = ghost.row, character = vim.str_utfindex(line, ghost.client.offset_encoding, ghost.col, false) },
    text = suggestion:rest(),
  })
end

--- Mark where a triggered suggestion will appear while the engine is not ready.
---@param buf integer
---@param ghost midfill.Ghost
local function show_awaited(buf, ghost)
  if not ghost.suggestion and not require('midfill.status').is_ready(ghost.client) then
    draw.show(buf, ghost.row, ghost.col, '…', '')
  end
end

--- Show a value or the answer, unless it only repeats a beginning of the shown text, which would flicker.
---@param buf integer
---@param ghost midfill.Ghost
---@param pending midfill.Pending
---@param items table[]
---@param growing boolean
local function receive(buf, ghost, pending, items, growing)
  local row, col, tick = here(buf)
  if
    api.nvim_get_current_buf() ~= buf
    or not inserting()
    or tick ~= pending.tick
    or row ~= pending.row
    or col ~= pending.col
  then
    return
  end
  local encoding = ghost.client.offset_encoding
  local fresh = Suggestion.new(items, { buf = buf, row = row, col = col, encoding = encoding, growing = growing })
  local shown = ghost.suggestion and ghost.suggestion:rest() or ''
  if growing and (not fresh or vim.startswith(shown, fresh:rest()) or (pending.step ~= 0 and shown ~= '')) then
    return
  end
  if not fresh then
    hide(buf, ghost)
    return ghost.missed == INVOKED and show_awaited(buf, ghost)
  end
  if pending.step ~= 0 then
    choose_other(fresh, shown, pending.step)
  end
  ghost.suggestion = fresh
  show(buf, ghost)
end

---@param buf integer
---@param ghost midfill.Ghost
---@param kind integer
---@param step integer
local function request(buf, ghost, kind, step)
  cancel(ghost)
  ghost.missed = kind
  n_tokens = n_tokens + 1
  local token = ('midfill-%d-%d'):format(buf, n_tokens)
  local params = vim.lsp.util.make_position_params(0, ghost.client.offset_encoding) --[[@as table]]
  params.context = { triggerKind = kind }
  params.partialResultToken = token
  ---@type midfill.Pending
  local pending = { token = token, row = ghost.row, col = ghost.col, tick = ghost.tick, step = step }
  ghost.pending = pending
  local sent, id = ghost.client:request(METHOD, params, function(err, result)
    if ghost.pending ~= pending then
      return
    end
    ghost.pending = nil
    receive(buf, ghost, pending, not err and result and result.items or {}, false)
  end, buf)
  pending.id = sent and id or nil
  if kind == INVOKED then
    dismissed.forget(buf, ghost.row)
    show_awaited(buf, ghost)
  end
end

---@param buf integer  whose cursor moved or text changed; one key causes both events
local function moved(buf)
  local ghost = ghosts[buf]
  if not ghost or api.nvim_get_current_buf() ~= buf or not inserting() then
    return
  end
  local row, col, tick = here(buf)
  if row == ghost.row and col == ghost.col and tick == ghost.tick then
    return
  end
  ghost.row, ghost.col, ghost.tick = row, col, tick
  local suggestion = ghost.suggestion
  if suggestion and suggestion:follow(buf, row, col) then
    show(buf, ghost)
    if not suggestion.growing then
      return cancel(ghost)
    end
  else
    hide(buf, ghost)
    if dismissed.holds(buf, row, col) then
      ghost.missed = nil
      return cancel(ghost)
    end
  end
  request(buf, ghost, AUTOMATIC, 0)
end

---@param buf integer
local function left(buf)
  local ghost = ghosts[buf]
  if ghost then
    cancel(ghost)
    hide(buf, ghost)
    ghost.row, ghost.missed = -1, nil
  end
end

--- Insert mode ends: Escape dismisses the suggestion; after CTRL-O insert mode continues.
---@param buf integer
local function ended(buf)
  local ghost = ghosts[buf]
  if ghost and ghost.suggestion and not api.nvim_get_mode().mode:find('^ni') then
    dismiss(buf, ghost)
  end
  left(buf)
end

--- The engine is ready: ask again where it could not answer, if the cursor is still there.
---@param client vim.lsp.Client
function M.retry(client)
  local buf = api.nvim_get_current_buf()
  local ghost = ghosts[buf]
  if not ghost or ghost.client ~= client or ghost.suggestion or not inserting() then
    return
  end
  local row, col, tick = here(buf)
  if ghost.missed and row == ghost.row and col == ghost.col and tick == ghost.tick then
    request(buf, ghost, ghost.missed, 0)
  end
end

--- The engine will not answer: remove the mark of an expected suggestion.
---@param client vim.lsp.Client
function M.give_up(client)
  for buf, ghost in pairs(ghosts) do
    if ghost.client == client and not ghost.suggestion then
      draw.clear(buf)
    end
  end
end

--- Handle $/progress; false if the token is not one of this plugin.
---@param params { token: string|integer, value: any }
---@return boolean
function M.on_progress(params)
  local buf = type(params.token) == 'string' and params.token:match('^midfill%-(%d+)%-')
  if not buf then
    return false
  end
  local ghost = ghosts[tonumber(buf)]
  local pending = ghost and ghost.pending
  if pending and pending.token == params.token then
    receive(tonumber(buf) --[[@as integer]], ghost, pending, params.value.items or {}, true)
  end
  return true
end

---@param client vim.lsp.Client
---@param buf integer
function M.attach(client, buf)
  ghosts[buf] = { client = client, row = -1, col = 0, tick = -1 }
  local group = api.nvim_create_augroup('midfill.ghost.' .. buf, { clear = true })
  local function on(events, callback)
    api.nvim_create_autocmd(events, {
      group = group,
      buffer = buf,
      callback = function()
        callback(buf)
      end,
    })
  end
  local function soon()
    vim.schedule(function()
      moved(buf)
    end)
  end
  on({ 'TextChangedI', 'TextChangedP', 'CursorMovedI' }, moved)
  on({ 'InsertEnter' }, soon) -- the mode changes only after this event
  on({ 'InsertLeave' }, ended)
  on({ 'BufLeave' }, left)
  soon() -- the user may already be typing when the client attaches
end

---@param buf integer
function M.detach(buf)
  left(buf)
  ghosts[buf] = nil
  dismissed.clear(buf)
  pcall(api.nvim_del_augroup_by_name, 'midfill.ghost.' .. buf)
end

-- ---- what keys do ----------------------------------------------------------------------------------------------------

--- Whether a suggestion is shown. First looks at the buffer: keys faster than the screen (a macro) raise no events.
---@param buf integer
---@return boolean
function M.visible(buf)
  moved(buf)
  return ghosts[buf] ~= nil and ghosts[buf].suggestion ~= nil
end

--- Accept the suggestion, or a piece of it.
---@param buf integer
---@param what midfill.Piece
---@return boolean taken
function M.take(buf, what)
  if not M.visible(buf) then
    return false
  end
  local ghost = ghosts[buf]
  local suggestion = ghost.suggestion --[[@as midfill.Suggestion]]
  local item, rest = suggestion:item(), suggestion:rest()
  tell_shown(ghost) -- it may still have been growing
  local piece = pieces.of[what](rest)
  local whole = piece == rest
  local n_taken = suggestion.n_typed + #piece
  text.put(buf, ghost.row, ghost.col, whole and #suggestion:covered() or 0, piece)
  if whole then
    hide(buf, ghost)
    if item.raw.command then
      ghost.client:exec_cmd(item.raw.command, { bufnr = buf })
    end
  else
    local n_chars = vim.str_utfindex(item.text, 'utf-32', n_taken)
    ghost.client:notify('textDocument/didPartiallyAcceptCompletion', { item = item.raw, acceptedLength = n_chars })
  end
  moved(buf)
  return true
end

--- Show the next or previous alternative; if there is only one suggestion, ask the server for more.
---@param buf integer
---@param by integer  1 or -1
function M.step(buf, by)
  local ghost = ghosts[buf]
  if not ghost then
    return
  end
  local suggestion = M.visible(buf) and ghost.suggestion
  if suggestion and #suggestion.items > 1 and suggestion.n_typed == 0 then
    suggestion.index = (suggestion.index - 1 + by) % #suggestion.items + 1
    return show(buf, ghost)
  end
  ghost.row, ghost.col, ghost.tick = here(buf)
  request(buf, ghost, INVOKED, by)
end

--- Trigger a suggestion.
---@param buf integer
function M.suggest(buf)
  local ghost = ghosts[buf]
  if ghost then
    ghost.row, ghost.col, ghost.tick = here(buf)
    request(buf, ghost, INVOKED, 0)
  end
end

--- Hide the suggestion, and keep it away while the user only types along it.
---@param buf integer
function M.dismiss(buf)
  local ghost = ghosts[buf]
  if ghost then
    dismiss(buf, ghost)
    cancel(ghost)
    hide(buf, ghost)
  end
end

return M
