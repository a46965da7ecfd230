#!/usr/bin/env bash
# Packs the Neovim plugin as a tarball: tar -xzf it in ~/.local/share/nvim/site/pack/midfill/start.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp -r editors/neovim "$folder/midfill.nvim"
cp LICENSE "$folder/midfill.nvim/"
rm -f "$folder/midfill.nvim/doc/tags"
mkdir -p dist
file=dist/midfill.nvim-$version.tar.gz
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime='2000-01-01 UTC' -C "$folder" -cf - midfill.nvim | gzip -n > "$file"
echo "$file"
