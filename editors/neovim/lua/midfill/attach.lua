--- Hooks the plugin to the language server, whoever started it: it is known by what it says it can do.

local M = {}
local api = vim.api

---@param client vim.lsp.Client?
---@return boolean
function M.is_ours(client)
  return client ~= nil and vim.tbl_get(client, 'server_capabilities', 'experimental', 'midfill') ~= nil
end

--- The client of a buffer, or of any buffer where that has none.
---@param buf? integer
---@return vim.lsp.Client?
function M.client(buf)
  local here = buf and vim.iter(vim.lsp.get_clients({ bufnr = buf })):find(M.is_ours)
  return here or vim.iter(vim.lsp.get_clients()):find(M.is_ours)
end

--- What the server tells beside LSP's own notifications.
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
  client.handlers['midfill/status'] = function(_, params)
    require('midfill.status').update(client.id, params)
  end
  client:request('midfill/status', vim.empty_dict(), function(err, result)
    if not err and result then
      require('midfill.status').update(client.id, result)
    end
  end)
end

---@param client vim.lsp.Client
---@param buf integer
local function attached(client, buf)
  listen(client)
  local off = require('midfill.off')
  if off.reason(buf) then
    return vim.schedule(function()
      off.detach(buf)
    end)
  end
  require('midfill.popup').attach(client, buf)
  local way = require('midfill.config').way()
  if way then
    require('midfill.' .. (way == 'plugin' and 'ghost' or 'builtin')).attach(client, buf)
    require('midfill.keymaps').attach(buf)
  end
end

---@param buf integer
local function detached(buf)
  require('midfill.ghost').detach(buf)
  require('midfill.builtin').detach(buf)
  require('midfill.popup').detach(buf)
  require('midfill.keymaps').detach(buf)
end

--- Wait for the server. To do it again changes nothing.
function M.hook()
  local group = api.nvim_create_augroup('midfill', { clear = true })
  local function on(event, callback)
    api.nvim_create_autocmd(event, { group = group, callback = function(args)
      local client = vim.lsp.get_client_by_id(args.data.client_id)
      if M.is_ours(client) then
        callback(client, args.buf)
      end
    end })
  end
  on('LspAttach', attached)
  on('LspDetach', function(client, buf)
    detached(buf)
    if vim.tbl_isempty(vim.tbl_filter(function(other)
      return other ~= buf
    end, vim.tbl_keys(client.attached_buffers))) then
      require('midfill.status').forget(client.id)
    end
  end)
end

--- Do it anew for buffers that are attached already: the options changed.
function M.again()
  for _, client in ipairs(vim.tbl_filter(M.is_ours, vim.lsp.get_clients())) do
    for buf in pairs(client.attached_buffers) do
      detached(buf)
      attached(client, buf)
    end
  end
end

return M
