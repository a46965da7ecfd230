--- Finds the program `midfill`, but never in the workspace: opening a repository must not run its files.

local M = {}

local WINDOWS = vim.fn.has('win32') == 1
local NAME = WINDOWS and 'midfill.exe' or 'midfill'

--- Return the folders of PATH, and those where `pip install --user`, pipx and `uv tool` put programs: a Neovim that was
--- not started from a shell often lacks these. A relative folder of PATH is left out: it would be the workspace's.
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

--- Whether the configuration, with the user's changes, starts a program that is missing.
---@return boolean
local function is_missing()
  local config = vim.lsp.config['midfill']
  local cmd = config and config.cmd
  return type(cmd) == 'table' and cmd[1] == NAME and not M.find()
end

--- Return the language server's command line. If midfill is missing, tell the user once.
---@return string[]
function M.command()
  local file = M.find()
  if not file then
    vim.schedule(function() -- Neovim reads this file before the user's own `cmd` replaces it
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

--- Return the command line of another midfill command, with the program from the language server's configuration.
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
