--- midfill: code completion from a model on this machine, as ghost text. See `:help midfill`.

local config = require('midfill.config')

local M = {}

--- Set options that differ from the defaults. Everything also works without a call.
---@param options? midfill.Options
function M.setup(options)
  config.set(options)
  local attach = require('midfill.attach')
  attach.hook()
  attach.again()
end

--- Return the module that draws in this buffer. It has `visible`, `take`, `step`, `suggest` and `dismiss`.
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

--- Accept the whole suggestion.
---@return boolean taken  false if none is shown
function M.accept()
  return drawer().take(here(), 'all')
end

--- Accept its next word; the rest stays.
---@return boolean taken
function M.accept_word()
  return drawer().take(here(), 'word')
end

--- Accept the rest of its line; the lines below stay.
---@return boolean taken
function M.accept_line()
  return drawer().take(here(), 'line')
end

--- Show the next alternative.
function M.next()
  drawer().step(here(), 1)
end

--- Show the previous alternative.
function M.previous()
  drawer().step(here(), -1)
end

--- Dismiss the suggestion: it stays away until its line changes in another way than by typing along it.
function M.dismiss()
  drawer().dismiss(here())
end

--- Trigger a suggestion, also where none comes automatically.
function M.suggest()
  drawer().suggest(here())
end

--- Return text for a statusline: 'midfill', 'midfill …' while the model writes, 'midfill: off' and so on; '' if midfill
--- is not in this buffer.
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
