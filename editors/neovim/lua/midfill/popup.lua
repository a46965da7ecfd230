--- The popup menu: vim.lsp.completion, and the rest of an entry that it does not insert.
---
--- Neovim 0.11 inserts an entry's text up to its first white space, 0.12 up to the end of its first line. A suggestion
--- is longer: once the user accepts the entry, this module inserts the rest, whichever code switched the menu on.

local config = require('midfill.config')
local api = vim.api

local M = {}

---@type table<integer, vim.lsp.completion.BufferOpts>  what was on in buffers that are now switched off
local suspended = {}

--- Insert the entry's whole text where Neovim inserted its first word.
---@param client vim.lsp.Client
---@param buf integer
---@param item lsp.CompletionItem
---@param word string  what Neovim inserted
local function complete(client, buf, item, word)
  local edit = item.textEdit
  if not edit or edit.newText == word then
    return
  end
  local cursor = api.nvim_win_get_cursor(0)
  local row, col = cursor[1] - 1, cursor[2]
  if col < #word or edit.range.start.line ~= row or api.nvim_get_current_line():sub(col - #word + 1, col) ~= word then
    return
  end
  require('midfill.text').put(buf, row, col - #word, #word, (edit.newText:gsub('\r\n?', '\n')))
end

---@param client vim.lsp.Client
---@param buf integer
function M.attach(client, buf)
  api.nvim_create_autocmd('CompleteDone', {
    group = api.nvim_create_augroup('midfill.popup.' .. buf, { clear = true }),
    buffer = buf,
    desc = 'midfill: the rest of an accepted suggestion',
    callback = function()
      local done = vim.v.completed_item
      local lsp = vim.tbl_get(done, 'user_data', 'nvim', 'lsp')
      if lsp and lsp.client_id == client.id and vim.v.event.reason == 'accept' then
        complete(client, buf, lsp.completion_item, done.word)
      end
    end,
  })
  local wanted = config.options.popup and { autotrigger = true } or suspended[buf]
  suspended[buf] = nil
  if wanted then
    vim.lsp.completion.enable(true, client.id, buf, wanted)
  end
end

--- Stop midfill's entries, whichever code switched the menu on.
---@param client vim.lsp.Client
---@param buf integer
function M.suspend(client, buf)
  local ok, commands = pcall(api.nvim_get_autocmds, { group = ('nvim.lsp.completion_%d'):format(buf) })
  if ok and api.nvim_buf_is_valid(buf) then
    suspended[buf] = {
      autotrigger = vim.iter(commands):any(function(command)
        return command.event == 'InsertCharPre'
      end),
    }
    vim.lsp.completion.enable(false, client.id, buf)
  end
end

---@param buf integer
function M.detach(buf)
  pcall(api.nvim_del_augroup_by_name, 'midfill.popup.' .. buf)
end

return M
