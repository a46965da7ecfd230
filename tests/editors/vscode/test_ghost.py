"""Ghost text with a scripted engine, as it appears frame by frame, on the wire, and in the file."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.editors.vscode.made import ASK, FILE, asked, told

from .workbench import Workbench, machine_setting, until

ADD = ("a, b", "):", "\n    total = a + b", "\n    return total", "\n")
ADDED = "a, b:\n    total = a + b\n    return total"  # as it is seen: the bracket between stands there


def answer(bench: Workbench, request: dict[str, Any]) -> dict[str, Any]:
    """Wait for the answer to a request and return it. Another session uses the same ids."""

    def answers() -> list[dict[str, Any]]:
        later = [m for m in bench.wire() if m["n"] > request["n"] and m["direction"] == "out" and "method" not in m]
        return [m for m in later if m.get("id") == request["id"]]

    found = until(answers, bool, bench)
    assert len(found) == 1
    return found[0]


def test_tab_takes_it_and_undo_gives_it_back(bench: Workbench) -> None:
    bench.script("1 + ", "2\n")
    bench.type("first = ")
    bench.wait_ghost("1 + 2")
    bench.press("Tab")
    bench.saved(FILE, "first = 1 + 2")
    bench.press("Control+z")
    bench.saved(FILE, "first = ")
    bench.press("Control+Shift+z")
    bench.saved(FILE, "first = 1 + 2")


def test_it_grows_without_a_blank_frame_and_asks_once(bench: Workbench) -> None:
    bench.script(*ADD, delay_s=0.4)
    bench.record()
    bench.type("def add(", 60)
    bench.wait_ghost(lambda ghost: ghost.startswith("a, b"))
    bench.shot("growing")
    bench.wait_ghost(ADDED)
    frames = until(bench.frames, lambda frames: frames[-1] == ADDED, bench)
    bench.stop_recording()
    bench.shot("grown")
    seen = list(itertools.dropwhile(lambda frame: not frame.startswith("a"), frames))
    assert len(seen) >= 3, frames
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen)), seen
    assert len(asked(bench, 8)) == 1  # what makes it grow stays in the editor
    assert len(bench.news("$/progress", "out")) >= 3
    bench.press("Tab")
    bench.saved(FILE, "def add(a, b):\n    total = a + b\n    return total")


def test_typing_along_what_grows_keeps_it(bench: Workbench) -> None:
    bench.script("al", "pha", " + be", "ta", " + gam", "ma\n", delay_s=0.4)
    bench.type("along = ")
    bench.wait_ghost(lambda ghost: ghost.startswith("alpha"))
    bench.record()
    bench.type("alp", 40)
    bench.wait_ghost("ha + beta + gamma")
    frames = bench.stop_recording()
    assert all(frames), frames  # from the first to the last there is something
    bench.press("Tab")
    bench.saved(FILE, "along = alpha + beta + gamma")


def test_typing_along_brackets_keeps_it(bench: Workbench) -> None:
    """VS Code closes the bracket, and lets the user type over its closer: the suggestion stays all the same."""
    bench.script("add(", "1", ", [2])", " + mo", "re", " + and", " more\n", delay_s=0.4)
    bench.type("sums = ")
    bench.wait_ghost(lambda ghost: "[2]" in ghost)
    bench.type("add(1, [2])", 40)
    bench.wait_ghost(" + more + and more")
    (first, *_) = asked(bench, 7)
    last = bench.news(ASK)[-1]
    assert (
        answer(bench, last)["result"]["items"][0]["command"] == shown_first(bench, first)["command"]
    )  # one suggestion
    bench.press("Tab")
    bench.saved(FILE, "sums = add(1, [2]) + more + and more")


def shown_first(bench: Workbench, request: dict[str, Any]) -> dict[str, Any]:
    """Return the first item of the answer to a request."""
    token = request["params"]["partialResultToken"]
    values = [m["params"]["value"] for m in bench.news("$/progress", "out") if m["params"]["token"] == token]
    item: dict[str, Any] = values[0]["items"][0]
    return item


def test_the_next_key_cancels_on_the_wire(bench: Workbench) -> None:
    bench.script("slow", " answer\n", delay_s=2.0)
    bench.type("cancelled = ")
    (request,) = until(lambda: asked(bench, 12), bool, bench)
    bench.script("z\n")
    bench.type("q")
    until(lambda: [m for m in bench.news("$/cancelRequest") if m["params"]["id"] == request["id"]], bool, bench)
    assert answer(bench, request).get("error", {}).get("code", -32800) == -32800


def test_a_key_ends_what_grows(bench: Workbench) -> None:
    bench.script("one", " two", " three", " four", " five\n", delay_s=0.5)
    bench.type("ended = ")
    bench.wait_ghost(lambda ghost: ghost.startswith("one"))
    (request,) = asked(bench, 8)
    bench.script("9\n")
    bench.type("4")
    bench.wait_ghost("9")
    assert [m for m in bench.news("$/cancelRequest") if m["params"]["id"] == request["id"]]
    bench.press("Tab")
    bench.saved(FILE, "ended = 49")


@pytest.mark.parametrize("key", ["Escape", "Home"])
def test_what_was_dismissed_does_not_come_back(bench: Workbench, key: str) -> None:
    bench.script("uno", " due", " tre", " quattro", " cinque\n", delay_s=0.4)
    bench.type(f"{key.lower()} = ")
    bench.wait_ghost(lambda ghost: ghost.startswith("uno"))
    (request,) = asked(bench, len(key) + 3)
    bench.press(key)
    bench.wait_ghost("")
    bench.record()
    answer(bench, request)
    assert bench.stop_recording() == [""]
    bench.saved(FILE, f"{key.lower()} = ")


@pytest.mark.parametrize(
    ("typed", "said", "seen", "file"),
    [
        ("print(", ["total", ")", "\n"], "total", "print(total)"),
        ("print(", ["total", ") # all\n"], "total # all", "print(total) # all"),
        ("items = [", ["1, ", "2]\n"], "1, 2", "items = [1, 2]"),
        ('name = "', ['midfill"\n'], "midfill", 'name = "midfill"'),
        ("print(len(", ["name))", "\n"], "name", "print(len(name))"),
        ("print(len(", ["name), end"], "name, end", "print(len(name), end)"),
        ("print(", ["never closed"], "never closed", "print(never closed)"),
    ],
)
def test_closers_of_the_editor_are_replaced(
    bench: Workbench, typed: str, said: list[str], seen: str, file: str
) -> None:
    bench.script(*said)
    bench.type(typed)
    bench.wait_ghost(seen)
    bench.press("Tab")
    bench.saved(FILE, file)


def test_word_by_word(bench: Workbench) -> None:
    bench.script(*ADD)
    bench.type("def add(")
    for seen, file in ((ADDED, "a"), (ADDED[1:], "a, "), (ADDED[3:], "a, b")):
        bench.wait_ghost(seen)
        bench.press("Control+ArrowRight")
        bench.saved(FILE, f"def add({file})")
    bench.wait_ghost(ADDED[4:])
    bench.press("Tab")
    bench.saved(FILE, "def add(a, b):\n    total = a + b\n    return total")


def test_line_by_line(bench: Workbench) -> None:
    bench.script(*ADD)
    bench.type("def add(")
    bench.wait_ghost(ADDED)
    bench.press("Control+Alt+ArrowRight")
    bench.saved(FILE, "def add(a, b):\n    ")
    bench.wait_ghost("total = a + b\n    return total")
    bench.press("Control+Alt+ArrowRight")
    bench.saved(FILE, "def add(a, b):\n    total = a + b\n    ")
    bench.wait_ghost("return total")
    bench.press("Control+Alt+ArrowRight")
    bench.saved(FILE, "def add(a, b):\n    total = a + b\n    return total")
    parts = [params["acceptedLength"] for params in told(bench, "textDocument/didPartiallyAcceptCompletion")]
    assert parts == [len("a, b):\n    "), len("a, b):\n    total = a + b\n    ")]


def test_next_and_previous(bench: Workbench) -> None:
    bench.script("one\n", others=[["two\n"], ["three\n"]])
    bench.type("number = ")
    bench.wait_ghost("one")
    for key, text in (("]", "two"), ("]", "three"), ("]", "one"), ("[", "three")):
        bench.press(f"Alt+{key}")
        bench.wait_ghost(text)
    bench.press("Tab")
    bench.saved(FILE, "number = three")
    accepted = until(lambda: bench.wire("workspace/executeCommand"), bool, bench)[-1]["params"]
    assert accepted["command"] == "midfill.accepted"
    assert accepted["arguments"][1] == 2


def chosen(bench: Workbench) -> str:
    """Return the entry that is selected in the suggest widget."""
    return str(bench.page.inner_text(".suggest-widget.visible .monaco-list-row.focused .label-name"))


@pytest.fixture
def with_widget(bench: Workbench) -> Iterator[Workbench]:
    """A window whose suggest widget opens while a word is typed."""
    bench.script("\n")
    focused = bench.page.locator(".suggest-widget.visible .monaco-list-row.focused")
    with machine_setting(bench, "editor.quickSuggestions", {"other": "on"}):
        for _ in range(20):  # until the window has read it
            bench.write("names = []\nn")
            bench.type("a")
            with contextlib.suppress(Exception):
                focused.wait_for(timeout=1000)
                break
        bench.write("names = []\n")
        yield bench
        bench.press("Escape", "Escape")


def test_with_the_suggest_widget_open(with_widget: Workbench) -> None:
    """As without it, while a word is typed: at every pause. Not `names`, and not glued to it."""
    bench = with_widget
    for number, said in enumerate((".strip()", "s.pop()", " = 1", "space")):
        head = f"# {number}\nnames = []\n"  # the server knows old answers
        bench.script(said, "\n")
        bench.write(head)
        for typed in ("n", "a", "me"):
            bench.type(typed)
            bench.page.wait_for_selector(".suggest-widget.visible .monaco-list-row.focused")
            assert chosen(bench) == "names"
            bench.wait_seen(said)
        bench.shot("suggest")
        bench.press("Escape")  # the widget's
        bench.wait_ghost(said)
        bench.wait_seen(said)  # once, not twice
        bench.press("Tab")
        bench.saved(FILE, f"{head}name{said}")
        assert all("selectedCompletionInfo" not in m["params"]["context"] for m in bench.news(ASK))


def test_with_the_suggest_widget_open_it_grows(with_widget: Workbench) -> None:
    """Even if it comes so late that VS Code has stopped waiting for it."""
    bench = with_widget
    bench.script(".st", "rip", "()", "\n", delay_s=0.9)
    bench.record()
    bench.type("name")
    bench.wait_seen(".st")
    bench.wait_seen(".strip()")
    assert bench.ghost() == ""
    bench.press("Escape")
    bench.wait_ghost(".strip()")
    assert bench.stop_recording() == ["", ".strip()"]


def test_a_dismissal_is_of_the_place_where_escape_was_pressed(bench: Workbench) -> None:
    """Not of the place that the next keys had reached when a busy machine came to it."""
    bench.script("one two", "\n")
    bench.type("long_name = ")
    bench.wait_ghost("one two")
    (host,) = extension_hosts(bench)
    os.kill(host, signal.SIGSTOP)
    bench.press("Escape", "Shift+Home", "Delete")
    bench.type("q")
    os.kill(host, signal.SIGCONT)
    bench.wait_ghost("one two")
    *_, dismissed = told(bench, "midfill/dismissed")
    assert dismissed["position"]["character"] == len("long_name = ")


def extension_hosts(bench: Workbench) -> list[int]:
    """Return the processes that run extensions in this window: children of its server."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            words = (process / "cmdline").read_bytes().decode().split("\0")
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            above = Path("/proc", parent, "cmdline").read_bytes().decode().split("\0")
            if "--type=extensionHost" in words and str(bench.folder / "data") in above:
                found.append(int(process.name))
    return found


def test_the_suggest_widgets_entry_is_taken(bench: Workbench) -> None:
    """While the widget is open, Tab belongs to it, whichever entry is selected; then Tab is midfill's."""
    bench.script("habet(1)", "\n")
    bench.write("alphabet = alphanumeric = 0\n")
    bench.type("alp")
    bench.press("Control+Space")
    bench.page.wait_for_selector(".suggest-widget.visible .monaco-list-row.focused")
    bench.wait_seen("habet(1)")
    first = chosen(bench)
    bench.press("ArrowDown")
    other = until(lambda: chosen(bench), lambda text: text != first, bench)
    bench.wait_seen("habet(1)")
    bench.script("(2)", "\n")
    bench.press("Tab")
    bench.wait_seen("(2)")
    bench.press("Tab")
    bench.saved(FILE, f"alphabet = alphanumeric = 0\n{other}(2)")


def test_the_server_is_told_what_became_of_it(bench: Workbench) -> None:
    bench.script("alpha ", "beta ", "gamma\n")
    bench.type("told = ")
    bench.wait_ghost("alpha beta gamma")
    *_, shown = until(lambda: told(bench, "textDocument/didShowCompletion"), bool, bench)
    bench.press("Control+ArrowRight")
    (part,) = until(lambda: told(bench, "textDocument/didPartiallyAcceptCompletion"), bool, bench)
    assert part["item"]["command"] == shown["item"]["command"]
    assert part["acceptedLength"] == len("alpha")
    bench.wait_ghost(" beta gamma")
    bench.press("Tab")
    (accepted,) = until(lambda: told(bench, "workspace/executeCommand"), bool, bench)
    assert accepted["arguments"] == [*shown["item"]["command"]["arguments"][:1], 0]


def test_only_by_hand_where_it_is_refused(bench: Workbench) -> None:
    bench.script("wordy\n")
    bench.write("inside = abc")
    bench.press("ArrowLeft", "ArrowLeft")
    bench.type("x")
    (request,) = until(lambda: asked(bench, 11), bool, bench)
    assert answer(bench, request)["result"] == {"items": []}
    assert bench.ghost() == ""
    bench.press("Alt+\\")
    bench.wait_ghost("wordy")
    assert asked(bench, 11)[-1]["params"]["context"]["triggerKind"] == 1
