"""The whole story, with the embedded model: a file is opened, typed into, completed, saved, and the file is right."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import LETTERS

from .conftest import with_embedded_model
from .workbench import opened, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BEFORE = '''"""Arithmetic."""


def subtract(a, b):
    return a - b


'''
TYPED = "def add(a, b):\n    return "


@pytest.mark.model
def test_from_an_empty_line_to_the_saved_file(
    browser: Browser, vsix: Path, tmp_path: Path, embedded_folder: Path
) -> None:
    env = with_embedded_model(tmp_path, "")
    with opened(browser, tmp_path, {"sums.py": BEFORE}, vsix, {}, env, "sums.py") as bench:
        until(bench.status, lambda status: "loading" in status or "check" in status, bench)
        bench.shot("story-starting")
        bench.wait_status("codicon-check", patience_s=180)
        bench.type("def add(a, b):\n", 60)
        bench.type("return ", 60)
        ghost = bench.wait_ghost(lambda ghost: ghost.strip())
        ghost = bench.settled_ghost()
        bench.shot("story-ghost")
        bench.press("Tab")
        bench.wait_ghost(lambda left: left != ghost)
        text = bench.saved("sums.py", lambda text: text.startswith(BEFORE + TYPED) and text != BEFORE + TYPED)
        bench.shot("story-saved")
    assert text == BEFORE + TYPED + ghost
    assert "return a + b" in text
    made: dict[str, object] = {}
    exec(compile(ast.parse(text), "sums.py", "exec"), made)
    add = made["add"]
    assert callable(add)
    assert add(2, 3) == 5


@pytest.mark.model
def test_by_hand_it_goes_on_up_to_the_text_below(
    browser: Browser, vsix: Path, tmp_path: Path, embedded_folder: Path
) -> None:
    env = with_embedded_model(tmp_path, "")
    with opened(browser, tmp_path, {"letters.py": LETTERS.replace("‸", "")}, vsix, {}, env, "letters.py") as bench:
        bench.wait_status("codicon-check", patience_s=180)
        bench.focus()
        bench.press(*["ArrowUp"] * 5, "End", "Alt+\\")
        bench.wait_ghost(lambda ghost: ghost.startswith("elif"))
        bench.wait_ghost(lambda ghost: 'return "E"' in ghost, patience_s=120)  # a whole page, by a real model
        bench.settled_ghost()
        bench.shot("story-going-on")
        bench.press("Tab")
        text = bench.saved("letters.py", lambda text: 'return "E"' in text)
    made: dict[str, object] = {}
    exec(compile(ast.parse(text), "letters.py", "exec"), made)
    letter = made["letter"]
    assert callable(letter)
    assert [letter(score) for score in (5, 15, 25, 35, 45, 55, 65, 75)] == [*"ABCDEFGZ"]
