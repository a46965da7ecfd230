--- Asks other language servers what a name is, and passes on where it, or its class, is defined, and its hover's text.

local M = {}
local METHOD = 'midfill/definitions'
local MAX_TARGETS, MAX_HOVER = 3, 4000

--- Return the places of a result in one form: a place, a list of places or of links to them.
---@param result table
---@return { uri: string, range: lsp.Range }[]
function M.targets(result)
  local places = vim.islist(result) and result or { result }
  return vim.tbl_map(function(one)
    return { uri = one.uri or one.targetUri, range = one.range or one.targetSelectionRange }
  end, vim.list_slice(places, 1, MAX_TARGETS))
end

---@param result table of textDocument/hover
---@return string
function M.hover(result)
  local ok, lines = pcall(vim.lsp.util.convert_input_to_markdown_lines, result.contents or {})
  return ok and table.concat(lines, '\n'):sub(1, MAX_HOVER) or ''
end

--- Ask what the name at `wanted.position` is, or its class; its hover's text follows.
---@param client vim.lsp.Client midfill's
---@param ask fun(method: string, position: lsp.Position, done: fun(result: table?))
---@param wanted { position: lsp.Position, type: boolean }
---@param textDocument table
function M.tell(client, ask, wanted, textDocument)
  local function notify(targets, hover)
    if #targets > 0 and not client:is_stopped() then
      local params = { textDocument = textDocument, position = wanted.position, targets = targets, hover = hover }
      client:notify(METHOD, params)
    end
  end
  local method = wanted.type and 'textDocument/typeDefinition' or 'textDocument/definition'
  ask(method, wanted.position, function(result)
    local targets = result and M.targets(result) or {}
    notify(targets, '')
    ask('textDocument/hover', wanted.position, function(hover)
      notify(hover and targets or {}, hover and M.hover(hover) or '')
    end)
  end)
end

return M
