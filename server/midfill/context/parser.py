"""A child (``parsing``) parses texts, one at a time; a text that is too much for it ends only the child.

A grammar keeps Python's lock while it reads, some take minutes or gigabytes for a malicious file, and none can be told
to stop; so nothing is parsed in the language server's process, and no answer waits for it.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from midfill.context import limits
from midfill.context.child import ChildEndedError, ChildProcess
from midfill.context.definition import Definition, from_json
from midfill.context.kinds import KINDS
from midfill.types import MidfillError

log = logging.getLogger(__name__)

ANSWER_S = 10.0  # by the clock; of processor time a text has less (limits.MAX_CPU_S), as the child gives way
IDLE_S = 60.0  # an idle child is stopped after this long
MAX_KEPT = 96 << 20  # bytes; a child that has more than this after a text is stopped, and the next one starts afresh
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0  # before the next child starts; doubled with each consecutive one that ends
MAX_STARTS = 5  # consecutive children that end before they are ready
OFF_S = 60.0  # after that many failures, texts have no definitions for this long

COMMAND = (sys.executable, "-P", "-m", "midfill.context.parsing")


@dataclass(frozen=True, slots=True)
class ParseJob:
    """A text to parse."""

    key: str  # identifies the file
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """The result of a job. ``definitions`` None: the text ended the child, and would do so again."""

    job: ParseJob
    definitions: tuple[Definition, ...] | None
    took_s: float


class ParseProcess(ChildProcess):
    """The child that parses."""

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        """Start the child without waiting until it is ready. Raises OSError, MidfillError."""
        super().__init__(command, max_memory=limits.MAX_MEMORY + MAX_KEPT, answer_s=ANSWER_S)

    def outline(self, language: str, text: str) -> tuple[Definition, ...]:
        """Return the definitions of ``text``; () if they could not be read. Raises ChildEndedError."""
        answer = self.ask({"language": language, "text": text})
        try:
            return from_json(answer.get("definitions", []))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ChildEndedError("it did not answer as it should", ready=True) from error

    @property
    def is_large(self) -> bool:
        """Whether its texts have left it larger than it should be."""
        return self.resident > MAX_KEPT


class Parser:
    """Parses one text after the other in a thread of its own, and starts the child when it is needed."""

    def __init__(self, done: Callable[[Parsed], None], start: Callable[[], ParseProcess] = ParseProcess) -> None:
        """``done`` receives the result of each job, in that thread."""
        self._done, self._start = done, start
        self._jobs: queue.SimpleQueue[ParseJob | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._child: ParseProcess | None = None
        self._stopped = threading.Event()
        self._n_ended = 0  # consecutive children
        self._resume_at = self._off_until = 0.0

    def submit(self, job: ParseJob) -> None:
        """Submit a job for parsing; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="midfill-parser", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    @property
    def pause_s(self) -> float:
        """The seconds for which nothing should be submitted, because a child has just ended."""
        return max(0.0, self._resume_at - time.monotonic())

    def stop(self) -> None:
        """Stop the thread and the child without waiting for them."""
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

    def _definitions(self, job: ParseJob) -> tuple[Definition, ...] | None:
        if job.language not in KINDS:
            return ()
        while not self._stopped.is_set() and time.monotonic() >= self._off_until:
            try:
                found = self._ask(job)
            except ChildEndedError as error:
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

    def _ask(self, job: ParseJob) -> tuple[Definition, ...]:
        if self._child is None:
            try:
                self._child = self._start()
            except MidfillError as error:  # it has no folder, and the next one would have none either
                self._switch_off(error.message)
                return ()
            except (OSError, ValueError) as error:
                raise ChildEndedError(type(error).__name__, ready=False) from error
        if self._stopped.is_set():
            raise ChildEndedError("it is not needed any more", ready=False)
        found = self._child.outline(job.language, job.text)
        if self._child.is_large:
            self._end_child()
        return found

    def _note_end(self, error: ChildEndedError) -> None:
        log.info("context: a process that parses was ended: %s", error)
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._n_ended, 10))
        self._n_ended += 1
        self._resume_at = time.monotonic() + pause_s
        if not error.ready and self._n_ended >= MAX_STARTS:
            self._switch_off(str(error))

    def _switch_off(self, why: str) -> None:
        log.warning("context: nothing is parsed for a while, as the process for it does not start: %s", why)
        self._n_ended, self._off_until = 0, time.monotonic() + OFF_S

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()
