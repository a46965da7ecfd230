--- Ghost text by Neovim's own vim.lsp.inline_completion, from 0.12 on. It shows one answer and does not grow.

local pieces = require('midfill.pieces')
local api = vim.api

local M = {}
local NAMESPACE = 'nvim.lsp.inline_completion'

---@type table<integer, vim.lsp.Client>
local clients = {}

---@param client vim.lsp.Client
---@param buf integer
function M.attach(client, buf)
  if vim.lsp.inline_completion then
    clients[buf] = client
    vim.lsp.inline_completion.enable(true, { bufnr = buf })
  end
end

---@param buf integer
function M.detach(buf)
  if clients[buf] and api.nvim_buf_is_valid(buf) then
    vim.lsp.inline_completion.enable(false, { bufnr = buf })
  end
  clients[buf] = nil
end

---@param buf integer
---@return boolean
function M.visible(buf)
  local namespace = api.nvim_get_namespaces()[NAMESPACE]
  return namespace ~= nil and #api.nvim_buf_get_extmarks(buf, namespace, 0, -1, { limit = 1 }) > 0
end

--- Return where an item's text begins; Neovim renamed the fields of vim.Range before 0.12.
---@param range any
---@return integer row, integer col
local function start_of(range)
  if range.start then
    return range.start.row, range.start.col
  end
  return range.start_row, range.start_col
end

--- Insert a piece of the suggestion at the cursor. The rest comes back with the next request.
---@param buf integer
---@param item { insert_text: string|{ value: string }, range?: any, command?: lsp.Command }
---@param what midfill.Piece
local function take_piece(buf, item, what)
  local text = type(item.insert_text) == 'table' and item.insert_text.value or item.insert_text --[[@as string]]
  local cursor = api.nvim_win_get_cursor(0)
  local row, col = cursor[1] - 1, cursor[2]
  local n_typed = 0
  if item.range then
    local from_row, from_col = start_of(item.range)
    local typed = table.concat(api.nvim_buf_get_text(buf, from_row, from_col, row, col, {}), '\n')
    if not vim.startswith(text, typed) then
      return
    end
    n_typed = #typed
  end
  local piece = pieces.of[what](text:sub(n_typed + 1))
  require('midfill.text').put(buf, row, col, 0, piece)
  local client = clients[buf]
  if client and item.command then
    local n_chars = vim.str_utfindex(text, 'utf-32', n_typed + #piece)
    client:notify(
      'textDocument/didPartiallyAcceptCompletion',
      { item = { command = item.command }, acceptedLength = n_chars }
    )
  end
end

---@param buf integer
---@param what midfill.Piece
---@return boolean taken
function M.take(buf, what)
  if what == 'all' then
    return vim.lsp.inline_completion.get({ bufnr = buf })
  end
  return vim.lsp.inline_completion.get({
    bufnr = buf,
    on_accept = function(item)
      take_piece(buf, item, what)
    end,
  })
end

---@param buf integer
---@param by integer
function M.step(buf, by)
  vim.lsp.inline_completion.select({ bufnr = buf, count = by })
end

--- Do nothing: Neovim asks by itself, and there is no way to ask for more.
function M.suggest() end

--- Hide the suggestion by switching off and on again: Neovim cannot hide a single one.
---@param buf integer
function M.dismiss(buf)
  vim.lsp.inline_completion.enable(false, { bufnr = buf })
  vim.lsp.inline_completion.enable(true, { bufnr = buf })
end

return M
