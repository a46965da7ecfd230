--- Asks other language servers which names may follow a dot and what a callee takes, and passes that on to midfill. No
--- request waits for it.

local api = vim.api

local M = {}
local METHOD = 'midfill/names'
local SIGNATURES = 'midfill/signatures'
local PLACES = 'midfill/places' -- the server's answer says where to ask
local REST_MS = 150
local constants = require('midfill.constants')
local MAX_NAMES, MAX_WHOLE, MAX_KEYWORDS = constants.MAX_NAMES, constants.MAX_WHOLE, constants.MAX_KEYWORDS
local MAX_SIGNATURES = constants.MAX_SIGNATURES
-- Kinds of entries that are not names: Text (words of the text), Keyword, Snippet, File, Folder.
local NO_NAMES = { [1] = true, [14] = true, [15] = true, [17] = true, [19] = true }

---@type uv.uv_timer_t?
local timer
local last, last_asked = '', ''

--- Return the names of a result, and whether the list is complete. A short list is complete even if its server says
--- otherwise (server/midfill/lsp/names.py), unless the beginning of a name was typed, which may have filtered it.
---@param result table
---@param is_begun boolean
---@return string[], boolean
function M.read(result, is_begun)
  local items = result.items or result
  items = type(items) == 'table' and items or {} -- JSON's null is no table
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

--- Ask the other servers of a buffer about one place, in midfill's units. `done` gets each answer, and nil for one that
--- came too late.
---@param client vim.lsp.Client midfill's
---@param buf integer
---@param method string
---@param position lsp.Position
---@param done fun(result: table?, version: integer)
local function ask_others(client, buf, method, position, done)
  local version = vim.lsp.util.buf_versions[buf]
  local line = api.nvim_buf_get_lines(buf, position.line, position.line + 1, false)[1] or ''
  local ok, byte = pcall(vim.str_byteindex, line, client.offset_encoding, position.character, false)
  for _, other in ipairs(ok and vim.lsp.get_clients({ bufnr = buf, method = method }) or {}) do
    if not require('midfill.attach').is_ours(other) then
      local character = vim.str_utfindex(line, other.offset_encoding, byte, false)
      local params = {
        textDocument = { uri = vim.uri_from_bufnr(buf) },
        position = { line = position.line, character = character },
      }
      other:request(method, params, function(err, result)
        if not err and result and api.nvim_buf_is_valid(buf) then
          done(vim.lsp.util.buf_versions[buf] == version and result or nil, version)
        end
      end, buf)
    end
  end
end

--- Ask which names may follow at a place. `late` is called if an answer came too late.
---@param client vim.lsp.Client midfill's
---@param buf integer
---@param position lsp.Position
---@param is_begun boolean whether the beginning of a name is there
---@param late fun()
local function ask_names(client, buf, position, is_begun, late)
  ask_others(client, buf, 'textDocument/completion', position, function(result, version)
    if result == nil then
      return late()
    end
    local names, complete = M.read(result, is_begun)
    tell(client, buf, names, complete, version, position)
  end)
end

--- Ask what the call takes whose parentheses open before `call`; `params` are those of midfill/places.
---@param client vim.lsp.Client midfill's
---@param buf integer
---@param call lsp.Position
---@param params table
local function ask_call(client, buf, call, params)
  ask_others(client, buf, 'textDocument/signatureHelp', call, function(result)
    local told = result and result.signatures
    told = type(told) == 'table' and told or {} -- JSON's null is no table
    local found = vim.tbl_map(function(one)
      return { label = one.label, parameters = one.parameters }
    end, vim.list_slice(told, 1, MAX_SIGNATURES + 1)) -- one more: these are not all
    if #found > 0 and not client:is_stopped() then
      client:notify(SIGNATURES, vim.tbl_extend('force', params, { signatures = found }))
    end
  end)
end

--- Ask once for each place after a dot, for the other places in the cursor's function that the server names, what the
--- call at the cursor takes, and what the names near it are.
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
    local asked = vim.inspect({ buf, version, result.call, result.names })
    if asked ~= last_asked then -- once for a version
      last_asked = asked
      if type(result.call) == 'table' then
        ask_call(client, buf, result.call, params)
      end
      local function ask_one(method, position, done)
        ask_others(client, buf, method, position, done)
      end
      for _, wanted in ipairs(result.names or {}) do
        require('midfill.definitions').tell(client, ask_one, wanted, params.textDocument)
      end
    end
    for _, position in ipairs(result.places) do
      if not vim.deep_equal(position, params.position) then
        ask_names(client, buf, position, false, function() end)
      elseif place ~= last then
        last = place
        ask_names(client, buf, position, #stem < #before, function()
          last = '' -- the next key asks again
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
      local is_access = api.nvim_get_current_line():sub(1, col):find('[%.>:(]$')
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
