--- A suggestion at its place: the part that the user has typed, and the rest to show and accept.

local api = vim.api

---@class midfill.Item
---@field raw table        the item as the server sent it, for later reports to the server
---@field text string      from the cursor's place at the time of the request
---@field over integer     bytes right of that place that it replaces

---@class midfill.Suggestion
---@field items midfill.Item[]
---@field index integer
---@field growing boolean  more of it may come
---@field row integer      of the request; from 0
---@field col integer      in bytes
---@field before string    the line left of that place
---@field after string     the line right of it
---@field n_typed integer  bytes of the text that are before the cursor
---@field closed string    brackets and quotes that were closed at the cursor since then
local Suggestion = {}
Suggestion.__index = Suggestion

---@param raw table
---@return string
local function text_of(raw)
  local text = raw.insertText
  return type(text) == 'table' and text.value or text
end

--- Return an item's text and range relative to the cursor; nil if it does not fit there.
---@param raw table
---@param line string
---@param row integer
---@param col integer
---@param encoding string
---@return midfill.Item?
local function read(raw, line, row, col, encoding)
  local text, over = text_of(raw):gsub('\r\n?', '\n'), 0
  if raw.range then
    local start, stop = raw.range.start, raw.range['end']
    if start.line ~= row or stop.line ~= row then
      return nil
    end
    local from = vim.str_byteindex(line, encoding, start.character, false)
    local typed = line:sub(from + 1, col)
    if not vim.startswith(text, typed) then
      return nil
    end
    text = text:sub(#typed + 1)
    over = math.max(0, vim.str_byteindex(line, encoding, stop.character, false) - col)
  end
  return text ~= '' and { raw = raw, text = text, over = over } or nil
end

---@param buf integer
---@param row integer
---@return string
local function line_at(buf, row)
  return api.nvim_buf_get_lines(buf, row, row + 1, false)[1] or ''
end

--- Return a suggestion from the server's items; nil if there is nothing to show.
---@param items table[]
---@param place { buf: integer, row: integer, col: integer, encoding: string, growing: boolean }
---@return midfill.Suggestion?
function Suggestion.new(items, place)
  local line = line_at(place.buf, place.row)
  local fitting = vim
    .iter(items)
    :map(function(raw)
      return read(raw, line, place.row, place.col, place.encoding)
    end)
    :totable()
  if #fitting == 0 then
    return nil
  end
  return setmetatable({
    items = fitting,
    index = 1,
    growing = place.growing,
    row = place.row,
    col = place.col,
    before = line:sub(1, place.col),
    after = line:sub(place.col + 1),
    n_typed = 0,
    closed = '',
  }, Suggestion)
end

---@return midfill.Item
function Suggestion:item()
  return self.items[self.index]
end

--- Return the text that is not typed yet.
---@return string
function Suggestion:rest()
  return self:item().text:sub(self.n_typed + 1)
end

--- Return the text right of the cursor that accepting the whole suggestion replaces.
---@return string
function Suggestion:covered()
  return self.closed .. self.after:sub(1, self:item().over)
end

--- Return which of several suggestions this is, such as "2/3"; nil if it is the only one.
---@return string?
function Suggestion:hint()
  return #self.items > 1 and ('%d/%d'):format(self.index, #self.items) or nil
end

--- Compare the text right of the cursor with what was there: return the closers that were added, or nil if something
--- else changed. Closers that a plugin added at the end of the line belong to the suggestion if it has them too.
---@param after string
---@return string? closed
function Suggestion:_closed(after)
  if after == self.after then
    return ''
  end
  local closed = vim.endswith(after, self.after) and after:sub(1, #after - #self.after) or ''
  if self.after:match('^%s*$') and closed:match('^[%)%]}>"\'`]+$') then
    local first_line = self:rest():match('^[^\n]*')
    return first_line:find(closed:sub(1, 1), 1, true) and closed or nil
  end
end

--- Follow a moved cursor or changed text: whether the user typed the beginning of the suggestion and nothing else.
---@param buf integer
---@param row integer
---@param col integer
---@return boolean
function Suggestion:follow(buf, row, col)
  local line = line_at(buf, self.row)
  if row < self.row or (row == self.row and col < self.col) or line:sub(1, self.col) ~= self.before then
    return false
  end
  local typed = table.concat(api.nvim_buf_get_text(buf, self.row, self.col, row, col, {}), '\n')
  if not vim.startswith(self:item().text, typed) or #typed == #self:item().text then
    return false
  end
  self.n_typed = #typed
  local closed = self:_closed(line_at(buf, row):sub(col + 1))
  self.closed = closed or ''
  return closed ~= nil
end

return Suggestion
