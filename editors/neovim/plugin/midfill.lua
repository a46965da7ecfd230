-- The command and the <Plug> maps; nothing else is loaded before it is used.

if vim.g.loaded_midfill or vim.fn.has('nvim-0.11') == 0 then
  return
end
vim.g.loaded_midfill = true

local function plug(name, call, breaks_undo)
  -- <C-G>u begins another undo step, so that one `u` takes back what was taken and no more.
  local lua = ("<Cmd>lua require('midfill').%s()<CR>"):format(call)
  local keys = breaks_undo and '<C-G>u' .. lua .. '<C-G>u' or lua
  vim.keymap.set('i', ('<Plug>(midfill-%s)'):format(name), keys, { desc = 'midfill: ' .. name })
end

plug('accept', 'accept', true)
plug('word', 'accept_word', true)
plug('line', 'accept_line', true)
plug('next', 'next')
plug('previous', 'previous')
plug('dismiss', 'dismiss')
plug('suggest', 'suggest')

vim.api.nvim_create_user_command('Midfill', function(args)
  require('midfill.command').run(args.fargs)
end, {
  nargs = '*',
  desc = 'midfill: status, switches, eagerness, snooze, model, adapter, why nothing, statistics, log, restart',
  complete = function(lead, line)
    return require('midfill.command').complete(lead, line)
  end,
})

require('midfill.attach').hook()
