--- Keys of insert mode in buffers with midfill. Without a suggestion each key does what it did before.

local config = require('midfill.config')
local api = vim.api

local M = {}

---@class midfill.OwnMap
---@field lhs string
---@field before table  maparg() of the buffer's own earlier map

---@type table<integer, midfill.OwnMap[]>
local own = {}

---@param keys string
---@return string
local function raw(keys)
  return api.nvim_replace_termcodes(keys, true, true, true)
end

--- Return the map that this plugin's map hides: the buffer's own, else the global one.
---@param own_map table  maparg()
---@param lhs string
---@return table?
local function hidden(own_map, lhs)
  if not vim.tbl_isempty(own_map) then
    return own_map
  end
  return vim.iter(api.nvim_get_keymap('i')):find(function(map)
    return map.lhsraw == raw(lhs)
  end)
end

--- Return the keys that a map stands for.
---@param map table
---@return string
local function keys_of(map)
  local rhs = map.rhs and map.rhs:gsub('<SID>', ('<SNR>%d_'):format(map.sid or 0))
  if map.expr ~= 1 then
    return raw(rhs)
  end
  local keys = map.callback and map.callback() or rhs and api.nvim_eval(rhs) or ''
  return map.replace_keycodes == 1 and raw(keys) or keys
end

--- Do what the key did before this plugin mapped it.
---@param own_map table
---@param lhs string
local function fall_back(own_map, lhs)
  local map = hidden(own_map, lhs)
  if not map then
    return api.nvim_feedkeys(raw(lhs), 'in', false)
  elseif map.callback and map.expr ~= 1 then
    return vim.schedule(map.callback)
  end
  local keys = keys_of(map)
  -- Keys that begin with the map's own key are not mapped again (:help recursive_mapping): the map would find itself.
  local again = map.noremap == 0 and not vim.startswith(keys, raw(lhs))
  api.nvim_feedkeys(keys, again and 'im' or 'in', false)
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
      return raw(plug)
    end
    fall_back(before, lhs)
    return ''
  end, { buffer = buf, expr = true, remap = true, replace_keycodes = false, desc = 'midfill: ' .. plug })
  table.insert(own[buf], { lhs = lhs, before = before })
end

--- Map the keys of a buffer. It is current while its server attaches, or is made current: maparg() looks there.
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
