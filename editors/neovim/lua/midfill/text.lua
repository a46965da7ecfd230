--- Inserts text into a buffer.

local M = {}
local api = vim.api

--- Replace `over` bytes at a place by text, and put the cursor after it.
---@param buf integer
---@param row integer
---@param col integer
---@param over integer
---@param text string
function M.put(buf, row, col, over, text)
  local lines = vim.split(text, '\n', { plain = true })
  api.nvim_buf_set_text(buf, row, col, row, col + over, lines)
  api.nvim_win_set_cursor(0, { row + #lines, #lines[#lines] + (#lines == 1 and col or 0) })
end

return M
