"""Other editors, with the configuration that docs/clients.md gives, taken out of it. A scripted engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.editors.terminal import Terminal
from tests.editors.tools import REPOSITORY, need, program
from tests.editors.wire import environment, until

CLIENTS = REPOSITORY / "docs/clients.md"
HERE = Path(__file__).parent


def documented(name: str) -> str:
    """Return the block of the page that is marked for the test ``name``."""
    found = re.search(rf"<!-- test: {name} -->\n```\w+\n(.*?)```", CLIENTS.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


def prepared(folder: Path, *chunks: str) -> dict[str, str]:
    """Return the environment of an editor that has `midfill` on its PATH."""
    launcher = folder / "bin/midfill"
    launcher.parent.mkdir()
    launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m midfill "$@"\n')
    launcher.chmod(0o755)
    path = f"{launcher.parent}{os.pathsep}{os.environ['PATH']}"
    settings = folder / "config/config.toml"
    settings.parent.mkdir(mode=0o700)
    settings.write_text('disabled_rules = ["confidence"]\nmax_debounce_s = 0\n')
    return {**os.environ, **environment(folder, {"chunks": chunks}), "PATH": path, "HOME": str(folder)}


@pytest.mark.parametrize(
    ("buffer", "chunks", "completed"),
    [
        ("y = add(", ["a, ", "b)"], "y = add(a, b)\n"),
        (
            "def area(w, h):",
            ["\n    total = w * h", "\n    return total"],
            "def area(w, h):\n    total = w * h\n    return total\n",
        ),
    ],
    ids=["words", "lines"],
)
def test_emacs_eglot(tmp_path: Path, buffer: str, chunks: list[str], completed: str) -> None:
    emacs = program("emacs", "emacs-nox elpa-eglot")
    settings, file = tmp_path / "documented.el", tmp_path / "main.py"
    settings.write_text(documented("emacs"))
    file.write_text(buffer)
    command = [emacs, "-Q", "--batch", "-l", str(HERE / "eglot.el"), str(settings), str(file)]
    done = subprocess.run(
        command, env=prepared(tmp_path, *chunks), cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert file.read_text() == completed, done.stderr


@pytest.fixture
def vim(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """Vim with ALE; the engine says the test's parameter."""
    ale = need("/usr/share/vim-ale/plugin/ale.vim", "ALE", "apt-get install vim-ale")
    (tmp_path / "vimrc").write_text(
        "set nocompatible noswapfile viminfo= hidden completeopt=menuone,noinsert\nfiletype plugin indent on\n"
        + documented("ale")
        + f"set runtimepath^={Path(ale).parents[1]}\n"
    )
    (tmp_path / "main.py").write_text("y = \n")
    command = [program("vim", "vim"), "-u", str(tmp_path / "vimrc"), "main.py"]
    terminal = Terminal(command, prepared(tmp_path, *request.param), tmp_path, 70, 14)
    yield terminal
    terminal.close()


def write(vim: Terminal, file: Path) -> str:
    """Save the file; return its text."""
    before = file.stat().st_mtime_ns
    vim.keys("Escape")
    vim.type(":w")
    vim.keys("Enter")
    until(lambda: file.stat().st_mtime_ns, lambda now: now != before)
    return until(file.read_text, bool)  # Vim empties it first


@pytest.mark.parametrize("vim", [["al_of"]], indirect=True, ids=["word"])
def test_vim_ale_while_typing(vim: Terminal, tmp_path: Path) -> None:
    vim.wait("y =")
    vim.type("Atot")
    vim.wait("total_of")
    vim.keys("C-n", "C-y")
    assert write(vim, tmp_path / "main.py") == "y = total_of\n"


@pytest.mark.parametrize("vim", [["[\n", "    1,\n", "]"], ["a + b"]], indirect=True, ids=["lines", "words"])
def test_vim_ale_by_hand(vim: Terminal, tmp_path: Path) -> None:
    vim.wait("y =")
    vim.type("A")
    vim.keys("C-x", "C-o")
    shown = vim.wait("midfill")
    vim.keys("C-y")
    assert write(vim, tmp_path / "main.py") == ("y = [\n" if "[" in shown else "y = a + b\n")
