--- Ghost text by Neovim's own vim.lsp.inline_completion, from 0.12 on. It shows one answer and does not grow.

local pieces = require('midfill.pieces')
local api = vim.api

local M = {}
local NAMESPACE = 'nvim.lsp.inline_completion'
local COUNT = 'ComplHintMore' -- the highlight of "(1/2)", which Neovim appends to the text

---@type table<integer, vim.lsp.Client>
local clients = {}

---@param buf integer
---@return string
local function group_of(buf)
  return 'midfill.builtin.' .. buf
end

--- Return the mark that shows the suggestion.
---@param buf integer
---@return vim.api.keyset.get_extmark_item?
local function shown(buf)
  local namespace = api.nvim_get_namespaces()[NAMESPACE]
  return namespace and api.nvim_buf_get_extmarks(buf, namespace, 0, -1, { limit = 1, details = true })[1]
end

--- Return what a mark shows, as text from the cursor on; nil if it is not at the cursor.
---@param buf integer
---@param mark vim.api.keyset.get_extmark_item
---@param row integer  of the cursor
---@param col integer
---@return string?
local function text_of(buf, mark, row, col)
  local details = mark[4]
  if mark[2] ~= row or mark[3] < col or not details then
    return nil
  end
  local lines = {}
  for _, chunks in ipairs({ details.virt_text or {}, unpack(details.virt_lines or {}) }) do
    local line = ''
    for _, chunk in ipairs(chunks) do
      line = line .. (chunk[2] ~= COUNT and chunk[1] or '')
    end
    table.insert(lines, line)
  end
  -- Neovim leaves out what is in the buffer already, also behind the cursor.
  return api.nvim_buf_get_text(buf, row, col, row, mark[3], {})[1] .. table.concat(lines, '\n')
end

--- Return what the server is told if the user dismisses what is shown: without it, the next key brings it back.
---@param buf integer
---@return table?
local function dismissal(buf)
  local mark, client = shown(buf), clients[buf]
  local cursor = api.nvim_win_get_cursor(0)
  local row, col = cursor[1] - 1, cursor[2]
  local text = mark and client and text_of(buf, mark, row, col)
  if not text then
    return nil
  end
  local line = api.nvim_buf_get_lines(buf, row, row + 1, false)[1] or ''
  return {
    textDocument = { uri = vim.uri_from_bufnr(buf), version = vim.lsp.util.buf_versions[buf] },
    position = { line = row, character = vim.str_utfindex(line, client.offset_encoding, col, false) },
    text = text,
  }
end

--- Escape dismisses what is shown; after CTRL-O insert mode continues. Which of the two it is only shows when insert
--- mode has ended, and by then the suggestion may be gone.
---@param buf integer
local function hook(buf)
  local group = api.nvim_create_augroup(group_of(buf), { clear = true })
  local told ---@type table?
  api.nvim_create_autocmd('InsertLeavePre', {
    group = group,
    buffer = buf,
    callback = function()
      told = dismissal(buf)
    end,
  })
  api.nvim_create_autocmd('InsertLeave', {
    group = group,
    buffer = buf,
    callback = function()
      if told and clients[buf] and not api.nvim_get_mode().mode:find('^ni') then
        clients[buf]:notify('midfill/dismissed', told)
      end
      told = nil
    end,
  })
end

---@param client vim.lsp.Client
---@param buf integer
function M.attach(client, buf)
  if vim.lsp.inline_completion then
    clients[buf] = client
    vim.lsp.inline_completion.enable(true, { bufnr = buf })
    hook(buf)
  end
end

---@param buf integer
function M.detach(buf)
  if clients[buf] and api.nvim_buf_is_valid(buf) then
    vim.lsp.inline_completion.enable(false, { bufnr = buf })
  end
  clients[buf] = nil
  pcall(api.nvim_del_augroup_by_name, group_of(buf))
end

---@param buf integer
---@return boolean
function M.visible(buf)
  return shown(buf) ~= nil
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
  local told = dismissal(buf)
  if told then
    clients[buf]:notify('midfill/dismissed', told)
  end
  vim.lsp.inline_completion.enable(false, { bufnr = buf })
  vim.lsp.inline_completion.enable(true, { bufnr = buf })
end

return M
