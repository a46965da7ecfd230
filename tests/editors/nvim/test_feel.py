"""The seconds around a suggestion: a dismissed one stays away, the server hears where the cursor rests, and a request
waits for a loading engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.editors.nvim.conftest import Start
from tests.editors.nvim.editor import Neovim
from tests.editors.wire import Message, until

METHOD = "midfill/inlineCompletion"
FOCUS = "textDocument/didFocus"
PAIRS = "vim.keymap.set('i', '(', '()<Left>')"
# The scripted engine that loads as long as its script says so.
LOADING_SERVER = Path(__file__).parents[1] / "vscode" / "server.py"


def answered(editor: Neovim) -> list[Message]:
    """Return the requests once all of them are answered."""
    requests = editor.wire.messages(method=METHOD)
    for request in requests:
        editor.wire.answer(request)
    return requests


def dismissed(editor: Neovim) -> list[tuple[int, int, str]]:
    told = [message["params"] for message in editor.wire.messages(method="midfill/dismissed")]
    assert all(params["textDocument"]["uri"].endswith("/main.py") for params in told)
    return [(params["position"]["line"], params["position"]["character"], params["text"]) for params in told]


@pytest.mark.parametrize(
    ("buffer", "chunks", "along", "other"),
    [
        ("x = ‸\n", ["uno due"], "uno", "x"),
        ("x = f‸\n", ["(1, 2)"], "(1", "3"),  # closed by a plugin
        ("def f():\n    ‸\n", ["é = 1\n", "    return é"], "é =", "="),
        ("s = '🙂é' + ‸\n", ["'é🙂'"], "'", "x"),
    ],
)
@pytest.mark.parametrize("key", ["<C-]>", "<Esc>a"])
def test_what_was_dismissed_does_not_come_back(
    start: Start, buffer: str, chunks: list[str], along: str, other: str, key: str
) -> None:
    editor = start(*chunks, setup=PAIRS)
    editor.open(buffer)
    editor.wait_ghost("".join(chunks))
    editor.keys(key)
    editor.wait_ghost("")
    n_frames = len(editor.frames())
    for char in along:
        editor.keys(char)
        editor.wait(lambda: editor.call("nvim_get_mode")["blocking"], False)
        answered(editor)
    assert [frame for frame in editor.frames()[n_frames:] if frame] == []
    before = buffer.partition("‸")[0].rsplit("\n", 1)[-1]
    row, text = buffer.partition("‸")[0].count("\n"), "".join(chunks)
    wanted = [(row, len(before.encode("utf-16-le")) // 2, text)]
    until(lambda: dismissed(editor), lambda told: told == wanted)
    editor.keys(other)  # the line changes otherwise
    until(editor.ghost)


def test_until_one_asks_or_goes_elsewhere(start: Start) -> None:
    editor = start("uno due")
    editor.open("x = ‸\nlast\n")
    editor.wait_ghost("uno due")
    editor.keys("<C-]>")
    editor.wait_ghost("")
    editor.keys("<M-Bslash>")
    editor.wait_ghost("uno due")
    editor.keys("<C-]>")
    editor.wait_ghost("")
    editor.keys("<Esc>Oy = ")  # a line above, and the place goes with its line
    editor.wait_ghost("uno due")
    editor.keys("<Esc>jA")
    editor.wait(editor.cursor, [2, 4])
    answered(editor)
    editor.wait_ghost("")
    editor.keys("u")
    answered(editor)
    editor.wait_ghost("")
    editor.keys("<BS><BS>")  # the line changes otherwise
    editor.wait_ghost("uno due")


def test_one_command_out_of_insert_mode_dismisses_nothing(start: Start) -> None:
    editor = start("uno due")
    editor.open("x = ‸\n")
    editor.wait_ghost("uno due")
    editor.keys("<C-o>zz")
    editor.wait_ghost("uno due")
    assert dismissed(editor) == []


def test_a_resting_cursor_is_told(start: Start) -> None:
    editor = start()
    editor.open("first\nsecond‸\n")
    until(lambda: editor.wire.messages(method=FOCUS)[-1:], lambda last: last and place(last[0]) == (1, 6))
    n = len(editor.wire.messages(method=FOCUS))
    editor.keys("abcd<Esc>gg0")  # no rest in between
    told = until(lambda: editor.wire.messages(method=FOCUS)[n:])
    assert [place(message) for message in told] == [(0, 0)]
    editor.command(f"edit! {editor.workspace / 'other.py'}")
    until(lambda: editor.wire.messages(method=FOCUS)[-1]["params"]["textDocument"]["uri"], lambda uri: "other" in uri)


def place(message: Message) -> tuple[int, int]:
    position = message["params"]["position"]
    return position["line"], position["character"]


@pytest.fixture
def loading(tmp_path: Path) -> Iterator[Neovim]:
    """An editor whose engine loads."""
    script(tmp_path, loading=True)
    command = [sys.executable, "-P", str(LOADING_SERVER), str(tmp_path / "s.json"), str(tmp_path / "w.jsonl"), "lsp"]
    editor = Neovim(tmp_path, None, "", [*command, "--stdio"])
    editor.command(f"edit {editor.workspace / 'main.py'}")
    shown = until(
        lambda: str(editor.lua("return require('midfill').statusline()")),
        lambda said: "starting" in said and "%%" in said,
    )
    assert shown.startswith("midfill: starting")
    yield editor
    editor.close()


def script(folder: Path, **more: Any) -> None:
    part = folder / "s.part"
    part.write_text(json.dumps({"chunks": ["soon"], "delay_s": 0, **more}))
    part.replace(folder / "s.json")


@pytest.mark.parametrize(("keys", "awaited"), [("ix = ", ""), ("ix = <M-Bslash>", "…")])
def test_what_was_typed_while_the_engine_loads(loading: Neovim, keys: str, awaited: str) -> None:
    loading.keys(keys)
    loading.wait_lines("x = ")
    loading.wire.wait(METHOD, 1)
    loading.wait_ghost(awaited)
    script(loading.folder)
    loading.wait_ghost("soon")  # and no key was pressed
    loading.keys("<Tab>")
    loading.wait_lines("x = soon")


def test_a_cursor_that_moved_on_gets_none(loading: Neovim) -> None:
    loading.keys("ix = <M-Bslash>")
    loading.wait_ghost("…")
    loading.keys("<Esc>")
    loading.wait_ghost("")
    script(loading.folder)
    loading.ready()
    assert [frame for frame in loading.frames() if frame not in ("", "…")] == []
