--- midfill: code completion from a model on this machine, as ghost text. See `:help midfill`.

local config = require('midfill.config')

local M = {}

--- Options, where the defaults are not wanted. Without a call everything works as well.
---@param options? midfill.Options
function M.setup(options)
  config.set(options)
  local attach = require('midfill.attach')
  attach.hook()
  attach.again()
end

--- Who draws in this buffer. The module has `visible`, `take`, `step`, `suggest` and `dismiss`.
---@return table
local function drawer()
  return require(config.way() == 'builtin' and 'midfill.builtin' or 'midfill.ghost')
end

---@return integer
local function here()
  return vim.api.nvim_get_current_buf()
end

--- Whether a suggestion is shown.
---@return boolean
function M.visible()
  return config.way() ~= false and drawer().visible(here())
end

--- Take the whole suggestion.
---@return boolean taken  false where none is shown
function M.accept()
  return drawer().take(here(), 'all')
end

--- Take its next word; the rest stays.
---@return boolean taken
function M.accept_word()
  return drawer().take(here(), 'word')
end

--- Take the rest of its line; what is below stays.
---@return boolean taken
function M.accept_line()
  return drawer().take(here(), 'line')
end

--- Show another suggestion.
function M.next()
  drawer().step(here(), 1)
end

--- Show the suggestion before.
function M.previous()
  drawer().step(here(), -1)
end

--- Hide the suggestion, and keep it away until its line changes otherwise than by typing it.
function M.dismiss()
  drawer().dismiss(here())
end

--- Ask now, also where nothing comes by itself.
function M.suggest()
  drawer().suggest(here())
end

--- For a statusline: 'midfill', 'midfill …' while the model writes, 'midfill: off' and so on; '' where it has no part.
---@param buf? integer
---@return string
function M.statusline(buf)
  return require('midfill.status').line(buf)
end

--- Switch off in this buffer, for its filetype, or everywhere.
---@param scope? midfill.Scope  here
function M.disable(scope)
  require('midfill.off').disable(scope or 'here', here())
end

--- Switch on again.
---@param scope? midfill.Scope  here
function M.enable(scope)
  require('midfill.off').enable(scope or 'here', here())
end

return M
