--- `vim.lsp.enable('midfill')` needs no more than this file; the rest of the plugin hooks itself in when it attaches.
---
--- Change it as any other server's: `vim.lsp.config('midfill', { init_options = { adapter = 'mine' } })`.

vim.cmd.runtime('plugin/midfill.lua') -- where 'runtimepath' was changed after the start
local program = require('midfill.program')

---@type vim.lsp.Config
return {
  cmd = program.command(),
  cmd_cwd = vim.uv.os_homedir(), -- never the workspace: Python may look for modules in the folder where it starts
  -- stylua: ignore
  filetypes = {
    'ada', 'arduino', 'astro', 'asm', 'awk', 'bash', 'bicep', 'c', 'clojure', 'cmake', 'cobol', 'cpp', 'crystal', 'cs',
    'css', 'cuda', 'd', 'dart', 'dockerfile', 'elixir', 'elm', 'erlang', 'fish', 'fortran', 'fsharp', 'gdscript', 'glsl',
    'go', 'gomod', 'graphql', 'groovy', 'haskell', 'hcl', 'html', 'java', 'javascript', 'javascriptreact', 'json',
    'jsonc', 'julia', 'just', 'kotlin', 'less', 'lisp', 'lua', 'make', 'markdown', 'matlab', 'meson', 'nim', 'nix',
    'objc', 'objcpp', 'ocaml', 'odin', 'pascal', 'perl', 'php', 'prisma', 'prolog', 'proto', 'ps1', 'puppet', 'python',
    'r', 'racket', 'rescript', 'rst', 'ruby', 'rust', 'sass', 'scala', 'scheme', 'scss', 'sh', 'solidity', 'sql',
    'starlark', 'svelte', 'swift', 'systemverilog', 'tcl', 'terraform', 'tex', 'toml', 'typescript', 'typescriptreact',
    'typst', 'vala', 'verilog', 'vhdl', 'vim', 'vue', 'wgsl', 'xml', 'yaml', 'zig', 'zsh',
  },
  root_markers = {
    { '.git', '.hg', '.jj' },
    {
      'pyproject.toml',
      'package.json',
      'Cargo.toml',
      'go.mod',
      'pom.xml',
      'build.gradle',
      'CMakeLists.txt',
      'Makefile',
    },
  },
  -- Most servers know utf-16 only, and Neovim warns where the servers of one buffer count differently.
  capabilities = {
    general = { positionEncodings = { 'utf-16' } },
    experimental = { midfill = { status = true } },
  },
}
