-- What a person writes, and the server that a test wants. TEST_SETUP: Lua that runs before the server is enabled.
vim.opt.runtimepath:prepend(vim.env.TEST_PLUGIN)
vim.opt.swapfile, vim.opt.shadafile = false, 'NONE'
vim.opt.completeopt = { 'menuone', 'noselect' }
vim.lsp.config('midfill', { cmd = vim.json.decode(vim.env.TEST_COMMAND), init_options = {
  maxDebounceS = 0, ahead = false, disabledRules = { 'confidence' }, -- a script's probabilities are made up
} })

-- Every frame of ghost text: '' where it is taken away.
_G.frames = {}
local draw = require('midfill.draw')
local show, clear = draw.show, draw.clear
draw.show = function(buf, row, col, text, ...)
  table.insert(_G.frames, text)
  _G.drawing = true
  show(buf, row, col, text, ...)
  _G.drawing = false
end
draw.clear = function(buf)
  if not _G.drawing and _G.frames[#_G.frames] ~= '' then
    table.insert(_G.frames, '')
  end
  clear(buf)
end

if vim.env.TEST_SETUP then
  assert(loadstring(vim.env.TEST_SETUP))()
end
vim.lsp.enable('midfill')
