--- The pieces in which the user accepts a suggestion.

local M = {}

--- Return the leading white space, and then a word or a run of signs. Every byte above ASCII counts as part of a word.
---@param text string
---@return string
local function word(text)
  local space = text:match('^%s*')
  local rest = text:sub(#space + 1)
  return space .. (rest:match('^[%w_\128-\255]+') or rest:match('^[^%w_%s\128-\255]+') or '')
end

--- Return the text to the end of the line; if it begins with line ends, also the line after them.
---@param text string
---@return string
local function line(text)
  return text:match('^\n*[^\n]*')
end

---@param text string
---@return string
local function all(text)
  return text
end

---@alias midfill.Piece 'all'|'word'|'line'
---@type table<midfill.Piece, fun(text: string): string>
M.of = { all = all, word = word, line = line }

return M
