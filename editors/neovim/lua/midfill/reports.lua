--- The output of `midfill stats --json` and midfill/explain as short lines, for a narrow window beside the code.

local M = {}

---@param share number
---@return string
local function percent(share)
  return ('%d%%'):format(share * 100 + 0.5)
end

---@param seconds number
---@return string
local function milliseconds(seconds)
  return ('%d ms'):format(seconds * 1000 + 0.5)
end

---@param n number
---@return string
local function count(n)
  return ('%d'):format(n)
end

local ROWS = {
  { 'shown', 'shown', count },
  { 'accepted', '  accepted', count },
  { 'partial', '  in part', count },
  { 'typed', '  typed', count },
  { 'rejected', '  rejected', count },
  { 'shown_acceptance', 'rate', percent },
  { 'kept_30', 'kept 30 s', percent },
  { 'kept_300', 'kept 5 min', percent },
  { 'latency_p50_s', 'answer, p50', milliseconds },
  { 'latency_p95_s', 'answer, p95', milliseconds },
  { 'accepted_chars', 'characters accepted', count },
  { 'from_cache', 'from the cache', count },
}
local GROUPS = { { 'trigger', 'Trigger' }, { 'language', 'Languages' }, { 'adapter', 'Adapters' } }

--- Return a line that fits a narrow window, unless a name is longer.
---@param name string
---@param value string
---@return string
local function row(name, value)
  return ('  %-16s %8s'):format(name, value)
end

--- Return the records of a week as lines; if `json` is not JSON, it is shown as it is.
---@param json string
---@return string[]
function M.statistics(json)
  local lines = { 'The last 7 days', '' }
  local ok, told = pcall(vim.json.decode, json, { luanil = { object = true } })
  if not ok or type(told) ~= 'table' or type(told.all) ~= 'table' then
    return vim.list_extend(lines, { json })
  elseif told.all.shown == 0 then
    return vim.list_extend(lines, { 'Nothing was shown yet, or', 'records = false.' })
  end
  for _, each in ipairs(ROWS) do
    local figure = told.all[each[1]]
    if figure then
      lines[#lines + 1] = row(each[2], each[3](figure))
    end
  end
  for _, group in ipairs(GROUPS) do
    vim.list_extend(lines, { '', group[2], '' })
    for name, figures in vim.spairs(told[group[1]] or {}) do
      local rate = figures.shown_acceptance and (', ' .. percent(figures.shown_acceptance)) or ''
      lines[#lines + 1] = row(name ~= '' and name or 'unknown', count(figures.shown) .. rate)
    end
  end
  return lines
end

--- Return a story of midfill (`  name       text`) with each text below its name: a long text wraps under itself.
---@param story string
---@return string[]
function M.story(story)
  local lines = {}
  for line in vim.gsplit(story, '\n', { plain = true }) do
    local name, text = line:match('^  (%S.-)%s%s+(%S.*)$')
    if name and #name <= 10 then
      vim.list_extend(lines, { name, '  ' .. text })
    else
      lines[#lines + 1] = line
    end
  end
  return lines
end

return M
