#!/usr/bin/env bash
# Installs the language servers that the tests of editors run beside midfill's into .tools/servers: pyright, and
# TypeScript's. Existing files are used again. No package's install script is run.
set -euo pipefail
cd "$(dirname "$0")/.."
PYRIGHT=1.1.414 TYPESCRIPT=5.9.3 SERVER=6.0.2
DONE=.tools/servers/.done-$PYRIGHT-$TYPESCRIPT-$SERVER
[ -f "$DONE" ] && exit 0
command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer"; exit 1; }
echo "== installing pyright and typescript-language-server into .tools/servers"
rm -rf .tools/servers
mkdir -p .tools/servers
cd .tools/servers
echo '{"private": true}' >package.json
npm install --no-audit --no-fund --ignore-scripts --omit=optional --loglevel=error --save-exact \
  "pyright@$PYRIGHT" "typescript@$TYPESCRIPT" "typescript-language-server@$SERVER" >/dev/null
touch "../../$DONE"
