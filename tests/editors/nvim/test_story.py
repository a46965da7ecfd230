"""Neovim as a person uses it: in a terminal, with the real server and the real embedded model.

A picture and a film of it are drawn to MIDFILL_PICTURES, or to the test's folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.editors import engine, picture
from tests.editors.nvim.editor import PLUGIN
from tests.editors.terminal import Terminal
from tests.editors.tools import neovim
from tests.editors.wire import environment, until

pytestmark = pytest.mark.model

COLUMNS, ROWS = 84, 26
SHOP = Path(__file__).with_name("shop.txt")
# What a person writes, and how this picture looks. The program is the one that lies beside this Python.
INIT = """
vim.opt.runtimepath:prepend(vim.env.TEST_PLUGIN)
vim.lsp.enable('midfill')
vim.opt.swapfile, vim.opt.shadafile, vim.o.number, vim.o.termguicolors = false, 'NONE', true, true
vim.o.statusline = " %f %m%=%{%v:lua.require'midfill'.statusline()%}  %l,%c "
"""
READ = """
import pathlib, sys
sys.path.insert(0, ".")
import shop
prices = pathlib.Path("prices.txt")
prices.write_text("2.5\\n7\\n")
assert shop.read_prices(prices) == [2.5, 7.0]
"""

# How the body may end that the model writes; that it is right, running it shows.
ENDS = ("return prices", ".splitlines()]")


class Story:
    """The terminal, the questions to the editor in it, and the frames of the film."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "shop"
        self.workspace.mkdir()
        self.file = self.workspace / "shop.py"
        shutil.copy(SHOP, self.file)
        (folder / "init.lua").write_text(INIT)
        self._socket = str(folder / "nvim.sock")
        home = {f"XDG_{name}_HOME": str(folder / "home") for name in ("CONFIG", "DATA", "STATE", "CACHE")}
        binaries = f"{folder}{os.pathsep}{os.environ['PATH']}"
        own = {**environment(folder, None), "TEST_PLUGIN": str(PLUGIN), "PATH": binaries}
        self.env = {**os.environ, **home, **own}
        program = folder / "midfill"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m midfill "$@"\n')
        program.chmod(0o755)
        engine.configure(folder)
        command = [neovim(), "-u", str(folder / "init.lua"), "--listen", self._socket, "shop.py"]
        self.terminal = Terminal(command, self.env, self.workspace, COLUMNS, ROWS)
        self.frames: list[picture.Frame] = []
        self._at = time.monotonic()

    def ask(self, expression: str) -> str:
        """Return a value that the editor computes."""
        command = [neovim(), "--server", self._socket, "--remote-expr", expression]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=self.env).stdout.strip()

    def shoot(self, at_least_s: float = 0.08) -> picture.Frame:
        """Add a frame if the screen has changed."""
        frame = picture.Frame(self.terminal.styled(), self.terminal.cursor(), at_least_s)
        if not self.frames or (frame.styled, frame.cursor) != (self.frames[-1].styled, self.frames[-1].cursor):
            self.frames.append(frame)
        return frame

    def type(self, text: str) -> None:
        """Type key by key, as a person does."""
        for char in text:
            self.terminal.type(char)
            until(lambda: self.ask("getline('.')").rstrip()[-1:], lambda last, c=char: last == c or c == " ")  # type: ignore[misc]
            self.shoot()

    def press(self, *keys: str) -> None:
        """Press keys by their names."""
        self.terminal.keys(*keys)

    def until(self, true: Callable[[str], object]) -> None:
        """Wait for a screen, and film meanwhile."""
        until(lambda: (self.shoot(), self.terminal.screen())[1], true, engine.ANSWER_S)

    def close(self) -> None:
        """End the editor and the engine."""
        self.terminal.close()
        engine.end(self.env)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    story = Story(tmp_path)
    yield story
    story.close()


def test_open_type_ghost_tab_write(story: Story, tmp_path: Path) -> None:
    story.terminal.wait("midfill  1,1", engine.LOAD_S)
    story.press("G", "o", "Enter", "Enter")
    story.type("def read_prices(path: Path) -> list[float]:")
    story.press("Enter")
    story.until(lambda screen: any(end in screen for end in ENDS) and "midfill  " in screen)
    assert story.ask("v:lua.require'midfill'.visible()") == "true"
    assert not story.ask("join(getline(1, '$'), '|')").endswith(ENDS)
    shot = story.shoot(2.5)
    story.press("Tab")
    until(lambda: story.ask("join(getline(1, '$'), '|')"), lambda lines: lines.endswith(ENDS))
    story.shoot(1.5)
    story.press("Escape")
    story.terminal.type(":w")
    story.press("Enter")
    story.until(lambda screen: "written" in screen)
    story.shoot(2.0)
    assert story.file.read_text().startswith(SHOP.read_text())
    subprocess.run([sys.executable, "-c", READ], cwd=story.workspace, check=True, timeout=60)
    pictures = Path(os.environ.get("MIDFILL_PICTURES", tmp_path))
    (pictures / "neovim.svg").write_text(picture.still(shot, COLUMNS, ROWS), encoding="utf-8")
    (pictures / "neovim-film.svg").write_text(picture.film(story.frames, COLUMNS, ROWS), encoding="utf-8")
