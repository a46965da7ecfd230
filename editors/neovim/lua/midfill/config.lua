--- The plugin's own options. The server has its own settings: `:help midfill-server`.

local M = {}

--- Keys of insert mode; false for none. Each is also a <Plug> map.
---@class midfill.Keymaps
---@field accept? string|false   accept the suggestion; without one, the key does what it did before
---@field word? string|false     accept its next word
---@field line? string|false     accept the rest of its line
---@field next? string|false     show the next alternative
---@field previous? string|false
---@field dismiss? string|false
---@field suggest? string|false  trigger a suggestion, also where none comes automatically

---@class midfill.Options
---@field ghost_text? 'auto'|'plugin'|'builtin'|false  auto: builtin (vim.lsp.inline_completion) if Neovim has it
---@field popup? boolean         offer suggestions in the popup menu too (vim.lsp.completion with autotrigger)
---@field keymaps? midfill.Keymaps|false

---@type midfill.Options
M.defaults = {
  ghost_text = 'auto',
  popup = false,
  keymaps = {
    accept = '<Tab>',
    word = '<M-Right>',
    line = '<M-Down>',
    next = '<M-n>',
    previous = '<M-p>',
    dismiss = '<C-]>',
    suggest = '<M-Bslash>',
  },
}

---@type midfill.Options
M.options = vim.deepcopy(M.defaults)

---@param value any
---@return boolean
local function is_way(value)
  return value == false or vim.list_contains({ 'auto', 'plugin', 'builtin' }, value)
end

---@param given table
---@param known table
---@param where string
local function refuse_unknown(given, known, where)
  for key in pairs(given) do
    if known[key] == nil then
      error(
        ('midfill: unknown option %s%s (known: %s)'):format(
          where,
          key,
          table.concat(vim.fn.sort(vim.tbl_keys(known)), ', ')
        ),
        0
      )
    end
  end
end

--- Set options. Raises an error that says what is wrong.
---@param options? midfill.Options
function M.set(options)
  options = options or {}
  refuse_unknown(options, M.defaults, '')
  vim.validate('ghost_text', options.ghost_text, is_way, true, "'auto', 'plugin', 'builtin' or false")
  vim.validate('popup', options.popup, 'boolean', true)
  vim.validate('keymaps', options.keymaps, function(value)
    return value == false or type(value) == 'table'
  end, true, 'a table or false')
  if options.keymaps then
    refuse_unknown(options.keymaps --[[@as table]], M.defaults.keymaps --[[@as table]], 'keymaps.')
  end
  M.options = vim.tbl_deep_extend('force', M.defaults, options)
end

--- Return what draws the ghost text; false: nothing does.
---@return 'plugin'|'builtin'|false
function M.way()
  local way = M.options.ghost_text
  if way == 'auto' then
    return vim.lsp.inline_completion and 'builtin' or 'plugin'
  end
  return way --[[@as 'plugin'|'builtin'|false]]
end

return M
