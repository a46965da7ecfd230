"""One editor window of a soak: types, sends requests, cancels, and judges every answer."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.wire import Footprint, Wire, key

LINES = 40  # of the buffer, whose middle line changes
AT = LINES // 2
URI = "file:///soak/window.py"
METHODS = ("textDocument/inlineCompletion", "midfill/inlineCompletion", "textDocument/completion")
MOST_OPEN = 8
WAITS = 0.6  # share of the requests that are awaited
NUMBER = re.compile(r"[xyz]_(\d+)")


@dataclass(slots=True)
class Counts:
    """The counts of a window, over all its lives."""

    asked: int = 0
    answered: int = 0
    shown: int = 0
    cancelled: int = 0
    edits: int = 0
    lives: int = 0


class Window:
    """A window with a language server of its own. ``echoes``: the engine's words contain the number of their text."""

    def __init__(self, name: int, env: dict[str, str], home: Path, echoes: bool) -> None:
        self.counts = Counts()
        self.faults: list[str] = []
        self._rng = random.Random(name)
        self._env, self._echoes = env, echoes
        self._home = home / f"window-{name}"
        self._home.mkdir()
        self._lock = threading.Lock()
        self._number = name * 10_000_000  # of the text; no two windows share one
        self.wire: Wire | None = None

    def start(self) -> None:
        """Begin a life."""
        with self._lock:
            self._asked: dict[str, int] = {}  # the number of the text that a request was sent for
            self._tokens: dict[str, int] = {}
            self._seen = -1  # the server has surely read the text with this number
            self._pings: dict[str, int] = {}
            self._version = 1
        self.counts.lives += 1
        self.wire = Wire(self._env, self._home, self._heard)
        self.wire.request("hello", "initialize", {"capabilities": {}, "processId": None})
        self.wire.notify("initialized", {})
        lines = [f"value_{line} = {line}\n" for line in range(LINES)]
        lines[AT] = self._line()
        item = {"uri": URI, "languageId": "python", "version": 1, "text": "".join(lines)}
        self.wire.notify("textDocument/didOpen", {"textDocument": item})

    def kill(self) -> None:
        """Kill it as a crash would; its open requests have no answer."""
        assert self.wire is not None
        self._judge_counts()
        self.wire.close()
        self.counts.asked -= len(self._asked)

    def close(self) -> None:
        """Wait for every answer, then close it as an editor does."""
        assert self.wire is not None
        with self._lock:
            left = list(self._asked)
        wire = self.wire
        if not wire.wait(lambda: all(wire.answers[key(one)] for one in left)):
            self._fault(f"unanswered: {[one for one in left if not wire.answers[key(one)]][:5]}")
        self._judge_counts()
        wire.request("bye", "shutdown")
        wire.wait(lambda: wire.answers[key("bye")] > 0)
        wire.notify("exit")
        wire.process.wait(10)
        wire.close()

    def is_shown_something(self) -> bool:
        """Send one request; return whether this window was ever shown a suggestion."""
        self._ask()
        self._rest()
        return self.counts.shown > 0

    def footprint(self) -> Footprint:
        """Return the footprint of its server."""
        assert self.wire is not None
        return Footprint.of(self.wire.process.pid)

    def act(self) -> None:
        """Do one thing that a user does."""
        if self._rng.random() < 0.45:
            self._edit()
        else:
            self._ask()
            if self._rng.random() < WAITS:
                self._rest()
        if self._rng.random() < 0.1:
            self._cancel()

    def _line(self) -> str:
        return f"mark_{self._number} = call(\n"

    def _edit(self) -> None:
        assert self.wire is not None
        with self._lock:
            self._number += 1
            self._version += 1
            self.counts.edits += 1
            span = {"start": {"line": AT, "character": 0}, "end": {"line": AT + 1, "character": 0}}
            change = {"textDocument": {"uri": URI, "version": self._version},
                      "contentChanges": [{"range": span, "text": self._line()}]}  # fmt: skip
            ping = f"ping-{self.counts.lives}-{self._version}"
            self._pings[ping] = self._number
        self.wire.notify("textDocument/didChange", change)
        self.wire.request(ping, "midfill/status")  # once it is answered, the edit was read

    def _ask(self) -> None:
        wire = self.wire
        assert wire is not None
        wire.wait(lambda: len(self._asked) < MOST_OPEN)
        with self._lock:
            self.counts.asked += 1
            msg_id = f"ask-{self.counts.lives}-{self.counts.asked}"
            self._asked[msg_id] = self._tokens[msg_id] = self._number
            character = len(self._line()) - 1
        params = {
            "textDocument": {"uri": URI}, "position": {"line": AT, "character": character},
            "context": {"triggerKind": self._rng.choice((1, 2))},
        }  # fmt: skip
        method = self._rng.choice(METHODS)
        if method == METHODS[1]:
            params["partialResultToken"] = msg_id
        wire.request(msg_id, method, params)

    def _rest(self) -> None:
        """Wait until everything is answered: the window reads what it is shown."""
        assert self.wire is not None
        if not self.wire.wait(lambda: not self._asked) and not self.wire.ended:
            self._fault(f"unanswered for a minute: {list(self._asked)[:5]}")

    def _cancel(self) -> None:
        assert self.wire is not None
        with self._lock:
            running = list(self._asked)
        if running:
            self.counts.cancelled += 1
            self.wire.notify("$/cancelRequest", {"id": self._rng.choice(running)})

    # -- judging -------------------------------------------------------------------------------------------------------

    def _heard(self, message: dict[str, Any]) -> None:
        """Take a message, in the reading thread, in the order in which the server sent it."""
        with self._lock:
            if message.get("method") == "$/progress":
                self._judge(message["params"]["token"], message["params"]["value"])
            elif str(message.get("method", "")).startswith("window/"):
                self._fault(str(message)[:200])
            elif (msg_id := message.get("id")) in self._pings:
                self._seen = max(self._seen, self._pings.pop(msg_id))
            elif msg_id in self._asked:
                self.counts.answered += 1
                self.counts.shown += self._judge(msg_id, message.get("result"))
                del self._asked[msg_id]
                code = message.get("error", {}).get("code", -32800)
                if code != -32800:
                    self._fault(f"{msg_id}: {code}")

    def _judge(self, msg_id: str, result: Any) -> bool:
        """Return whether it shows something; that is a fault if it is for an older text than the one that the server
        has read."""
        items = (result or {}).get("items") or []
        texts = [item.get("insertText") or item.get("textEdit", {}).get("newText", "") for item in items]
        if not any(texts):
            return False
        number = self._tokens[msg_id]
        if number < self._seen:
            self._fault(f"stale: asked at {number}, text is {self._seen}: {texts}")
        if self._echoes and {int(n) for text in texts for n in NUMBER.findall(text)} != {number}:
            self._fault(f"of another text: asked at {number}: {texts}")
        return True

    def _judge_counts(self) -> None:
        assert self.wire is not None
        doubled = [one for one, n in self.wire.answers.items() if n != 1]
        if doubled:
            self._fault(f"answered more than once: {doubled[:5]}")
        if self.wire.garbage:
            self._fault(f"no frame: {self.wire.garbage[:80]!r}")

    def _fault(self, what: str) -> None:
        if len(self.faults) < 20:
            self.faults.append(what)


Say = Callable[[str], None]
