"""A child process that answers lines of JSON, one at a time, and can be killed at any moment."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

from midfill import paths, safe_path
from midfill.context import limits

START_S = 30.0  # until a child has reported that it is ready
LOOK_S = 0.05  # between two checks of the clock and the child's memory
MAX_ANSWER = 8 << 20  # bytes


class ChildEndedError(Exception):
    """The child has ended. ``ready``: it had begun to work, so its last request is to blame."""

    def __init__(self, why: str, *, ready: bool) -> None:
        super().__init__(why)
        self.ready = ready


class ChildProcess:
    """One child. One thread sends it requests; any thread may call ``kill``."""

    def __init__(self, command: Sequence[str], *, max_memory: int, answer_s: float) -> None:
        """Start the child without waiting until it is ready. Its command gets this process's id as its last argument.

        ``max_memory`` (bytes) and ``answer_s`` bound each answer from outside. Raises OSError, MidfillError.
        """
        self._max_memory, self._answer_s = max_memory, answer_s
        flags = getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0) | getattr(subprocess, "CREATE_NO_WINDOW", 0)
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            [*command, str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=safe_path.child_environment(), cwd=paths.runtime_dir(), start_new_session=True,
            creationflags=flags,
        )  # fmt: skip
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()  # b"": no more will come
        self._is_ready = False
        threading.Thread(target=self._talk, name="midfill-child-pipe", daemon=True).start()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._child.pid

    @property
    def resident(self) -> int:
        """The child's resident memory in bytes; 0 if the system does not report it."""
        return limits.resident(self.pid) or 0

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return its answer. Raises ChildEndedError."""
        if not self._is_ready:
            self._answer(START_S)
            self._is_ready = True
        self._requests.put(json.dumps(message).encode() + b"\n")
        try:
            found = json.loads(self._answer(self._answer_s))
        except (ValueError, RecursionError) as error:
            raise ChildEndedError("it did not answer as it should", ready=True) from error
        if not isinstance(found, dict):
            raise ChildEndedError("it did not answer as it should", ready=True)
        return found

    def kill(self) -> None:
        """Kill the child at once."""
        self._requests.put(None)
        with contextlib.suppress(OSError):
            self._child.kill()

    def end(self) -> None:
        """Kill the child and wait until it has ended."""
        self.kill()
        self._child.wait()

    def _answer(self, limit_s: float) -> bytes:
        """Return the child's next line; kill a child that takes too much time or memory. Raises ChildEndedError."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                answer = self._answers.get(timeout=LOOK_S)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise ChildEndedError(f"no answer after {limit_s:.0f} s", ready=self._is_ready) from None
                if self.resident > self._max_memory:
                    raise ChildEndedError("too much memory", ready=self._is_ready) from None
                continue
            if not answer.endswith(b"\n"):
                raise ChildEndedError("it ended", ready=self._is_ready)
            return answer

    def _talk(self) -> None:
        """Write and read, which may block for ever: this runs in a thread that nothing waits for."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        # Closing the pipe of a killed child may fail just like writing to it.
        with contextlib.suppress(OSError, ValueError), self._child.stdin as requests, self._child.stdout as answers:
            while line := answers.readline(MAX_ANSWER):
                self._answers.put(line)
                if not line.endswith(b"\n") or (request := self._requests.get()) is None:
                    break
                requests.write(request)
                requests.flush()
        self._answers.put(b"")
