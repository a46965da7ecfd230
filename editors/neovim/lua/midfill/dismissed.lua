--- Suggestions that the user dismissed. They do not come back while the text typed at their place is their beginning. A
--- place is forgotten when its line changes in another way. Marks keep the places through edits elsewhere.

local api = vim.api

local M = {}
local namespace = api.nvim_create_namespace('midfill.dismissed')
local MAX_PLACES = require('midfill.constants').MAX_PLACES

---@class midfill.Dismissed
---@field before string  the line left of the place
---@field after string   the line right of it
---@field text string    the suggestion

---@type table<integer, table<integer, midfill.Dismissed>>  by buffer and mark
local places = {}

---@param buf integer
---@param mark integer
local function drop(buf, mark)
  places[buf][mark] = nil
  api.nvim_buf_del_extmark(buf, namespace, mark)
end

--- Return what was typed at a place, up to a column of its line; nil if the line changed in another way. Brackets and
--- quotes may have been closed after it.
---@param place midfill.Dismissed
---@param line string
---@param col integer
---@return string?
local function typed_at(place, line, col)
  local rest = line:sub(col + 1)
  local closed = vim.endswith(rest, place.after) and rest:sub(1, #rest - #place.after)
  local is_around = vim.startswith(line, place.before) and closed and closed:match('^[%)%]}>"\'`]*$')
  local typed = is_around and col >= #place.before and line:sub(#place.before + 1, col)
  return typed and vim.startswith(place.text, typed) and typed or nil
end

--- Remember that `text` was dismissed at a place.
---@param buf integer
---@param row integer  from 0
---@param col integer  in bytes
---@param text string
function M.add(buf, row, col, text)
  local line = api.nvim_buf_get_lines(buf, row, row + 1, false)[1]
  if not line then
    return
  end
  M.forget(buf, row)
  local known = places[buf] or {}
  places[buf] = known
  if vim.tbl_count(known) >= MAX_PLACES then
    drop(buf, vim.iter(vim.tbl_keys(known)):fold(math.huge, math.min))
  end
  local mark = api.nvim_buf_set_extmark(buf, namespace, row, 0, { undo_restore = false })
  known[mark] = { before = line:sub(1, col), after = line:sub(col + 1), text = text }
end

---@param buf integer
---@param row integer
---@return integer[]
local function marks_in(buf, row)
  local found = places[buf] and api.nvim_buf_get_extmarks(buf, namespace, { row, 0 }, { row, -1 }, {}) or {}
  return vim
    .iter(found)
    :map(function(mark)
      return places[buf][mark[1]] and mark[1] or nil
    end)
    :totable()
end

--- Whether a suggestion here would be a dismissed one. Forgets the place if its line has changed in another way.
---@param buf integer
---@param row integer
---@param col integer
---@return boolean
function M.holds(buf, row, col)
  local line = api.nvim_buf_get_lines(buf, row, row + 1, false)[1] or ''
  local held = false
  for _, mark in ipairs(marks_in(buf, row)) do
    local place = places[buf][mark]
    local typed = typed_at(place, line, col)
    if not typed then
      drop(buf, mark)
    else
      held = held or #typed < #place.text
    end
  end
  return held
end

--- Forget the places of a line: the user triggers a suggestion there.
---@param buf integer
---@param row integer
function M.forget(buf, row)
  for _, mark in ipairs(marks_in(buf, row)) do
    drop(buf, mark)
  end
end

--- Forget all places of a buffer.
---@param buf integer
function M.clear(buf)
  places[buf] = nil
  if api.nvim_buf_is_valid(buf) then
    api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  end
end

return M
