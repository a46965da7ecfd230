--- Ghost text on the screen: the first line after the cursor, the others below it.

local M = {}
local api = vim.api
local namespace = api.nvim_create_namespace('midfill')

--- Set a grey that is readable on dark and light backgrounds, unless a colour scheme or the user sets another colour.
local function set_colour()
  api.nvim_set_hl(
    0,
    'MidfillGhost',
    { default = true, fg = '#808080', ctermfg = 244, italic = true, cterm = { italic = true } }
  )
end

set_colour()
api.nvim_create_autocmd('ColorScheme', {
  group = api.nvim_create_augroup('midfill.colour', { clear = true }),
  callback = set_colour,
})

--- Return `text` with spaces instead of tabs: virtual text shows a tab as two characters.
---@param text string
---@param column integer  of the screen, where `text` begins
---@param width integer   of a tab
---@return string
local function without_tabs(text, column, width)
  local out = {}
  for before, tab in text:gmatch('([^\t]*)(\t?)') do
    out[#out + 1] = before
    column = column + vim.fn.strdisplaywidth(before, column)
    if tab ~= '' then
      local n = width - column % width
      out[#out + 1] = (' '):rep(n)
      column = column + n
    end
  end
  return table.concat(out)
end

--- Return what to draw of the first line, and whether before or over the text that it replaces right of the cursor (a
--- bracket that was closed automatically): before it if the line ends with that text, else over it.
---@param first string
---@param covered string
---@return string text, 'inline'|'overlay' position
local function beside(first, covered)
  if covered == '' then
    return first, 'inline'
  end
  if vim.endswith(first, covered) then
    return first:sub(1, #first - #covered), 'inline'
  end
  return first, 'overlay'
end

---@param buf integer
function M.clear(buf)
  if api.nvim_buf_is_valid(buf) then
    api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  end
end

--- Scroll if needed: Neovim does not scroll for virtual lines, so they would be invisible at the bottom of the window.
---@param buf integer
---@param n integer  lines below the cursor's
local function make_room(buf, n)
  if api.nvim_get_current_buf() ~= buf then
    return
  end
  local above = vim.fn.winline() - 1 - vim.wo.scrolloff
  local missing = math.min(n - (api.nvim_win_get_height(0) - vim.fn.winline()), above)
  if missing > 0 then
    vim.fn.winrestview({ topline = vim.fn.line('w0') + missing })
  end
end

--- Show `text` at a place, instead of what was shown before.
---@param buf integer
---@param row integer      from 0
---@param col integer      in bytes
---@param text string
---@param covered string   the text right of the cursor that is replaced
---@param hint? string     such as "2/3"
function M.show(buf, row, col, text, covered, hint)
  local width = vim.bo[buf].tabstop
  local lines = vim.split(text, '\n', { plain = true })
  local start = vim.fn.strdisplaywidth(api.nvim_buf_get_text(buf, row, 0, row, col, {})[1])
  local first, position = beside(lines[1], covered)
  local first_chunks = { { without_tabs(first, start, width), 'MidfillGhost' } }
  local below = {}
  for i = 2, #lines do
    below[i - 1] = { { without_tabs(lines[i], 0, width), 'MidfillGhost' } }
  end
  if hint then
    table.insert(below[#below] or first_chunks, { '  ' .. hint, 'MidfillGhost' })
  end
  M.clear(buf)
  api.nvim_buf_set_extmark(buf, namespace, row, col, {
    virt_text = first_chunks,
    virt_text_pos = position,
    virt_lines = #below > 0 and below or nil,
    virt_lines_overflow = 'scroll',
    hl_mode = 'combine',
    priority = 200,
    undo_restore = false,
    strict = false,
  })
  make_room(buf, #below)
end

return M
