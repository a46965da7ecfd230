--- A window below for text to read; q closes it.

local M = {}
local api = vim.api

---@param name string
---@param lines string[]
function M.show(name, lines)
  local buf = vim.fn.bufadd('midfill://' .. name)
  vim.bo[buf].buftype, vim.bo[buf].swapfile, vim.bo[buf].bufhidden = 'nofile', false, 'wipe'
  vim.fn.bufload(buf)
  vim.bo[buf].modifiable = true
  api.nvim_buf_set_lines(buf, 0, -1, false, vim.split(table.concat(lines, '\n'), '\n', { plain = true }))
  vim.bo[buf].modifiable = false
  if vim.fn.bufwinid(buf) == -1 then
    local height = math.min(api.nvim_buf_line_count(buf), math.max(5, math.floor(vim.o.lines / 3)))
    api.nvim_open_win(buf, true, { split = 'below', win = -1, height = height })
    local window = vim.wo[0][0]
    window.winfixheight, window.number, window.wrap = true, false, true
    window.linebreak, window.breakindent = true, true -- the window may be narrow
  end
  vim.keymap.set('n', 'q', '<Cmd>close<CR>', { buffer = buf, nowait = true })
end

return M
