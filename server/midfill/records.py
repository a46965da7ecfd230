"""What was shown and what became of it, counted on this machine: lengths, times and names, never source text.

One SQLite file in the state folder, readable by the user alone, written by its own thread. Nothing is sent anywhere;
``records = false`` switches it off and ``midfill stats --clear`` deletes everything.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from midfill import paths
from midfill.types import MidfillError

log = logging.getLogger(__name__)

Work = Callable[[sqlite3.Connection], object]
Outcome = Literal["accepted", "partial", "typed", "rejected"]

MAX_ROWS = 20_000  # about 5 MB; the oldest go first
BATCH_S = 0.5  # seconds; what comes together is written together
MAX_WAITING = 1000  # records beyond this are dropped while the disk hangs
KEPT_AFTER_S = (30, 300)

_COLUMNS = """
    at REAL NOT NULL, id TEXT NOT NULL UNIQUE, method TEXT, language TEXT, trigger TEXT, model TEXT, adapter TEXT,
    hit TEXT, finish_reason TEXT, rules TEXT, n_candidates INTEGER, n_chars INTEGER, n_lines INTEGER, confidence REAL,
    latency_s REAL, ttft_s REAL, n_prompt INTEGER, n_cached INTEGER, n_decoded INTEGER, seen INTEGER,
    outcome TEXT NOT NULL DEFAULT '', n_accepted INTEGER NOT NULL DEFAULT 0, kept_30 REAL, kept_300 REAL
"""
_SCHEMA = 1
# Columns that later versions added. Nothing else changes by them, so versions with and without them may share one file.
_LATER = {"adapter_digest": "TEXT NOT NULL DEFAULT ''", "scope": "TEXT NOT NULL DEFAULT ''"}


@dataclass(frozen=True, slots=True)
class Shown:
    """A suggestion that was sent to a client."""

    at: float  # seconds since 1970
    id: str
    method: str
    language: str
    trigger: str
    model: str
    adapter: str
    hit: str
    finish_reason: str
    rules: str  # their names, separated by commas
    n_candidates: int
    n_chars: int
    n_lines: int
    confidence: float | None
    latency_s: float
    ttft_s: float | None
    n_prompt: int
    n_cached: int
    n_decoded: int
    seen: bool  # False if the client reports what it really shows, and has not done so yet
    adapter_digest: str = ""  # the version of the adapter; "" if the engine does not report it
    scope: str = ""  # the kind of place: "code", "comment", "string" or "docstring"


def records_file() -> Path:
    """Return the file of the records."""
    return paths.state_dir() / "records.sqlite3"


def trace_file() -> Path:
    """Return the file of the last trace, without source text."""
    return paths.state_dir() / "last-trace.json"


class Records:
    """Takes notes and returns at once. What cannot be written is lost, and the log says so once."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Work | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._trace: dict[str, Any] | None = None  # the last trace, until it is written
        self._failed = self._ended = False

    def shown(self, shown: Shown) -> None:
        """A suggestion was sent; one that is known already stays as it is."""
        values = astuple(shown)
        names, marks = ", ".join(field.name for field in fields(Shown)), ", ".join("?" * len(values))
        self._put(f"INSERT OR IGNORE INTO suggestions ({names}) VALUES ({marks})", *values)  # noqa: S608 - our own names

    def seen(self, id: str) -> None:
        """The client really showed it."""
        self._put("UPDATE suggestions SET seen = 1 WHERE id = ?", id)

    def outcome(self, id: str, outcome: Outcome, n_accepted: int = 0) -> None:
        """Record its outcome. Accepting always counts; any other outcome only if none is known."""
        allowed = "outcome != 'accepted'" if outcome in ("accepted", "partial") else "outcome = ''"
        self._put(
            "UPDATE suggestions SET outcome = ?, seen = 1, n_accepted = max(n_accepted, ?)"  # noqa: S608 - our own words
            f" WHERE id = ? AND {allowed}", outcome, n_accepted, id,
        )  # fmt: skip

    def kept(self, id: str, after_s: int, share: float) -> None:
        """Record how much of the accepted text was left after 30 or 300 seconds, 0 to 1."""
        assert after_s in KEPT_AFTER_S
        self._put(f"UPDATE suggestions SET kept_{after_s} = ? WHERE id = ?", share, id)  # noqa: S608 - a number

    def trace(self, values: dict[str, Any]) -> None:
        """Write the last trace in its form for the disk. Of several that come at once, the last one is written."""
        was_waiting, self._trace = self._trace is not None, values
        if not was_waiting and not self._do(lambda _connection: self._write_trace()):
            self._trace = None

    def also(self, work: Callable[[], None]) -> None:
        """Do ``work`` in the thread that writes, after what waits."""
        self._do(lambda _connection: work())

    def close(self) -> None:
        """Write what waits. May take a moment: call it from a thread."""
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(None)
            self._thread.join(1.0)

    def _write_trace(self) -> None:
        values, self._trace = self._trace, None
        if values is not None:
            _write_trace(values)

    def _put(self, statement: str, *values: object) -> None:
        cleaned = [_storable(value) for value in values]
        self._do(lambda connection: connection.execute(statement, cleaned))

    def _do(self, work: Work) -> bool:
        """Hand ``work`` to the thread; return False if its queue is full."""
        if self._failed:
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="midfill-records", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            return False
        return True

    def _run(self) -> None:
        try:
            with opened() as connection:
                while batch := self._batch():
                    with connection:  # one transaction, begun when everything is there: other windows write too
                        for work in batch:
                            _try(work, connection)
                        connection.execute(
                            "DELETE FROM suggestions WHERE rowid <= (SELECT max(rowid) FROM suggestions) - ?",
                            (MAX_ROWS,),
                        )
        except (sqlite3.Error, OSError, MidfillError) as error:
            self._failed = True
            log.warning("records are not kept (%s); run: midfill stats --clear", type(error).__name__)

    def _batch(self) -> list[Work]:
        """Return what comes within a short time; empty at the end."""
        if self._ended or (work := self._queue.get()) is None:
            return []
        batch, deadline = [work], time.monotonic() + BATCH_S
        while (left := deadline - time.monotonic()) > 0:
            try:
                following = self._queue.get(timeout=left)
            except queue.Empty:
                break
            if following is None:
                self._ended = True
                break
            batch.append(following)
        return batch


def _try(work: Work, connection: sqlite3.Connection) -> None:
    """Do the work. Drops a value that cannot be stored; raises the disk's errors: sqlite3.Error, OSError."""
    try:
        work(connection)
    except (ValueError, TypeError, OverflowError, RecursionError, sqlite3.ProgrammingError, sqlite3.IntegrityError):
        log.info("a record cannot be stored and is left out")


def _storable(value: object) -> object:
    """Return ``value`` as SQLite can store it: halves of characters replaced, no NaN and no number that
    is too large."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")
    if isinstance(value, int):
        return max(-(1 << 63), min(value, (1 << 63) - 1))
    return value


@contextlib.contextmanager
def opened() -> Iterator[sqlite3.Connection]:
    """Return the open database, created if missing. Raises sqlite3.Error, OSError, MidfillError."""
    file = records_file()
    with connected(file) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version not in (0, _SCHEMA):
            raise MidfillError(f"{file} was written by another version of midfill", "run: midfill stats --clear")
        with connection:
            connection.execute("BEGIN IMMEDIATE")  # two windows may find the same column missing
            connection.execute(f"CREATE TABLE IF NOT EXISTS suggestions ({_COLUMNS})")
            known = {row[1] for row in connection.execute("PRAGMA table_info(suggestions)")}
            for name in _LATER.keys() - known:
                connection.execute(f"ALTER TABLE suggestions ADD COLUMN {name} {_LATER[name]}")
            connection.execute(f"PRAGMA user_version = {_SCHEMA}")
        yield connection


@contextlib.contextmanager
def connected(file: Path) -> Iterator[sqlite3.Connection]:
    """Return an open database in the state folder that only the user can read. Raises sqlite3.Error, OSError,
    MidfillError."""
    paths.private_dir(file.parent)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives its journal the same mode
    file.chmod(0o600)
    with contextlib.closing(sqlite3.connect(file, timeout=5.0)) as connection:
        yield connection


def rows(days: float | None = None) -> list[dict[str, Any]]:
    """Return the records of the last ``days``, the oldest first. Raises MidfillError."""
    if not records_file().is_file():
        return []
    since = 0.0 if days is None else time.time() - days * 86400
    try:
        with opened() as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute("SELECT * FROM suggestions WHERE at >= ? ORDER BY rowid", (since,))
            return [dict(row) for row in found]
    except (sqlite3.Error, OSError) as error:
        raise MidfillError(f"cannot read {records_file()}: {error}", "run: midfill stats --clear") from error


def settled(trigger: str, limit: int = 500) -> list[dict[str, Any]]:
    """Return the last suggestions with an outcome and a confidence, the oldest first. Raises MidfillError."""
    return [
        row for row in rows()
        if row["trigger"] == trigger and row["seen"] and row["outcome"] and row["confidence"] is not None
    ][-limit:]  # fmt: skip


def kept_share(text: str, lines: Sequence[str]) -> float:
    """Return how much of ``text`` is left, 0 to 1: its lines that are part of one of ``lines``, by their length."""
    pieces = [piece.strip() for piece in text.split("\n")]
    n_chars = sum(map(len, pieces))
    n_kept = sum(len(piece) for piece in pieces if piece and any(piece in line for line in lines))
    return n_kept / n_chars if n_chars else 1.0


def clear() -> None:
    """Delete everything. Raises MidfillError."""
    file = records_file()
    try:
        for path in (file, file.with_name(file.name + "-journal"), trace_file()):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise MidfillError(f"cannot remove {file}: {error.strerror}", "remove it by hand") from error


def _write_trace(values: dict[str, Any]) -> None:
    part = trace_file().with_suffix(".part")
    with contextlib.suppress(OSError):
        with os.fdopen(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
            json.dump(values, stream)
        part.replace(trace_file())


def last_trace() -> dict[str, Any] | None:
    """Return the last trace that a language server left, or None."""
    try:
        values = json.loads(trace_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
