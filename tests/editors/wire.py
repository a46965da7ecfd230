"""The messages between an editor and the server, as wiretap.py logged them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.editors.tools import REPOSITORY

TIMEOUT_S = 60.0  # a busy machine must not count as a failure
SERVER = [sys.executable, "-P", "-m", "midfill", "lsp", "--stdio"]
CANCELLED = (-32800, -32802)  # RequestCancelled, ServerCancelled
Message = dict[str, Any]
T = TypeVar("T")


def until(value: Callable[[], T], wanted: Callable[[T], object] = bool, timeout_s: float = TIMEOUT_S) -> T:
    """Wait for a state and return it. Fails with the last value."""
    deadline = time.monotonic() + timeout_s
    while not wanted(last := value()):
        assert time.monotonic() < deadline, f"it stayed {last!r}"
        time.sleep(0.01)
    return last


class WireLog:
    """The messages of one session."""

    def __init__(self, log: Path, server: list[str] | None = None) -> None:
        self.log = log
        self.command = [sys.executable, str(Path(__file__).with_name("wiretap.py")), str(log), *(server or SERVER)]

    def messages(self, side: str = "client", method: str | None = None) -> list[Message]:
        """Return the messages of one side, in order; of one method."""
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True) if self.log.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [m for m in found if m["side"] == side and method in (None, m.get("method"))]

    def cancelled(self, method: str) -> list[Message]:
        """Return the requests of a method that the client cancelled."""
        ids = {m["params"]["id"] for m in self.messages(method="$/cancelRequest")}
        return [m for m in self.messages(method=method) if m["id"] in ids]

    def answer(self, request: Message) -> Message:
        """Wait for the answer and return it."""
        found = until(
            lambda: [m for m in self.messages("server") if "method" not in m and m.get("id") == request["id"]]
        )
        return found[0]

    def items(self, request: Message) -> list[Message]:
        """Return the items of the answer; [] if the client cancelled the request, as another key does."""
        found = self.answer(request)
        if "error" in found:
            assert found["error"]["code"] in CANCELLED, found
            return []
        items: list[Message] = (found["result"] or {"items": []})["items"]
        return items

    def wait(self, method: str, n: int = 1, side: str = "client") -> list[Message]:
        """Wait for ``n`` messages of a method."""
        return until(lambda: self.messages(side, method), lambda found: len(found) >= n)


def environment(folder: Path, script: dict[str, Any] | None) -> dict[str, str]:
    """Return the server's environment: folders of this test only; with ``script``, an engine that replays it."""
    folders = {f"MIDFILL_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "STATE", "RUNTIME")}
    env = {**folders, "PYTHONPATH": str(REPOSITORY / "server")}
    if script is not None:
        file = folder / "script.json"
        file.write_text(json.dumps(script), encoding="utf-8")
        env["MIDFILL_SCRIPT"] = str(file)
    return env
