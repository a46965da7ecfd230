"""The real Neovim, driven by its real input, with the plugin of this repository."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.editors.nvim.editor import Neovim
from tests.editors.wire import SERVER, until

from scripts.drive.film import Film, GhostText, Key
from scripts.drive.hands import State, Way
from scripts.drive.talk import Talk

INIT = Path(__file__).with_name("neovim.lua")
LOAD_S = 300.0  # the model may have to be prepared first
ACCEPT = {"whole": "<Tab>", "word": "<M-Right>", "line": "<M-Down>"}
STATE = """
local row, col = unpack(vim.api.nvim_win_get_cursor(0))
local text = table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), '\\n') .. '\\n'
return { text, vim.fn.line2byte(row) - 1 + col, vim.fn.expand('%:t') }
"""


class NeoVim:
    """One editor."""

    name = "nvim"

    def __init__(self, editor: Neovim) -> None:
        self._editor, self._film, self._talk = editor, Film(), Talk(editor.wire.log)

    def begin(self, name: str) -> None:
        """Wait until the engine can answer, in the file that is typed first."""
        self._editor.command(f"edit {self._editor.workspace / name}")
        until(
            lambda: self._editor.lua("return require('midfill').statusline()"), lambda said: said == "midfill", LOAD_S
        )

    def open(self, name: str, offset: int) -> float:
        """Open a file and put the cursor there, ready to type; return when it was opened, on the film's clock."""
        at = float(self._editor.lua("return vim.uv.hrtime() / 1e9"))
        self._editor.keys("<Esc>")
        self._editor.command(f"edit {self._editor.workspace / name}")
        self._go_to(offset)
        return at

    def _go_to(self, offset: int) -> None:
        """Put the cursor between two characters, in insert mode."""
        text = self.state().text
        row, column = text.count("\n", 0, offset) + 1, len(text[:offset].rsplit("\n", 1)[-1].encode())
        at_end = column > 0 and text[offset : offset + 1] in ("\n", "")
        self._editor.keys(f"<Esc><Cmd>call cursor({row}, {column + 1})<CR>" + ("A" if at_end else "i"))
        until(
            lambda: [self._editor.call("nvim_get_mode")["mode"], self.state().cursor], lambda now: now == ["i", offset]
        )

    def type(self, char: str) -> None:
        """Type one character."""
        self._editor.keys({"<": "<lt>", "\t": "<C-v><Tab>"}.get(char, char))

    def enter(self) -> None:
        """Begin a new line."""
        self._editor.keys("<CR>")

    def backspace(self) -> None:
        """Delete the character before the cursor."""
        self._editor.keys("<BS>")

    def delete(self) -> None:
        """Delete the character after it."""
        self._editor.keys("<Del>")

    def over(self, text: str) -> None:
        """Move over ``text``, which is after the cursor."""
        self._editor.keys("<Right>" * len(text))

    def begin_undoable(self) -> None:
        """Make what is typed from now on undoable by itself."""
        self._editor.keys("<C-g>u")

    def undo(self, offset: int) -> None:
        """Undo once, and continue typing where it was."""
        self._editor.keys("<Esc>u")
        self._go_to(min(offset, len(self.state().text) - 1))

    def accept(self, way: Way) -> None:
        """Take what is shown, or the next piece of it."""
        self._editor.keys(ACCEPT[way])

    def dismiss(self) -> None:
        """Hide what is shown."""
        self._editor.keys("<C-]>")

    def state(self) -> State:
        """Return the document. The texts of a drive are ASCII: bytes are characters."""
        text, cursor, _ = self._editor.lua(STATE)
        return State(text, cursor)

    def film(self) -> Film:
        """Return all frames and keys until now."""
        frames, keys = self._editor.lua("return _G.drain()")
        self._film.frames += [GhostText(at, text) for at, text in frames]
        self._film.keys += [Key(at, text) for at, text in keys]
        return self._film

    def is_answered(self) -> bool:
        """Return whether the server has answered everything."""
        return self._talk.is_answered()

    def sleep(self, seconds: float) -> None:
        """Do nothing for a while."""
        time.sleep(seconds)

    def save(self, name: str) -> str:
        """Save; return what is in the file on disk."""
        self._editor.command(f"silent write {self._editor.workspace / name}")
        return (self._editor.workspace / name).read_text(encoding="utf-8")

    def replace(self, name: str, text: str, offset: int) -> None:
        """Overwrite the file with the right text, after a fault of the drive."""
        self._editor.call("nvim_buf_set_lines", 0, 0, -1, False, text.removesuffix("\n").split("\n"))
        self._go_to(offset)
        self.save(name)

    def shot(self, file: Path) -> None:
        """Do nothing: a headless editor has no window."""


@contextlib.contextmanager
def window(folder: Path, files: Mapping[str, str], env: Mapping[str, str]) -> Iterator[NeoVim]:
    """Yield an editor in a project."""
    editor = Neovim(folder, None, "", SERVER, init=INIT, **env)
    try:
        for name, text in files.items():
            (editor.workspace / name).write_text(text, encoding="utf-8")
        yield NeoVim(editor)
    finally:
        editor.close()
