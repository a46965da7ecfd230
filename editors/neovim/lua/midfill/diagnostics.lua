--- Passes on the errors and warnings of other language servers near the cursor. No request waits for them.

local api = vim.api

local M = {}
local METHOD = 'midfill/diagnostics'
local SOON_MS = 300
local NEAR_LINES, MAX_TOLD = 60, 50

---@type uv.uv_timer_t?
local timer

---@param client vim.lsp.Client
---@param buf integer
local function tell(client, buf)
  if api.nvim_get_current_buf() ~= buf or not client.attached_buffers[buf] or client:is_stopped() then
    return
  end
  local row = api.nvim_win_get_cursor(0)[1] - 1
  local function far(one)
    return math.abs(one.lnum - row)
  end
  local near = vim.tbl_filter(function(one)
    return far(one) <= NEAR_LINES
  end, vim.diagnostic.get(buf, { severity = { min = vim.diagnostic.severity.WARN } }))
  table.sort(near, function(a, b)
    return far(a) < far(b)
  end)
  local told = vim.tbl_map(function(one)
    local start = { line = one.lnum, character = 0 }
    return { range = { start = start, ['end'] = start }, severity = one.severity, message = one.message }
  end, vim.list_slice(near, 1, MAX_TOLD))
  client:notify(METHOD, {
    textDocument = { uri = vim.uri_from_bufnr(buf), version = vim.lsp.util.buf_versions[buf] },
    diagnostics = told,
  })
end

---@param client vim.lsp.Client
---@param buf integer
function M.attach(client, buf)
  api.nvim_create_autocmd('DiagnosticChanged', {
    group = api.nvim_create_augroup('midfill.diagnostics.' .. buf, { clear = true }),
    buffer = buf,
    callback = function()
      timer = timer or assert(vim.uv.new_timer())
      timer:stop()
      timer:start(
        SOON_MS,
        0,
        vim.schedule_wrap(function()
          tell(client, buf)
        end)
      )
    end,
  })
end

---@param buf integer
function M.detach(buf)
  pcall(api.nvim_del_augroup_by_name, 'midfill.diagnostics.' .. buf)
end

return M
