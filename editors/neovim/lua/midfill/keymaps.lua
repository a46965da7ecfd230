--- Keys of insert mode in buffers with midfill. Each does what it did before where there is no suggestion.

local config = require('midfill.config')
local api = vim.api

local M = {}

---@class midfill.OwnMap
---@field lhs string
---@field before table  maparg() of the buffer's own map that stood there

---@type table<integer, midfill.OwnMap[]>
local own = {}

--- What a key did before ours: keys to type, where they are to be mapped again, or a function's.
---@param before table  maparg()
---@param lhs string
---@return string
local function fall_back(before, lhs)
  if vim.tbl_isempty(before) then
    before = vim.iter(api.nvim_get_keymap('i')):find(function(map)
      return map.lhsraw == api.nvim_replace_termcodes(lhs, true, true, true)
    end) or {}
  end
  local keys = before.rhs or ''
  if before.expr == 1 then
    keys = before.callback and before.callback() or api.nvim_eval(before.rhs)
    keys = before.replace_keycodes == 1 and api.nvim_replace_termcodes(keys or '', true, true, true) or keys or ''
  elseif before.callback then
    vim.schedule(before.callback)
    return ''
  elseif vim.tbl_isempty(before) then
    keys = api.nvim_replace_termcodes(lhs, true, true, true)
  else
    keys = api.nvim_replace_termcodes(keys, true, true, true)
  end
  return keys
end

--- Whether the keys of a map that stood there before are looked up again themselves.
---@param before table
---@return boolean
local function is_remapped(before)
  return before.noremap == 0 and before.expr ~= 1
end

---@param buf integer
---@param lhs string
---@param plug string
---@param wanted fun(): boolean
local function map(buf, lhs, plug, wanted)
  local before = vim.fn.maparg(lhs, 'i', false, true)
  before = before.buffer == 1 and before or {}
  vim.keymap.set('i', lhs, function()
    if wanted() then
      return api.nvim_replace_termcodes(plug, true, true, true)
    end
    local keys = fall_back(before, lhs)
    -- What was not to be mapped again goes around the maps: one of ours would find itself.
    api.nvim_feedkeys(keys, is_remapped(before) and 'im' or 'in', false)
    return ''
  end, { buffer = buf, expr = true, remap = true, replace_keycodes = false, desc = 'midfill: ' .. plug })
  table.insert(own[buf], { lhs = lhs, before = before })
end

--- The buffer is current while its server attaches, or is made so: maparg() looks there.
---@param buf integer
function M.attach(buf)
  M.detach(buf)
  own[buf] = {}
  local midfill = require('midfill')
  local function shown()
    return midfill.visible() and (vim.fn.pumvisible() == 0 or vim.fn.complete_info({ 'selected' }).selected < 0)
  end
  local function always()
    return true
  end
  api.nvim_buf_call(buf, function()
    for name, lhs in pairs(config.options.keymaps or {}) do
      if lhs then
        local wanted = (name == 'suggest' and always) or shown
        map(buf, lhs, ('<Plug>(midfill-%s)'):format(name), wanted)
      end
    end
  end)
end

---@param buf integer
function M.detach(buf)
  for _, map_of in ipairs(own[buf] or {}) do
    if api.nvim_buf_is_valid(buf) then
      pcall(vim.keymap.del, 'i', map_of.lhs, { buffer = buf })
      if not vim.tbl_isempty(map_of.before) then
        api.nvim_buf_call(buf, function()
          vim.fn.mapset('i', false, map_of.before)
        end)
      end
    end
  end
  own[buf] = nil
end

return M
