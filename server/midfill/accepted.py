"""Texts that the user accepted and kept, for ``midfill train`` to learn more often. Kept only if the user says so.

``records`` hold no source text; these do, so they have a file of their own and a setting of their own
(``learn_from_accepted``, off by default, which no workspace and no editor may set). The file is readable by the user
alone and stays on this machine. It never holds a text from a file that ignore rules or names keep out, or one that
looks like a secret. ``midfill stats --clear`` deletes it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from midfill import paths
from midfill.context.secrets import without_secrets
from midfill.context.walk import Folder
from midfill.records import connected
from midfill.types import MidfillError

log = logging.getLogger(__name__)

MAX_TEXTS = 2000  # the oldest go first
MAX_AGE_S = 90 * 86400.0
MIN_CHARS, MAX_CHARS = 3, 1000  # of an accepted text
AROUND = 200  # characters kept on each side: enough to find the place again
NEAR = 20  # characters before a text that must be the same, if there are so many

_TABLE = (
    "CREATE TABLE IF NOT EXISTS texts (id TEXT PRIMARY KEY, at REAL, path TEXT, before TEXT, text TEXT, after TEXT)"
)


@dataclass(frozen=True, slots=True)
class AcceptedText:
    """A text that the user accepted, where it stood. ``path`` is the file's real path; line ends are ``\\n``."""

    id: str
    at: float  # seconds since 1970
    path: str
    before: str
    text: str
    after: str

    def start_in(self, text: str) -> int | None:
        """Return where in the file's ``text`` it stands, where most of what was before it is; None if it is gone."""
        found: tuple[int, int] | None = None
        at = text.find(self.text)
        while at >= 0:
            n_same = _n_same_end(text[max(0, at - AROUND) : at], self.before)
            if found is None or n_same > found[0]:
                found = n_same, at
            at = text.find(self.text, at + 1)
        return found[1] if found is not None and found[0] >= min(NEAR, len(self.before)) else None


def _n_same_end(one: str, other: str) -> int:
    n = 0
    while n < min(len(one), len(other)) and one[-1 - n] == other[-1 - n]:
        n += 1
    return n


def accepted_file() -> Path:
    """Return the file of the texts."""
    return paths.state_dir() / "accepted.sqlite3"


def keep(folder: Path, accepted: AcceptedText) -> None:
    """Keep a text of a file in ``folder`` if it may be kept. Reads ignore rules and writes: call it from a thread.

    What cannot be written is lost.
    """
    accepted = replace(accepted, path=os.path.realpath(accepted.path))
    if not may_keep(folder, accepted):
        return
    _write(
        [
            ("INSERT OR REPLACE INTO texts VALUES (?, ?, ?, ?, ?, ?)", astuple(accepted)),
            ("DELETE FROM texts WHERE at < ?", (time.time() - MAX_AGE_S,)),
            (
                "DELETE FROM texts WHERE id NOT IN (SELECT id FROM texts ORDER BY at DESC, rowid DESC LIMIT ?)",
                (MAX_TEXTS,),
            ),
        ]
    )


def may_keep(folder: Path, accepted: AcceptedText) -> bool:
    """Whether the file (by its real path) may be learned from, and nothing in or around the text looks like a
    secret."""
    if not MIN_CHARS <= len(accepted.text.strip()) <= len(accepted.text) <= MAX_CHARS:
        return False
    try:
        is_admitted = Folder(folder).admits(accepted.path)
    except OSError:
        return False
    whole = accepted.before + accepted.text + accepted.after
    return is_admitted and not without_secrets(whole, accepted.path)[1]


def forget(id: str) -> None:
    """Delete the text of a suggestion: the user has changed it since."""
    if accepted_file().is_file():
        _write([("DELETE FROM texts WHERE id = ?", (id,))])


def _write(statements: Sequence[tuple[str, tuple[object, ...]]]) -> None:
    """Run the statements as one. What fails is logged without the text."""
    try:
        with _opened() as connection, connection:
            for statement, values in statements:
                connection.execute(statement, values)
    except (sqlite3.Error, OSError, MidfillError, ValueError) as error:
        log.warning("an accepted text is not kept (%s)", type(error).__name__)


@contextlib.contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    with connected(accepted_file()) as connection:
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted leaves the file
        connection.execute(_TABLE)
        yield connection


def texts() -> list[AcceptedText]:
    """Return the texts that are not too old, the oldest first. Raises MidfillError."""
    if not accepted_file().is_file():
        return []
    since = time.time() - MAX_AGE_S
    try:
        with _opened() as connection:
            rows = connection.execute(
                "SELECT * FROM texts WHERE at >= ? ORDER BY at, rowid LIMIT ?", (since, MAX_TEXTS)
            )
            return [AcceptedText(*row) for row in rows]
    except (sqlite3.Error, OSError) as error:
        raise MidfillError(f"cannot read {accepted_file()}: {error}", "run: midfill stats --clear") from error


def clear() -> None:
    """Delete everything. Raises MidfillError."""
    file = accepted_file()
    try:
        for path in (file, file.with_name(file.name + "-journal")):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise MidfillError(f"cannot remove {file}: {error.strerror}", "remove it by hand") from error
