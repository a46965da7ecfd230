--- Asks other language servers which names may follow a dot, and passes them on to midfill. No request waits for it.

local api = vim.api

local M = {}
local METHOD = 'midfill/names'
local PLACES = 'midfill/places' -- the server's answer says where to ask
local REST_MS = 150
local constants = require('midfill.constants')
local MAX_NAMES, MAX_WHOLE, MAX_KEYWORDS = constants.MAX_NAMES, constants.MAX_WHOLE, constants.MAX_KEYWORDS
-- Kinds of entries that are not names: Text (words of the text), Keyword, Snippet, File, Folder.
local NO_NAMES = { [1] = true, [14] = true, [15] = true, [17] = true, [19] = true }

---@type uv.uv_timer_t?
local timer
local last = ''

--- Return the names of a result, and whether the list is complete. A short list is complete even if its server says
--- otherwise (server/midfill/lsp/names.py), unless the beginning of a name was typed, which may have filtered it.
---@param result table
---@param is_begun boolean
---@return string[], boolean
function M.read(result, is_begun)
  local items = result.items or result
  local names, seen, n_plain, n_keywords, complete = {}, {}, 0, 0, true
  for _, item in ipairs(items) do
    local name = item.filterText or item.label
    n_keywords = n_keywords + (item.kind == 14 and 1 or 0)
    if item.kind == 1 then -- from a server that does not know the names
      complete = false
    elseif not NO_NAMES[item.kind] and type(name) == 'string' and not seen[name] then
      seen[name] = true
      names[#names + 1] = name
      n_plain = n_plain + (name:find('^__.*__$') and 0 or 1)
    end
  end
  if n_keywords > MAX_KEYWORDS then
    return {}, false -- names in scope: the server read the broken text in another way
  end
  if result.isIncomplete == true then
    local is_cut = n_plain > MAX_WHOLE and #items % (MAX_WHOLE + 1) == 0
    complete = complete and not is_begun and not is_cut
  end
  return vim.list_slice(names, 1, MAX_NAMES), complete and #names > 0 and #names <= MAX_NAMES
end

---@param client vim.lsp.Client midfill's
---@param buf integer
---@param names string[]
---@param complete boolean
---@param version integer
---@param position lsp.Position
local function tell(client, buf, names, complete, version, position)
  if #names > 0 and not client:is_stopped() then
    client:notify(METHOD, {
      textDocument = { uri = vim.uri_from_bufnr(buf), version = version },
      position = position,
      names = names,
      complete = complete,
    })
  end
end

--- Ask the other servers of a buffer about one place, in midfill's units. `done` learns whether no answer came in time.
---@param client vim.lsp.Client midfill's
---@param buf integer
---@param position lsp.Position
---@param is_begun boolean whether the beginning of a name is there
---@param done fun(is_late: boolean)
local function ask_others(client, buf, position, is_begun, done)
  local version = vim.lsp.util.buf_versions[buf]
  local line = api.nvim_buf_get_lines(buf, position.line, position.line + 1, false)[1] or ''
  local ok, byte = pcall(vim.str_byteindex, line, client.offset_encoding, position.character, false)
  for _, other in ipairs(ok and vim.lsp.get_clients({ bufnr = buf, method = 'textDocument/completion' }) or {}) do
    if not require('midfill.attach').is_ours(other) then
      local character = vim.str_utfindex(line, other.offset_encoding, byte, false)
      local params = {
        textDocument = { uri = vim.uri_from_bufnr(buf) },
        position = { line = position.line, character = character },
      }
      other:request('textDocument/completion', params, function(err, result)
        if err or not result or not api.nvim_buf_is_valid(buf) then
          return
        elseif vim.lsp.util.buf_versions[buf] ~= version then
          return done(true)
        end
        local names, complete = M.read(result, is_begun)
        tell(client, buf, names, complete, version, position)
      end, buf)
    end
  end
end

--- Ask once for each place after a dot, and for the other places in the cursor's function that the server names.
---@param client vim.lsp.Client
---@param buf integer
local function ask(client, buf)
  if api.nvim_get_current_buf() ~= buf or not client.attached_buffers[buf] then
    return
  end
  local row, col = unpack(api.nvim_win_get_cursor(0))
  local before = api.nvim_get_current_line():sub(1, col)
  local stem = before:match('^(.-)[%w_$]*$')
  local place = table.concat({ buf, row, stem }, ':')
  local version = vim.lsp.util.buf_versions[buf]
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.textDocument.version = version
  client:request(PLACES, params, function(err, result)
    if err or not result or vim.lsp.util.buf_versions[buf] ~= version or not api.nvim_buf_is_valid(buf) then
      return
    end
    for _, position in ipairs(result.places) do
      if not vim.deep_equal(position, params.position) then
        ask_others(client, buf, position, false, function() end)
      elseif place ~= last then
        last = place
        ask_others(client, buf, position, #stem < #before, function(is_late)
          last = is_late and '' or last -- the next key asks again
        end)
      end
    end
  end, buf)
end

---@param client vim.lsp.Client
---@param buf integer
function M.attach(client, buf)
  local group = api.nvim_create_augroup('midfill.names.' .. buf, { clear = true })
  api.nvim_create_autocmd({ 'CursorMovedI', 'TextChangedI', 'TextChangedP', 'InsertEnter' }, {
    group = group,
    buffer = buf,
    callback = function()
      timer = timer or assert(vim.uv.new_timer())
      timer:stop()
      local _, col = unpack(api.nvim_win_get_cursor(0))
      local is_access = api.nvim_get_current_line():sub(1, col):find('[%.>:]$')
      timer:start(
        is_access and 0 or REST_MS,
        0,
        vim.schedule_wrap(function()
          ask(client, buf)
        end)
      )
    end,
  })
end

---@param buf integer
function M.detach(buf)
  pcall(api.nvim_del_augroup_by_name, 'midfill.names.' .. buf)
end

return M
