"""Windows on a scripted engine that is a process of its own, and small disks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.wire import REPOSITORY, Wire, folders, key
from tests.soak.run import engines

SITE = os.pathsep.join(map(str, (REPOSITORY / "tests/soak/site", REPOSITORY, REPOSITORY / "server")))
Open = Callable[..., "FaultyWindow"]


class FaultyWindow:
    """A language server with one document, on an engine of its own (tests/soak/resident.py)."""

    def __init__(self, home: Path, env: dict[str, str]) -> None:
        self.results: dict[str, Any] = {}
        self.states: list[dict[str, Any]] = []
        self.popups: list[Any] = []
        self._n = 0
        self.runtime = Path(env["MIDFILL_RUNTIME_DIR"])
        self.wire = Wire(env, home, self._heard)
        self.call("initialize", {"capabilities": {}, "processId": None})
        self.wire.notify("initialized", {})
        item = {"uri": "file:///a.py", "languageId": "python", "version": 1, "text": "mark_7 = call(\n"}
        self.wire.notify("textDocument/didOpen", {"textDocument": item})

    def _heard(self, message: dict[str, Any]) -> None:
        if message.get("method") == "midfill/status":
            self.states.append(message["params"])
        elif str(message.get("method", "")).startswith("window/"):
            self.popups.append(message)
        elif "method" not in message:
            self.results[message["id"]] = message.get("result", message.get("error"))

    def send(self, method: str, params: Any = None) -> str:
        """Send a request; return its id."""
        self._n += 1
        self.wire.request(f"r{self._n}", method, params)
        return f"r{self._n}"

    def result(self, msg_id: str, timeout_s: float = 90.0) -> Any:
        """Return the result of a request."""
        assert self.wire.wait(lambda: self.wire.answers[key(msg_id)] > 0, timeout_s), "no answer"
        return self.results[msg_id]

    def call(self, method: str, params: Any = None) -> Any:
        """Send a request and return its result."""
        return self.result(self.send(method, params))

    def ask(self) -> str:
        """Request a completion; return the request's id."""
        at = {"textDocument": {"uri": "file:///a.py"}, "position": {"line": 0, "character": 14}}
        return self.send("textDocument/inlineCompletion", {**at, "context": {"triggerKind": 1}})

    def text(self) -> str:
        """Return a suggestion, "" for none."""
        return "".join(item["insertText"] for item in (self.result(self.ask()) or {}).get("items", ()))

    @property
    def engine(self) -> int:
        """Return the engine's process; 0 if there is none."""
        return next(engines(self.runtime), 0)


@pytest.fixture
def runtime() -> Iterator[Path]:
    """Short enough for a socket; its engines are killed at the end."""
    with tempfile.TemporaryDirectory(prefix="mf-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
        for pid in engines(Path(folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def window(tmp_path: Path, runtime: Path) -> Iterator[Open]:
    """Open a window; ``env`` changes its environment."""
    opened: list[FaultyWindow] = []

    def start(settings: dict[str, Any] | None = None, **env: str) -> FaultyWindow:
        chosen = {"model": str(tmp_path / "echo"), "adapter": "none", "candidates": 1, "ahead": False,
                  "first_answer_s": 30, **(settings or {})}  # fmt: skip
        mine = {**folders(tmp_path, **chosen), "PYTHONPATH": SITE, "MIDFILL_RUNTIME_DIR": str(runtime),
                "MIDFILL_DEBUG_METHODS": "1", **env}  # fmt: skip
        opened.append(FaultyWindow(tmp_path, mine))
        return opened[-1]

    yield start
    for one in opened:
        one.wire.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(folder)]
    try:
        made = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        made = False
    if not made:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with (folder / "filler").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"x" * 4096)


def settings_of(folder: Path) -> dict[str, Any]:
    """Return what the engine's record in a folder says."""
    (record,) = folder.glob("engine-*.json")
    found: dict[str, Any] = json.loads(record.read_text())
    return found
