"""Texts are parsed by a child (``parsing``), one at a time, and a text that is too much for it ends the child alone.

A grammar keeps Python's lock while it reads, some take minutes or gigabytes for a file that was made for it, and none
can be told to stop; so nothing is parsed in the language server's process, and nothing of an answer waits for it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from midfill import paths, safe_path
from midfill.context import limits
from midfill.context.definition import Definition, from_json
from midfill.context.kinds import KINDS
from midfill.types import MidfillError

log = logging.getLogger(__name__)

START_S = 30.0  # until a child has said that it is ready
ANSWER_S = 10.0  # by the clock; of processor time a text has less (limits.MAX_CPU_S), as the child gives way
IDLE_S = 60.0  # a child that has had nothing to do for so long is ended
LOOK_S = 0.05  # between two looks at the clock and the child's memory
MAX_KEPT = 96 << 20  # bytes; a child that has more than this after a text is ended, and the next one begins afresh
MAX_ANSWER = 8 << 20  # bytes
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0  # before the next child, doubled with each one that ends in a row
MAX_STARTS = 5  # children in a row that end before they are ready
OFF_S = 60.0  # after that many, texts have no definitions for so long

COMMAND = (sys.executable, "-P", "-m", "midfill.context.parsing")


@dataclass(frozen=True, slots=True)
class Job:
    """A text to parse."""

    key: str  # whose it is
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What became of a job. ``definitions`` None: the text ended the child, and would again."""

    job: Job
    definitions: tuple[Definition, ...] | None
    took_s: float


class Ended(Exception):  # noqa: N818 - says what happened
    """The child is gone. ``ready``: it had begun to work, so the text is to blame."""

    def __init__(self, why: str, *, ready: bool) -> None:
        super().__init__(why)
        self.ready = ready


class ParseProcess:
    """One child. Asked by one thread; ``kill`` may come from any."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        """Start it; does not wait until it is ready. Raises OSError, MidfillError."""
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
        threading.Thread(target=self._talk, name="midfill-parse-pipe", daemon=True).start()

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._child.pid

    def outline(self, language: str, text: str) -> tuple[Definition, ...]:
        """The definitions of ``text``; () where they could not be read. Raises Ended."""
        if not self._is_ready:
            self._answer(START_S)
            self._is_ready = True
        self._requests.put(json.dumps({"language": language, "text": text}).encode() + b"\n")
        answer = self._answer(ANSWER_S)
        try:
            return from_json(json.loads(answer).get("definitions", []))
        except (ValueError, AttributeError, RecursionError) as error:
            raise Ended("it did not answer as it should", ready=True) from error

    @property
    def is_large(self) -> bool:
        """Whether what it has read has left it larger than it should be."""
        return (limits.resident(self.pid) or 0) > MAX_KEPT

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
                if (limits.resident(self.pid) or 0) > limits.MAX_MEMORY + MAX_KEPT:
                    raise Ended("too much memory", ready=self._is_ready) from None
                continue
            if not answer.endswith(b"\n"):
                raise Ended("it ended", ready=self._is_ready)
            return answer

    def _talk(self) -> None:
        """Write and read, which may wait for ever: in a thread that nothing waits for."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with self._child.stdin as requests, self._child.stdout as answers, contextlib.suppress(OSError, ValueError):
            while line := answers.readline(MAX_ANSWER):
                self._answers.put(line)
                if not line.endswith(b"\n") or (request := self._requests.get()) is None:
                    break
                requests.write(request)
                requests.flush()
        self._answers.put(b"")


class Parser:
    """Parses one text after the other in a thread of its own, and starts the child when it is needed."""

    def __init__(self, done: Callable[[Parsed], None], start: Callable[[], ParseProcess] = ParseProcess) -> None:
        """``done`` is told what became of each job, by that thread."""
        self._done, self._start = done, start
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._child: ParseProcess | None = None
        self._stopped = threading.Event()
        self._n_ended = 0  # children in a row
        self._resume_at = self._off_until = 0.0

    def submit(self, job: Job) -> None:
        """Parse it; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="midfill-parser", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    @property
    def pause_s(self) -> float:
        """Seconds for which nothing should be submitted: a child has just ended."""
        return max(0.0, self._resume_at - time.monotonic())

    def stop(self) -> None:
        """End the thread and the child; does not wait for them."""
        self._stopped.set()
        self._jobs.put(None)
        if (child := self._child) is not None:
            child.kill()

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                try:
                    job = self._jobs.get(timeout=IDLE_S)
                except queue.Empty:
                    self._end_child()
                    continue
                if job is not None:
                    began = time.monotonic()
                    definitions = self._definitions(job)
                    self._done(Parsed(job, definitions, time.monotonic() - began))
        finally:
            self._end_child()

    def _definitions(self, job: Job) -> tuple[Definition, ...] | None:
        if job.language not in KINDS:
            return ()
        while not self._stopped.is_set() and time.monotonic() >= self._off_until:
            try:
                found = self._ask(job)
            except Ended as error:
                self._end_child()
                if self._stopped.is_set():
                    break
                self._note_end(error)
                if error.ready:
                    return None
                self._stopped.wait(self.pause_s)
            else:
                self._n_ended = 0
                return found
        return ()

    def _ask(self, job: Job) -> tuple[Definition, ...]:
        if self._child is None:
            try:
                self._child = self._start()
            except (OSError, MidfillError, ValueError) as error:
                raise Ended(type(error).__name__, ready=False) from error
        if self._stopped.is_set():
            raise Ended("it is not needed any more", ready=False)
        found = self._child.outline(job.language, job.text)
        if self._child.is_large:
            self._end_child()
        return found

    def _note_end(self, error: Ended) -> None:
        log.info("context: a process that parses was ended: %s", error)
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._n_ended, 10))
        self._n_ended += 1
        self._resume_at = time.monotonic() + pause_s
        if not error.ready and self._n_ended >= MAX_STARTS:
            log.warning("context: nothing is parsed for a while, as the process for it does not start: %s", error)
            self._n_ended, self._off_until = 0, time.monotonic() + OFF_S

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()
