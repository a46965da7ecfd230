--- Hooks the plugin to the language server, whichever code started it: its capabilities identify it.

local M = {}
local api = vim.api

---@param client vim.lsp.Client?
---@return boolean
function M.is_ours(client)
  return client ~= nil and vim.tbl_get(client, 'server_capabilities', 'experimental', 'midfill') ~= nil
end

--- Return the client of a buffer, or that of any buffer if this one has none.
---@param buf? integer
---@return vim.lsp.Client?
function M.client(buf)
  local here = buf and vim.iter(vim.lsp.get_clients({ bufnr = buf })):find(M.is_ours)
  return here or vim.iter(vim.lsp.get_clients()):find(M.is_ours)
end

--- Handle the server's notifications beyond those of LSP.
---@param client vim.lsp.Client
local function listen(client)
  if client.handlers['midfill/status'] then
    return
  end
  local progress = client.handlers['$/progress'] or vim.lsp.handlers['$/progress']
  client.handlers['$/progress'] = function(err, params, context)
    if not require('midfill.ghost').on_progress(params) then
      return progress(err, params, context)
    end
  end
  local function update(params)
    local was_ready = require('midfill.status').is_ready(client)
    require('midfill.status').update(client.id, params)
    if params.state == 'error' then
      require('midfill.ghost').give_up(client)
    elseif require('midfill.status').is_ready(client) and not was_ready then
      require('midfill.ghost').retry(client)
      require('midfill.focus').soon(client, api.nvim_get_current_buf(), 0)
    end
  end
  client.handlers['midfill/status'] = function(_, params)
    update(params)
    if params.state ~= 'generating' then -- a setting may have changed, or edits of a document were lost
      require('midfill.off').refresh(client)
    end
  end
  require('midfill.off').again(client)
  client:request('midfill/status', vim.empty_dict(), function(err, result)
    if not err and result then
      update(result)
    end
  end)
end

--- Start in a buffer. If it is switched off, also stop what other code has switched on.
---@param client vim.lsp.Client
---@param buf integer
function M.join(client, buf)
  listen(client)
  require('midfill.off').joined(client, buf)
  if require('midfill.off').here(buf) then
    return vim.schedule(function()
      require('midfill.popup').suspend(client, buf)
    end)
  end
  require('midfill.popup').attach(client, buf)
  require('midfill.focus').attach(client, buf)
  require('midfill.names').attach(client, buf)
  require('midfill.diagnostics').attach(client, buf)
  local way = require('midfill.config').way()
  if way then
    require('midfill.' .. (way == 'plugin' and 'ghost' or 'builtin')).attach(client, buf)
    require('midfill.keymaps').attach(buf)
  end
end

--- Stop in a buffer.
---@param buf integer
function M.leave(buf)
  require('midfill.ghost').detach(buf)
  require('midfill.builtin').detach(buf)
  require('midfill.popup').detach(buf)
  require('midfill.focus').detach(buf)
  require('midfill.names').detach(buf)
  require('midfill.diagnostics').detach(buf)
  require('midfill.keymaps').detach(buf)
  require('midfill.off').forget(buf)
end

--- Wait for the server to attach. A second call changes nothing.
function M.hook()
  local group = api.nvim_create_augroup('midfill', { clear = true })
  local function on(event, callback)
    api.nvim_create_autocmd(event, {
      group = group,
      callback = function(args)
        local client = vim.lsp.get_client_by_id(args.data.client_id)
        if M.is_ours(client) then
          callback(client, args.buf)
        end
      end,
    })
  end
  on('LspAttach', M.join)
  on('LspDetach', function(client, buf)
    local successor = vim.iter(vim.lsp.get_clients({ bufnr = buf })):any(function(other)
      return other.id ~= client.id and M.is_ours(other)
    end)
    if not successor then -- a restarted server attaches before the old one is gone
      M.leave(buf)
    end
    if client:is_stopped() then
      require('midfill.status').forget(client.id)
    end
  end)
end

--- Attach again to the attached buffers after the options changed.
function M.again()
  for _, client in ipairs(vim.tbl_filter(M.is_ours, vim.lsp.get_clients())) do
    for buf in pairs(client.attached_buffers) do
      M.leave(buf)
      M.join(client, buf)
    end
  end
end

return M
