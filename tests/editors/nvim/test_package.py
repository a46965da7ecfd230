"""The plugin as people install it: the tarball of `make nvim`, unpacked into a package folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.editors.tools import REPOSITORY, neovim


def test_the_tarball_is_a_package(tmp_path: Path) -> None:
    done = subprocess.run([REPOSITORY / "scripts/pack-nvim.sh"], check=True, capture_output=True, text=True)
    tarball = REPOSITORY / done.stdout.strip()
    start = tmp_path / "data/nvim/site/pack/midfill/start"
    start.mkdir(parents=True)
    subprocess.run(["tar", "-xzf", tarball, "-C", start], check=True)
    assert (start / "midfill.nvim/LICENSE").is_file()
    init = tmp_path / "config/nvim/init.lua"
    init.parent.mkdir(parents=True)
    init.write_text("vim.lsp.enable('midfill')\n")
    (tmp_path / "main.py").write_text("\n")
    says = "io.write(vim.inspect({ vim.lsp.config['midfill'].cmd, vim.fn.exists(':Midfill') }))"
    program = tmp_path / "bin/midfill"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    done = subprocess.run(
        [neovim(), "--headless", "-i", "NONE", "-n", "main.py", "-c", f"lua {says}", "-c", "helptags ALL", "-c",
         "help midfill", "-c", "lua io.write(vim.fn.expand('%:t'))", "-c", "quitall!"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
        env={"PATH": f"{program.parent}:{os.defpath}", "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"),
             "XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_STATE_HOME": str(tmp_path / "state")},
    )  # fmt: skip
    assert done.stdout == f'{{ {{ "{program}", "lsp", "--stdio" }}, 2 }}midfill.txt'
