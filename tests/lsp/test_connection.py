"""While the engine starts, or after it was killed, an automatic request waits for it. Scripted engines, in this
process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from midfill import news
from midfill.types import EngineStatus

from . import fakes
from .client import at
from .inside import Inside

INLINE, STREAMING = "textDocument/inlineCompletion", "midfill/inlineCompletion"
AUTOMATIC = {"triggerKind": 2}
STARTING, READY = EngineStatus("starting", stage="loading", progress=0.5), EngineStatus("ready", model="script")
CRASHED = EngineStatus("error", "the engine crashed", "midfill starts it again")
ABANDONED = EngineStatus("off", "the engine failed 8 times")


class Window(Inside):
    """An editor's window whose engine comes and goes as the test says."""

    def __init__(self) -> None:
        super().__init__(script={"chunks": ["a"], "ready_s": -0.001})
        self.initialize()
        self.wait(lambda message: message.get("method") == "midfill/status" and message["params"]["stage"] != "")
        link = self.server.session.engine.link
        assert isinstance(link, fakes.FakeLink)
        link._task.cancel()  # from here on the test tells what becomes of it

    def ask(self, method: str, uri: str) -> int:
        """Send a request; return its id."""
        self._n_ids += 1
        msg_id, params = self._n_ids, at(uri, 0, 1, context=AUTOMATIC)
        self._run(self._handle({"id": msg_id, "method": method, "params": params}))
        self.result("midfill/status")  # what is answered at once is answered by now
        return msg_id

    def answers(self, msg_id: int) -> list[Any]:
        """Return the results that came for a request."""
        return [m["result"] for m in self.log if "method" not in m and m["id"] == msg_id and "result" in m]

    def answer_of(self, msg_id: int) -> Any:
        """Wait for the result of a request and return it."""
        return self.wait(lambda m: "method" not in m and m["id"] == msg_id)["result"]

    def engine(self, status: EngineStatus) -> None:
        """Let the engine come or go, with this ``status``."""
        link = self.server.session.engine.link
        assert isinstance(link, fakes.FakeLink)
        link.completer = fakes.FakeCompleter(self.script) if status.state == "ready" else None

        async def told() -> None:
            link.on_status(status)

        self._run(told())


@pytest.fixture
def window() -> Iterator[Window]:
    window = Window()
    yield window
    window.close()


@pytest.mark.parametrize("method", [INLINE, STREAMING])
@pytest.mark.parametrize(
    "before",
    [
        [],
        [STARTING, STARTING],
        [READY, STARTING],  # it was there and was killed
        [READY, CRASHED, STARTING],  # more than once
        [READY, CRASHED],
    ],
)
def test_what_was_typed_gets_its_suggestion_when_the_engine_is_ready(
    window: Window, before: list[EngineStatus], method: str
) -> None:
    uri = window.open("x")
    for status in before:
        window.engine(status)
    asked = window.ask(method, uri)
    window.engine(STARTING)
    assert window.answers(asked) == []
    assert window.result("midfill/explain", {})["trace"]["refused"] == "no_engine"
    window.engine(READY)
    (item,) = window.answer_of(asked)["items"]
    assert item["insertText"] == "a"
    assert window.result("midfill/explain", {})["trace"]["refused"] == ""


def test_the_next_request_takes_its_place(window: Window) -> None:
    uri = window.open("x")
    first, second = window.ask(INLINE, uri), window.ask(INLINE, uri)
    assert (window.answers(first), window.answers(second)) == ([None], [])
    window.engine(READY)
    assert window.answer_of(second)["items"]


@pytest.mark.parametrize("how", ["edit", "close", "cancel"])
def test_what_ends_a_request_ends_the_waiting(window: Window, how: str) -> None:
    uri = window.open("x")
    asked = window.ask(INLINE, uri)
    item = {"uri": uri, "version": 2}
    if how == "edit":
        window.notify("textDocument/didChange", {"textDocument": item, "contentChanges": [{"text": "xy"}]})
    elif how == "close":
        window.notify("textDocument/didClose", {"textDocument": item})
    else:
        window.notify("$/cancelRequest", {"id": asked})
    answer = window.wait(lambda m: "method" not in m and m["id"] == asked)
    assert answer.get("result", "error") == ("error" if how == "cancel" else None)
    window.engine(READY)
    link = window.server.session.engine.link
    assert isinstance(link, fakes.FakeLink)
    assert link.completer is not None
    assert link.completer.snapshots == []


def test_an_engine_that_was_given_up_is_not_waited_for(window: Window) -> None:
    uri = window.open("x")
    asked = window.ask(INLINE, uri)
    window.engine(ABANDONED)
    assert window.answer_of(asked) is None
    assert window.answer_of(window.ask(INLINE, uri)) is None


def test_switched_off_while_it_waits(window: Window) -> None:
    uri = window.open("x")
    asked = window.ask(INLINE, uri)
    window.notify("workspace/didChangeConfiguration", {"settings": {"midfill": {"enabled": False}}})
    assert window.answer_of(asked) is None


def test_what_waits_to_be_said_is_said_by_the_first_window() -> None:
    news.leave("mine is better")
    for is_first in (True, False):
        window = Inside(script={"chunks": ["a"], "ready_s": 0})
        window.initialize()
        if is_first:
            said = window.wait(lambda message: message.get("method") == "window/showMessage")
            assert said["params"] == {"type": 3, "message": "midfill: mine is better"}
        window.ready()
        window.result("midfill/status")
        assert sum(message.get("method") == "window/showMessage" for message in window.log) == is_first
        window.close()
