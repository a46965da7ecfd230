#!/usr/bin/env bash
# Installs what building and testing editors/vscode needs into .tools/vscode (or $1); existing files are used again.
# VS Code comes from code-server's npm package: the real workbench, served to a browser. Only the dependencies that
# editing and a terminal need are installed (35 MB, not 404). No package's install script is run and nothing is
# compiled: the prebuilt edition of node-pty replaces the one that would need compiling.
set -euo pipefail
cd "$(dirname "$0")/.."
CODE_SERVER=4.139.1 NODE=24.21.0 VSCE=4.1.0 PTY=1.1.0
ARCH=$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')
mkdir -p "${1:-.tools/vscode}"
TOOLS=$(cd "${1:-.tools/vscode}" && pwd)
DONE="$TOOLS/.done-$CODE_SERVER-$NODE-$VSCE-$PTY"
NEEDED='minimist cookie ws yauzl yazl http-proxy-agent https-proxy-agent @vscode/proxy-agent vscode-regexpp
  vscode-textmate vscode-oniguruma @vscode/iconv-lite-umd jschardet @microsoft/1ds-core-js @microsoft/1ds-post-js tas-client
  @xterm/headless @xterm/addon-serialize @xterm/addon-unicode11'

fetch() { npm install --no-audit --no-fund --ignore-scripts --loglevel=error "$@" >/dev/null; }

apt_packages() {
  command -v chromium >/dev/null && return
  echo "== installing Chromium"
  [ "$(id -u)" = 0 ] || { echo "Chromium is missing; on Debian: apt-get install chromium"; exit 1; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
}

vscode() {
  echo "== installing VS Code's workbench"
  local archive
  archive=$(npm pack --silent --pack-destination "$TOOLS" "code-server@$CODE_SERVER")
  rm -rf code && mkdir code
  tar xzf "$archive" -C code --strip-components=3 \
    --exclude=package/lib/vscode/extensions/copilot package/lib/vscode
  rm "$archive"
  (cd code && NEEDED=$NEEDED node -e '
    const fs = require("fs"), read = name => JSON.parse(fs.readFileSync(name, "utf8"));
    const own = read("package.json"), locked = read("npm-shrinkwrap.json").packages;
    const versions = process.env.NEEDED.split(/\s+/).map(name => [name, locked["node_modules/" + name].version]);
    fs.writeFileSync("package.json", JSON.stringify({ ...own, dependencies: Object.fromEntries(versions),
      devDependencies: undefined, overrides: undefined, allowScripts: undefined }, null, 2));
    fs.rmSync("npm-shrinkwrap.json");' && fetch --omit=dev --omit=optional \
    "node-pty@npm:@lydell/node-pty@$PTY" "@lydell/node-pty-linux-$ARCH@$PTY")
}

apt_packages
[ -f "$DONE" ] && exit 0
command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer"; exit 1; }
cd "$TOOLS"
[ -f package.json ] || echo '{"private": true}' >package.json
echo "== installing Node.js $NODE and vsce"
fetch --save-exact "node-linux-$ARCH@$NODE" "@vscode/vsce@$VSCE"
vscode
touch "$DONE"
