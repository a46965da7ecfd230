--- Tells the server where the cursor is: when it rests, and when a buffer becomes the current one.

local api = vim.api

local M = {}
local METHOD = 'textDocument/didFocus'
local REST_MS = 300

---@type uv.uv_timer_t?
local timer

---@param client vim.lsp.Client
---@param buf integer
local function tell(client, buf)
  if api.nvim_get_current_buf() == buf and client.attached_buffers[buf] and not client:is_stopped() then
    local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
    client:notify(METHOD, params)
  end
end

--- Tell the server in `ms` from now, unless the cursor moves before.
---@param client vim.lsp.Client
---@param buf integer
---@param ms integer
function M.soon(client, buf, ms)
  timer = timer or assert(vim.uv.new_timer())
  timer:stop()
  timer:start(
    ms,
    0,
    vim.schedule_wrap(function()
      tell(client, buf)
    end)
  )
end

---@param client vim.lsp.Client
---@param buf integer
function M.attach(client, buf)
  local group = api.nvim_create_augroup('midfill.focus.' .. buf, { clear = true })
  local function on(events, ms)
    api.nvim_create_autocmd(events, {
      group = group,
      buffer = buf,
      callback = function()
        M.soon(client, buf, ms)
      end,
    })
  end
  on({ 'CursorMoved', 'CursorMovedI', 'TextChangedI', 'TextChangedP' }, REST_MS)
  on({ 'BufEnter' }, 0)
  M.soon(client, buf, 0)
end

---@param buf integer
function M.detach(buf)
  pcall(api.nvim_del_augroup_by_name, 'midfill.focus.' .. buf)
end

return M
