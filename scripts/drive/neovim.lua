-- The user's settings, and a record of painted frames and pressed keys, on one clock in seconds.
vim.opt.runtimepath:prepend(vim.env.TEST_PLUGIN)
vim.opt.swapfile, vim.opt.shadafile, vim.o.hidden = false, 'NONE', true
vim.o.columns, vim.o.lines = 120, 40
vim.api.nvim_create_autocmd('FileType', { pattern = { 'typescript', 'typescriptreact' }, command = 'setlocal et sw=2 sts=2' })
vim.api.nvim_create_autocmd('FileType', { pattern = 'go', command = 'setlocal noet ts=4 sw=4 sts=0' })
vim.lsp.config('midfill', { cmd = vim.json.decode(vim.env.TEST_COMMAND) })

local frames, keys, last = {}, {}, ''

local function now()
  return vim.uv.hrtime() / 1e9
end

local function ghost()
  local namespace = vim.api.nvim_get_namespaces()['midfill']
  local mark = namespace and vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true })[1]
  if not mark then
    return ''
  end
  local lines = { mark[4].virt_text[1][1] }
  for _, line in ipairs(mark[4].virt_lines or {}) do
    lines[#lines + 1] = line[1][1]
  end
  return table.concat(lines, '\n')
end

vim.api.nvim_set_decoration_provider(vim.api.nvim_create_namespace('drive'), {
  on_end = function() -- the screen was drawn
    local text = ghost()
    if text ~= last then
      last = text
      frames[#frames + 1] = { now(), text }
    end
  end,
})

vim.on_key(function(_, typed)
  if typed and typed ~= '' then
    local is_text = #typed == 1 and typed:byte() >= 32 and vim.api.nvim_get_mode().mode:find('^i')
    keys[#keys + 1] = { now(), is_text and typed or '' }
  end
end)

--- Return the frames and keys since the last call.
function _G.drain()
  local new = { frames, keys }
  frames, keys = {}, {}
  return new
end

vim.lsp.enable('midfill')
