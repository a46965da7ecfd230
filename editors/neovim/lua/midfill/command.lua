--- `:Midfill`: each word that can follow it is an entry of the table below.

local attach = require('midfill.attach')
local off = require('midfill.off')
local program = require('midfill.program')
local reports = require('midfill.reports')
local status = require('midfill.status')
local window = require('midfill.window')

local M = {}
local SCOPES = { 'here', 'filetype', 'everywhere' }

---@param text string
local function warn(text)
  vim.notify('midfill: ' .. text, vim.log.levels.WARN)
end

--- Ask the server, or tell the user that there is none.
---@param method string
---@param params table
---@param answer fun(result: any)
local function ask(method, params, answer)
  local client = attach.client(vim.api.nvim_get_current_buf())
  if not client then
    return warn('not running; see :checkhealth midfill')
  end
  client:request(method, params, function(err, result)
    if err then
      return warn(err.message)
    end
    answer(result)
  end)
end

--- Run a command of midfill outside the workspace's folder and pass its output to `answer`.
---@param arguments string[]
---@param answer fun(text: string)
local function run(arguments, answer)
  local cmd = program.other(arguments)
  local ok, error = pcall(
    vim.system,
    cmd,
    { text = true, cwd = vim.uv.os_homedir() },
    vim.schedule_wrap(function(done)
      answer(vim.trim(done.code == 0 and done.stdout or done.stderr .. done.stdout))
    end)
  )
  if not ok then
    warn(tostring(error))
  end
end

---@param change fun(scope: midfill.Scope, buf: integer)
---@return fun(scope?: string)
local function switch(change)
  return function(scope)
    scope = scope or 'here'
    if not vim.list_contains(SCOPES, scope) then
      return warn('expected one of ' .. table.concat(SCOPES, ', '))
    end
    change(scope --[[@as midfill.Scope]], vim.api.nvim_get_current_buf())
  end
end

local function explain()
  local buf = vim.api.nvim_get_current_buf()
  local function say_off(reason)
    window.show('explain', { 'Nothing was shown: ' .. reason .. '.' })
  end
  if off.here(buf) then
    return say_off(off.here(buf))
  end
  ask('midfill/explain', { textDocument = { uri = vim.uri_from_bufnr(buf) } }, function(result)
    local story = result ~= vim.NIL and result and result.story
    if not story and off.reason(buf) then
      return say_off(off.reason(buf))
    end
    window.show('explain', reports.story(story or 'Nothing was asked for in this buffer yet.'))
  end)
end

---@return string
local function folder_of_state()
  local own, xdg = vim.env.MIDFILL_STATE_DIR, vim.env.XDG_STATE_HOME
  local windows = vim.fn.has('win32') == 1 and vim.env.LOCALAPPDATA or nil
  return own
    or vim.fs.joinpath(xdg or windows or vim.fs.joinpath(vim.uv.os_homedir() or '/', '.local', 'state'), 'midfill')
end

--- Return the registered adapters, by their folders' names.
---@return string[]
local function adapters()
  local own, xdg = vim.env.MIDFILL_DATA_DIR, vim.env.XDG_DATA_HOME
  local windows = vim.fn.has('win32') == 1 and vim.env.LOCALAPPDATA or nil
  local base = own
    or vim.fs.joinpath(xdg or windows or vim.fs.joinpath(vim.uv.os_homedir() or '/', '.local', 'share'), 'midfill')
  local names = { 'auto', 'none' }
  for name in vim.fs.dir(vim.fs.joinpath(base, 'adapters')) do
    if not vim.startswith(name, '.') then
      names[#names + 1] = name
    end
  end
  return names
end

--- Return a function that sets a setting of the server for this session; without a value it shows the current one.
---@param setting 'adapter'|'eagerness'|'lines'|'model'
---@param words fun(): string[]
---@param is_open boolean  whether other words are allowed
---@return fun(value?: string)
local function setter(setting, words, is_open)
  return function(value)
    local client = attach.client(vim.api.nvim_get_current_buf())
    if not value then
      local known = (status.of(client) or {})[setting]
      local now = type(known) == 'string' and known ~= '' and known or 'none'
      return vim.notify(('midfill: current %s: %s (available: %s)'):format(setting, now, table.concat(words(), ', ')))
    end
    if not is_open and not vim.list_contains(words(), value) then
      return warn('expected one of ' .. table.concat(words(), ', '))
    end
    if not client then
      return warn('not running; see :checkhealth midfill')
    end
    client:notify('workspace/didChangeConfiguration', { settings = { midfill = { [setting] = value } } })
  end
end

---@param words string[]
---@return fun(): string[]
local function fixed(words)
  return function()
    return words
  end
end

local LEVELS, LINES, MINUTES =
  fixed({ 'quiet', 'balanced', 'eager' }), fixed({ 'one', 'auto' }), fixed({ '5', '15', '60', '0' })

--- Pause automatic suggestions for some minutes; 0 ends the pause.
---@param minutes? string
local function snooze(minutes)
  local n = tonumber(minutes or '15')
  if not n or n < 0 then
    return warn('expected a number of minutes, such as 5, 15 or 60 (0 ends the snooze)')
  end
  ask('workspace/executeCommand', { command = 'midfill.snooze', arguments = { n } }, function()
    vim.notify(n == 0 and 'midfill: the snooze is over' or ('midfill: snoozed for %d minutes'):format(n))
  end)
end

---@param model { name: string, here: boolean, size: integer, memory: integer }
---@return string
local function described(model)
  local where = model.here and 'on disk' or 'to download'
  return ('%s: %.1f GB %s, needs about %.1f GB of memory'):format(
    model.name,
    model.size / 1e9,
    where,
    model.memory / 1e9
  )
end

--- Let the user choose among the models on this machine and those on the hub.
---@param name? string
local function model(name)
  local take = setter('model', fixed({}), true)
  if name then
    return take(name)
  end
  ask('midfill/models', vim.empty_dict(), function(told)
    local prompt = ('midfill: the model (now %s)'):format(told.model)
    vim.ui.select(told.models, { prompt = prompt, format_item = described }, function(chosen)
      if chosen then
        take(chosen.spec)
      end
    end)
  end)
end

--- Stop the server, and start it again once it has stopped.
local function restart()
  local gone = vim.tbl_filter(attach.is_ours, vim.lsp.get_clients())
  vim.lsp.enable('midfill', false)
  local timer = assert(vim.uv.new_timer())
  timer:start(
    0,
    50,
    vim.schedule_wrap(function()
      if
        vim.iter(gone):all(function(client)
          return client:is_stopped()
        end) and not timer:is_closing()
      then
        timer:close()
        vim.lsp.enable('midfill')
      end
    end)
  )
end

---@class midfill.Subcommand
---@field run fun(argument?: string)
---@field words? fun(): string[]

---@type table<string, midfill.Subcommand>
local SUBCOMMANDS = {
  status = {
    run = function()
      local buf = vim.api.nvim_get_current_buf()
      local reason = off.reason(buf)
      local lines = reason and { 'midfill: ' .. reason } or status.story(status.of(attach.client(buf)))
      vim.api.nvim_echo({ { table.concat(lines, '\n') } }, true, {})
    end,
  },
  enable = {
    run = switch(off.enable),
    words = function()
      return SCOPES
    end,
  },
  disable = {
    run = switch(off.disable),
    words = function()
      return SCOPES
    end,
  },
  adapter = { run = setter('adapter', adapters, true), words = adapters },
  eagerness = { run = setter('eagerness', LEVELS, false), words = LEVELS },
  lines = { run = setter('lines', LINES, false), words = LINES },
  snooze = { run = snooze, words = MINUTES },
  model = { run = model },
  explain = { run = explain },
  stats = {
    run = function()
      run({ 'stats', '--days', '7', '--json' }, function(text)
        window.show('stats', reports.statistics(text))
      end)
    end,
  },
  log = {
    run = function()
      local files = vim.fn.glob(vim.fs.joinpath(folder_of_state(), 'log', '*.log'), true, true)
      if #files == 0 then
        return warn('there is no log yet')
      end
      table.sort(files, function(a, b)
        return vim.fn.getftime(a) > vim.fn.getftime(b)
      end)
      vim.cmd.split(vim.fn.fnameescape(files[1]))
      vim.bo.readonly = true
      vim.cmd('normal! G')
    end,
  },
  restart = { run = restart },
}

--- Run `:Midfill`; without a word it shows the status.
---@param words string[]
function M.run(words)
  local subcommand = SUBCOMMANDS[words[1] or 'status']
  if not subcommand then
    return warn(
      ('unknown subcommand: %s (available: %s)'):format(words[1], table.concat(M.complete('', 'Midfill '), ', '))
    )
  end
  subcommand.run(words[2])
end

---@param lead string
---@param line string
---@return string[]
function M.complete(lead, line)
  local words = vim.split(vim.trim(line:sub(1, #line - #lead)), '%s+', { trimempty = true })
  local known = vim.tbl_keys(SUBCOMMANDS)
  if #words > 1 then
    local subcommand = SUBCOMMANDS[words[2]]
    known = #words == 2 and subcommand and subcommand.words and vim.deepcopy(subcommand.words()) or {}
  end
  table.sort(known)
  return vim.tbl_filter(function(word)
    return vim.startswith(word, lead)
  end, known)
end

return M
