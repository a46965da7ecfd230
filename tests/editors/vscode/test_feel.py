"""The seconds around a suggestion: a dismissed one stays away, the server hears where the cursor rests, and a request
waits for a loading engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.editors.vscode.made import ASK, FILE, asked, told

from .workbench import Workbench, machine_setting, until


def dismissed(bench: Workbench) -> list[dict[str, Any]]:
    """Return what the server was told about dismissals below the head, without the document."""
    params = [each for each in told(bench, "midfill/dismissed") if each["position"]["line"]]
    assert all(each["textDocument"]["version"] > 0 for each in params)
    return [{name: each[name] for name in ("position", "text")} for each in params]


@pytest.mark.parametrize(
    ("typed", "said", "along", "other"),
    [
        ("nine = ", "uno due\n", "uno", "x"),
        ("nine = f", "(1, 2)\n", "(1", "3"),  # VS Code closes the bracket
        ("nine = ", "uno due\n", "", "x"),
    ],
)
def test_escape_lasts(bench: Workbench, typed: str, said: str, along: str, other: str) -> None:
    bench.script(said)
    bench.type(typed)
    bench.wait_ghost(said.strip())
    bench.press("Escape")
    bench.wait_ghost("")
    bench.record()
    for key in along:
        bench.type(key)
        bench.page.wait_for_timeout(400)  # VS Code asks 50 ms after a key
    assert bench.stop_recording() == [""]
    place = {"line": 1, "character": len(typed)}
    assert dismissed(bench)[-1] == {"position": place, "text": said.strip()}
    bench.type(other)  # the line changes otherwise
    bench.wait_ghost(lambda ghost: ghost)


def test_escape_lasts_until_one_asks(bench: Workbench) -> None:
    bench.script("uno due\n")
    bench.type("ten = ")
    bench.wait_ghost("uno due")
    bench.press("Escape")
    bench.wait_ghost("")
    bench.press("Alt+\\")
    bench.wait_ghost("uno due")
    bench.press("Escape")
    bench.wait_ghost("")
    bench.press("Enter")  # another line
    bench.wait_ghost("uno due")
    bench.press("Escape", "Backspace")
    bench.page.wait_for_timeout(400)
    assert bench.ghost() == ""
    bench.press("Backspace", "Backspace")
    bench.wait_ghost("uno due")
    bench.press("Tab")
    bench.saved(FILE, "ten uno due")


def test_escape_while_it_grows(bench: Workbench) -> None:
    bench.script("uno", " due", " tre", "\n", delay_s=0.5)
    bench.type("grow = ")
    bench.wait_ghost(lambda ghost: ghost.startswith("uno"))
    bench.press("Escape")
    bench.wait_ghost("")
    bench.record()
    bench.type("un", 200)
    bench.page.wait_for_timeout(1500)
    assert bench.stop_recording() == [""]


def test_a_resting_cursor_is_told(bench: Workbench) -> None:
    bench.script("\n")
    bench.write("first\nsecond")
    until(lambda: told(bench, "textDocument/didFocus"), bool, bench)
    n = len(told(bench, "textDocument/didFocus"))
    bench.type("abcd", 20)  # no rest in between
    bench.press("ArrowUp", "Home")
    focus = until(lambda: told(bench, "textDocument/didFocus")[n:], bool, bench)
    assert [params["position"] for params in focus] == [{"line": 1, "character": 0}]
    assert focus[0]["textDocument"]["uri"].endswith("/a.py")
    bench.press("Control+End")


def test_the_active_document_is_told(bench: Workbench) -> None:
    bench.command("File: New Untitled Text File")
    uri = until(
        lambda: told(bench, "textDocument/didFocus")[-1:],
        lambda last: last and last[0]["textDocument"]["uri"].startswith("untitled:"),
        bench,
    )
    assert uri[0]["position"] == {"line": 0, "character": 0}
    bench.page.locator(".explorer-folders-view .monaco-list-row", has_text=FILE).dblclick()
    until(lambda: told(bench, "textDocument/didFocus")[-1]["textDocument"]["uri"].endswith("/a.py"), bool, bench)
    bench.focus()


@pytest.fixture
def loading(bench: Workbench) -> Iterator[Workbench]:
    """A window whose engine loads until the script says that it is ready."""
    bench.script("soon\n", loading=True)
    bench.command("midfill: Restart Language Server")
    bench.wait_status("codicon-loading", "%")
    bench.focus()
    yield bench
    bench.script("\n")
    bench.wait_status("codicon-check")


def test_what_was_typed_while_the_engine_loads(loading: Workbench) -> None:
    loading.type("typed = ")
    until(lambda: loading.news(ASK), bool, loading)
    loading.page.wait_for_timeout(400)
    assert loading.seen() == ""
    loading.script("soon\n")
    loading.wait_ghost("soon")  # and no key was pressed
    loading.press("Tab")
    loading.saved(FILE, "typed = soon")


def test_a_cursor_that_moved_on_gets_none(loading: Workbench) -> None:
    loading.type("moved = ")
    until(lambda: asked(loading, 8), bool, loading)
    loading.press("ArrowUp", "Home")
    loading.record()
    loading.script("soon\n")
    loading.wait_status("codicon-check")
    loading.page.wait_for_timeout(400)
    assert loading.stop_recording() == [""]
    loading.press("Control+End")


def test_asked_by_hand_while_the_engine_loads_its_place_is_shown(loading: Workbench) -> None:
    loading.type("asked = ")
    loading.press("Alt+\\")
    loading.wait_seen("…")
    loading.shot("awaited")
    loading.script("soon\n")
    loading.wait_seen("soon")
    assert loading.ghost() == "soon"
    loading.press("Tab")
    loading.saved(FILE, "asked = soon")


def test_a_key_takes_the_place_away(loading: Workbench) -> None:
    loading.type("asked = ")
    loading.press("Alt+\\")
    loading.wait_seen("…")
    loading.press("ArrowUp")
    loading.wait_seen("")


def test_what_was_typed_while_the_server_starts(bench: Workbench) -> None:
    """Before there is anything to ask."""
    bench.script("soon\n", loading=True)
    bench.command("midfill: Restart Language Server")
    bench.focus()
    bench.type("server = ")
    bench.script("soon\n")
    bench.wait_ghost("soon")


@pytest.mark.parametrize(("typed", "opens"), [("na", True), ("zq", False)])
def test_a_late_one_comes_though_vscode_waits_no_more(bench: Workbench, typed: str, opens: bool) -> None:
    """VS Code waits 750 ms for ghost text, then looks for entries of the suggest widget, and asks no provider again."""
    bench.script("\n")
    focused = bench.page.locator(".suggest-widget.visible .monaco-list-row.focused")
    with machine_setting(bench, "editor.quickSuggestions", {"other": "offWhenInlineCompletions"}):
        for number in range(20):  # until the window has read it
            bench.write(f"names = {number}\nn")
            bench.type("a")
            with contextlib.suppress(Exception):
                focused.wait_for(timeout=2000)
                break
        bench.write("names = []\n")
        bench.script(".late", "()", "\n", delay_s=1.5)
        bench.type(typed)
        if opens:
            focused.wait_for()
        bench.wait_seen(".late()")
        assert focused.count() == opens
        bench.press("Escape", "Escape")
