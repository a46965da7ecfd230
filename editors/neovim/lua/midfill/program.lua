--- Finds the program `midfill`. Never in the workspace: opening a repository must not run its files.

local M = {}

local WINDOWS = vim.fn.has('win32') == 1
local NAME = WINDOWS and 'midfill.exe' or 'midfill'

--- Folders of PATH, and where `pip install --user`, pipx and `uv tool` put programs: a Neovim that was not started
--- from a shell often lacks those. A relative folder of PATH would be the workspace's.
---@return string[]
local function folders()
  local found = vim.split(vim.env.PATH or '', WINDOWS and ';' or ':', { plain = true, trimempty = true })
  table.insert(found, vim.fs.joinpath(vim.uv.os_homedir() or '/', '.local', 'bin'))
  return vim.tbl_filter(function(folder)
    return folder:match('^/') ~= nil or folder:match('^%a:[\\/]') ~= nil
  end, found)
end

---@return string? path
function M.find()
  for _, folder in ipairs(folders()) do
    local file = vim.fs.joinpath(folder, NAME)
    if vim.fn.executable(file) == 1 then
      return file
    end
  end
end

--- Whether the configuration, with what a person changed in it, still starts a program that is not there.
---@return boolean
local function is_missing()
  local config = vim.lsp.config['midfill']
  local cmd = config and config.cmd
  return type(cmd) == 'table' and cmd[1] == NAME and not M.find()
end

--- The language server's command line. Where midfill is missing, says so once.
---@return string[]
function M.command()
  local file = M.find()
  if not file then
    vim.schedule(function() -- this file is read before a person's own `cmd` takes its place
      if is_missing() then
        vim.notify_once(
          "midfill is not installed: pip install 'midfill[embedded]', then :checkhealth midfill",
          vim.log.levels.WARN
        )
      end
    end)
  end
  return { file or NAME, 'lsp', '--stdio' }
end

--- The command line of another of midfill's commands, by the program that the language server's configuration names.
---@param arguments string[]
---@return string[]
function M.other(arguments)
  local config = vim.lsp.config['midfill']
  local cmd = config and config.cmd
  local base = {} ---@type string[]
  for _, word in ipairs(type(cmd) == 'table' and cmd or {}) do
    if word == 'lsp' then
      break
    end
    base[#base + 1] = word
  end
  return vim.list_extend(#base > 0 and base or { M.find() or NAME }, arguments)
end

return M
