"""A server process and a thread that counts its messages: cheap enough for a million messages."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).parents[2]
COMMAND = (sys.executable, "-P", "-m", "midfill", "lsp", "--stdio")
PATIENCE_S = 60.0  # a machine that is busy with other work

Id = tuple[str, Any]  # the id's type and value: 5 and "5" are two ids
OnMessage = Callable[[dict[str, Any]], None]


def key(msg_id: Any) -> Id:
    """Return an id as a key that keeps its type."""
    return type(msg_id).__name__, msg_id


def frame(message: Any) -> bytes:
    """Return a message, or an unchanged body, with its header."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


def folders(home: Path, **settings: Any) -> dict[str, str]:
    """Return the environment of a server whose folders and configuration are below ``home``."""
    env = {f"MIDFILL_{name}_DIR": str(home / name) for name in ("CONFIG", "CACHE", "DATA", "STATE", "RUNTIME")}
    (home / "CONFIG").mkdir(parents=True, exist_ok=True)
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
    (home / "CONFIG" / "config.toml").write_text("".join(lines), encoding="utf-8")
    return {**env, "PYTHONPATH": str(REPOSITORY / "server")}


@dataclass(frozen=True, slots=True)
class Footprint:
    """The resources of a process."""

    resident_kb: int
    n_descriptors: int
    n_threads: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """Return those of a process of this machine (Linux). Raises OSError if it is gone."""
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        values = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)
                  if name in ("VmRSS", "Threads")}  # fmt: skip
        return cls(values["VmRSS"], len(os.listdir(f"/proc/{pid}/fd")), values["Threads"])  # noqa: PTH208

    def __str__(self) -> str:
        return f"{self.resident_kb / 1024:.0f} MiB, {self.n_descriptors} descriptors, {self.n_threads} threads"


class Wire:
    """Sends bytes, counts answers by id; ``on_message`` receives everything, in the reading thread."""

    def __init__(
        self, env: Mapping[str, str], cwd: Path, on_message: OnMessage | None = None, command: tuple[str, ...] = COMMAND
    ) -> None:
        self.errors = (cwd / "stderr.txt").open("ab")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, env={**os.environ, **env},
            cwd=cwd, bufsize=0, start_new_session=True,
        )  # fmt: skip
        self.answers: Counter[Id] = Counter()
        self.garbage = b""
        self.ended = False
        self._on_message = on_message or (lambda _message: None)
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            self._read_frames(self.process.stdout)
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def _read_frames(self, stream: IO[bytes]) -> None:
        buffer = b""
        while data := stream.read(1 << 16):
            buffer += data
            at = 0
            while (end := buffer.find(b"\r\n\r\n", at)) >= 0:
                header = buffer[at:end]
                if not header.startswith(b"Content-Length: "):
                    self.garbage += header
                    at = end + 4
                    continue
                stop = end + 4 + int(header[16:].split(b"\r\n")[0])
                if len(buffer) < stop:
                    break
                self._take(json.loads(buffer[end + 4 : stop]))
                at = stop
            buffer = buffer[at:]
        self.garbage += buffer

    def _take(self, message: dict[str, Any]) -> None:
        self._on_message(message)
        if "method" not in message:
            with self._changed:
                self.answers[key(message.get("id"))] += 1
                self._changed.notify_all()

    def send(self, data: bytes) -> None:
        """Write exactly these bytes. Raises OSError if the server is gone."""
        assert self.process.stdin is not None
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) or 0 :]

    def request(self, msg_id: Any, method: str, params: Any = None) -> None:
        """Send a request."""
        self.send(frame({"jsonrpc": "2.0", "id": msg_id, "method": method, "params": params}))

    def notify(self, method: str, params: Any = None) -> None:
        """Send a notification."""
        self.send(frame({"jsonrpc": "2.0", "method": method, "params": params}))

    def wait(self, what: Callable[[], bool], timeout_s: float = PATIENCE_S) -> bool:
        """Wait until ``what`` holds, checked again at each answer; return False if it takes longer or the server
        left."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not what():
                left = deadline - time.monotonic()
                if left <= 0 or self.ended:
                    return what()
                self._changed.wait(min(left, 1.0))
        return True

    def close(self) -> None:
        """Kill it and clean up."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE_S)
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            if stream is not None:
                stream.close()
