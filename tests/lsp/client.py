"""A raw client over stdio: it controls the exact bytes, and keeps every frame that comes back."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from .forked import ForkedServer

TIMEOUT_S = 20.0  # generous: a busy machine must not count as a failure
REPOSITORY = Path(__file__).parents[2]


COMMAND = [sys.executable, "-P", "-m", "midfill", "lsp"]  # as an editor starts it


def frame(message: Any) -> bytes:
    """Return a message with its header."""
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class Client:
    """One server process and its output. It is forked; given ``args`` or options of ``Popen``, an editor's start."""

    def __init__(
        self, env: Mapping[str, str], cwd: Path, args: list[str] | None = None, *, with_fakes: bool = False,
        **popen: Any,
    ) -> None:  # fmt: skip
        """``with_fakes``: the link of fakes.py, which can do what no engine would."""
        self.started_at = time.monotonic()
        env = {**os.environ, **env}
        self.process: ForkedServer | subprocess.Popen[bytes]
        if args is None and not popen:
            self.process = ForkedServer(env, cwd, with_fakes=with_fakes)
        else:
            self.process = subprocess.Popen(
                args or [*COMMAND, "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=env,
                cwd=cwd, **{"stderr": subprocess.DEVNULL, **popen},
            )  # fmt: skip
        self.log: list[dict[str, Any]] = []  # everything received
        self.garbage = b""  # bytes that are not a frame
        self._unread: list[dict[str, Any]] = []
        self._inbox: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._n_ids = 0
        self.reading = threading.Event()
        self.reading.set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):  # a test closed it
            self._read_frames(self.process.stdout)
        self._inbox.put(None)

    def _read_frames(self, stream: IO[bytes]) -> None:
        buffer = b""
        while self.reading.wait() and (data := stream.read(1 << 16)):
            buffer += data
            while b"\r\n\r\n" in buffer:
                header, _, rest = buffer.partition(b"\r\n\r\n")
                if not header.startswith(b"Content-Length: "):
                    self.garbage += header
                    buffer = rest
                    continue
                length = int(header.split(b"\r\n")[0].split(b":")[1])
                if len(rest) < length:
                    break
                message = json.loads(rest[:length])
                buffer = rest[length:]
                self.log.append(message)
                self._inbox.put(message)
        self.garbage += buffer

    def send_bytes(self, data: bytes) -> None:
        """Write exactly these bytes."""
        assert self.process.stdin is not None
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) or 0 :]

    def notify(self, method: str, params: Any = None) -> None:
        """Send a notification."""
        self.send_bytes(frame({"jsonrpc": "2.0", "method": method, "params": params}))

    def request(self, method: str, params: Any = None, **extra: Any) -> Any:
        """Send a request and return its id."""
        self._n_ids += 1
        msg_id = extra.pop("id", self._n_ids)
        self.send_bytes(frame({"jsonrpc": "2.0", "id": msg_id, "method": method, "params": params, **extra}))
        return msg_id

    def wait(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Return the next message that is wanted; the others stay for later."""
        for message in self._unread:
            if wanted(message):
                self._unread.remove(message)
                return message
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                message_or_end = self._inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"nothing came; last: {self.log[-3:]}") from None
            if message_or_end is None:
                self._inbox.put(None)
                raise AssertionError("the server left")
            if wanted(message_or_end):
                return message_or_end
            self._unread.append(message_or_end)

    def response(self, msg_id: Any, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        """Return the answer to a request."""
        return self.wait(lambda m: "method" not in m and m.get("id") == msg_id, timeout_s)

    def call(self, method: str, params: Any = None) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        return self.response(self.request(method, params))

    def result(self, method: str, params: Any = None) -> Any:
        """Return the result of a request that succeeds."""
        answer = self.call(method, params)
        assert "result" in answer, answer
        return answer["result"]

    def initialize(self, **params: Any) -> dict[str, Any]:
        """Do the handshake; return the server's answer."""
        answer = self.call("initialize", {"processId": None, "rootUri": None, "capabilities": {}, **params})
        self.notify("initialized", {})
        return answer

    def ready(self) -> None:
        """Wait for the engine."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.result("midfill/status")["state"] not in ("ready", "generating"):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def open(self, text: str, uri: str = "file:///w/a.py", language: str = "python", version: int = 1) -> str:
        """Send didOpen; return the URI."""
        item = {"uri": uri, "languageId": language, "version": version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})
        return uri

    def answers(self, msg_id: Any) -> list[dict[str, Any]]:
        """Return all answers to a request so far."""
        return [m for m in self.log if "method" not in m and m.get("id") == msg_id]

    def ping(self) -> float:
        """Return the seconds that a trivial request takes."""
        start = time.monotonic()
        self.call("midfill/status")
        return time.monotonic() - start

    def close_stdin(self) -> None:
        """Send the end of the input."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    def exit_code(self, timeout_s: float = 5.0) -> int:
        """Wait for the server's end; return its exit code."""
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """Clean up."""
        self.reading.set()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(TIMEOUT_S)  # before its descriptor is closed, and perhaps reused for the next server
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def at(uri: str, line: int, character: int, **more: Any) -> dict[str, Any]:
    """Return the params of a request about a position."""
    return {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}, **more}
