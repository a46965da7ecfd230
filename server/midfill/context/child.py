"""A child process that answers lines of JSON, one at a time, and can be ended at any moment."""

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

START_S = 30.0  # until a child has said that it is ready
LOOK_S = 0.05  # between two looks at the clock and the child's memory
MAX_ANSWER = 8 << 20  # bytes


class Ended(Exception):  # noqa: N818 - says what happened
    """The child is gone. ``ready``: it had begun to work, so what it was asked is to blame."""

    def __init__(self, why: str, *, ready: bool) -> None:
        super().__init__(why)
        self.ready = ready


class ChildProcess:
    """One child. Asked by one thread; ``kill`` may come from any."""

    def __init__(self, command: Sequence[str], *, max_memory: int, answer_s: float) -> None:
        """Start it; does not wait until it is ready. Its command gets this process's id as its last argument.

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
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()  # b"": there are no more
        self._is_ready = False
        threading.Thread(target=self._talk, name="midfill-child-pipe", daemon=True).start()

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._child.pid

    @property
    def resident(self) -> int:
        """Bytes of memory that it has; 0 where the system does not say."""
        return limits.resident(self.pid) or 0

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """What it answers. Raises Ended."""
        if not self._is_ready:
            self._answer(START_S)
            self._is_ready = True
        self._requests.put(json.dumps(message).encode() + b"\n")
        try:
            found = json.loads(self._answer(self._answer_s))
        except (ValueError, RecursionError) as error:
            raise Ended("it did not answer as it should", ready=True) from error
        if not isinstance(found, dict):
            raise Ended("it did not answer as it should", ready=True)
        return found

    def kill(self) -> None:
        """End it at once."""
        self._requests.put(None)
        with contextlib.suppress(OSError):
            self._child.kill()

    def end(self) -> None:
        """End it at once and wait until it is gone."""
        self.kill()
        self._child.wait()

    def _answer(self, limit_s: float) -> bytes:
        """The child's next line; a child that takes longer, or too much memory, is killed. Raises Ended."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                answer = self._answers.get(timeout=LOOK_S)
            except queue.Empty:
                if time.monotonic() > deadline:
                    raise Ended(f"no answer after {limit_s:.0f} s", ready=self._is_ready) from None
                if self.resident > self._max_memory:
                    raise Ended("too much memory", ready=self._is_ready) from None
                continue
            if not answer.endswith(b"\n"):
                raise Ended("it ended", ready=self._is_ready)
            return answer

    def _talk(self) -> None:
        """Write and read, which may wait for ever: in a thread that nothing waits for."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        # Closing the pipe of a child that was killed may fail as well as writing to it.
        with contextlib.suppress(OSError, ValueError), self._child.stdin as requests, self._child.stdout as answers:
            while line := answers.readline(MAX_ANSWER):
                self._answers.put(line)
                if not line.endswith(b"\n") or (request := self._requests.get()) is None:
                    break
                requests.write(request)
                requests.flush()
        self._answers.put(b"")
