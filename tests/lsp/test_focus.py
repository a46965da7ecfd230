"""The client says where the cursor rests, and the completer reads that place ahead. The server is in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from midfill.lsp import focus

from . import fakes
from .client import at
from .inside import Inside

A, B = "file:///w/a.py", "file:///w/b.py"
TEXT = "x = 1\ny = \n"
FOCUS = "textDocument/didFocus"


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inside]:
    monkeypatch.setattr(focus, "ELSEWHERE_S", 0.01)
    window = Inside()
    window.initialize()
    yield window
    window.close()


def rested(window: Inside) -> list[tuple[str, int] | None]:
    """Return the places that the completer got, as (name, code points before the cursor)."""
    link = window.server.session.engine.link
    assert isinstance(link, fakes.FakeLink)
    assert link.completer is not None
    told = link.completer.rested
    return [None if one is None else (one.uri.rpartition("/")[2], one.cursor) for one in told]


def edit(window: Inside, uri: str, version: int = 2) -> None:
    change = {"range": {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}, "text": "#"}
    document = {"uri": uri, "version": version}
    window.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})


def focused(window: Inside, uri: str, line: int = 1, character: int = 4) -> None:
    position = {"line": line, "character": character}
    window.notify(FOCUS, {"textDocument": {"uri": uri}, "position": position})


def later(window: Inside) -> None:
    """Wait until the work of a timer is done."""
    window._run(asyncio.sleep(0.1))


def test_the_place_that_the_client_tells(window: Inside) -> None:
    window.ready()
    window.open(TEXT, A)
    focused(window, A)
    focused(window, A, 0, 2)
    assert rested(window)[-2:] == [("a.py", 10), ("a.py", 2)]


def test_without_a_position_it_is_the_last_place_or_the_end(window: Inside) -> None:
    window.ready()
    window.open(TEXT, A)
    window.notify(FOCUS, {"textDocument": {"uri": A}})
    focused(window, A)
    window.open(TEXT, B)
    window.notify(FOCUS, {"textDocument": {"uri": B}})
    window.notify(FOCUS, {"textDocument": {"uri": A}})
    assert rested(window)[1:] == [("a.py", len(TEXT)), ("a.py", 10), ("b.py", len(TEXT)), ("a.py", 10)]


def test_what_is_opened_is_looked_at_until_the_client_tells_better(window: Inside) -> None:
    window.ready()
    window.open(TEXT, A)
    assert rested(window) == [("a.py", len(TEXT))]
    focused(window, A)
    window.open(TEXT, B)  # in the background, as far as is known
    assert rested(window)[-1] == ("a.py", 10)


def test_an_edit_elsewhere_reads_the_place_again(window: Inside) -> None:
    window.ready()
    window.open(TEXT, A)
    window.open(TEXT, B)
    focused(window, A)
    n = len(rested(window))
    edit(window, B)
    later(window)
    assert rested(window)[n:] == [("a.py", 10)]
    edit(window, A)  # the cursor is somewhere else now, and it is not known where
    edit(window, B, 3)
    later(window)
    assert rested(window)[n + 1 :] == []


def test_a_place_that_was_asked_for_is_read_again_after_an_edit_elsewhere(window: Inside) -> None:
    window.ready()
    window.open(TEXT, A)
    window.open(TEXT, B)
    window.result("textDocument/inlineCompletion", at(A, 1, 4))
    n = len(rested(window))
    edit(window, B)
    later(window)
    assert rested(window)[n:] == [("a.py", 10)]


def test_an_engine_that_comes_reads_the_place(window: Inside) -> None:
    window.open(TEXT, A)
    focused(window, A)
    window.ready()
    assert rested(window)[-1] == ("a.py", 10)


def test_a_closed_document_is_left(window: Inside) -> None:
    window.ready()
    window.open(TEXT, A)
    window.notify("textDocument/didClose", {"textDocument": {"uri": A}})
    assert rested(window)[-1] is None


@pytest.mark.parametrize(
    "params",
    [{}, {"textDocument": {}}, {"textDocument": {"uri": 3}}, {"textDocument": {"uri": A}, "position": {"line": -1}},
     {"textDocument": {"uri": "file:///w/unknown.py"}, "position": {"line": 0, "character": 0}}],
)  # fmt: skip
def test_nonsense_harms_nobody(window: Inside, params: dict[str, Any]) -> None:
    window.ready()
    window.open(TEXT, A)
    window.notify(FOCUS, params)
    assert [one for one in rested(window) if one is not None] == [("a.py", len(TEXT))]
    assert window.result("midfill/status")["state"] == "ready"
