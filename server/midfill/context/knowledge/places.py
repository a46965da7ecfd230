"""Where names are asked for: what stands before the cursor's dot, and what is used around it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from midfill.context.focus import Focus
from midfill.types import Snapshot

MAX_LINES = 60  # above the cursor, in its scope
MAX_RECEIVERS = 8
MAX_CHARS = 300_000
MAX_LINE = 200  # characters of the line before the cursor
_ACCESS = re.compile(r"(?<![\w.)\]\"'])([^\W\d]\w*(?:(?:\(\))?\.[^\W\d]\w*)*(?:\(\))?)\.\w*\Z")
_ANY_ACCESS = re.compile(r"([\w)\]}\"'])\.\w*\Z")
_NUMBER = re.compile(r"(?<![\w.])\d[\d_]*\Z")
_USED = re.compile(r"(?<![\w.\"'])([^\W\d]\w*(?:\.[^\W\d]\w*){0,2})\.(?=[^\W\d])")
_BOUND = re.compile(
    r"^\s*(?:(?:async\s+)?for\s+([^\W\d]\w*)\s+in\b|([^\W\d]\w*)\s*(?::[^=\n]+)?=(?!=)"
    r"|(?:async\s+)?with\b.*\bas\s+([^\W\d]\w*))"
)
_HEADER = re.compile(r"^\s*(?:async\s+)?def\s+\w+\s*\((.*)")
_PARAMETER = re.compile(r"(?:\A|,)\s*\*{0,2}([^\W\d]\w*)")
_KEYWORDS = frozenset({"import", "from", "return", "None", "True", "False", "in", "not", "and", "or", "is", "lambda"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of one place. ``here``: the first receiver stands before the cursor, in ``text`` as it is."""

    scope: str  # the line that opens the cursor's scope: what is known holds in there
    row: int  # of the cursor, from 0
    text: str
    column: int  # behind the dot, where ``here``
    receivers: tuple[str, ...]
    here: bool


def receiver_before(snapshot: Snapshot) -> str:
    """What stands before the member that is being written: ``self.items`` in ``x = self.items.ad``; "" for none."""
    before = snapshot.line_before[-MAX_LINE:]
    if (named := _ACCESS.search(before)) is not None:
        return named[1]
    other = _ANY_ACCESS.search(before)
    if other is None or _NUMBER.search(before[: other.end(1)]):
        return ""
    return before[: other.end(1)].strip()  # of more than names: all of the line is its key


def scope_of(snapshot: Snapshot) -> str:
    """The line that opens what the cursor stands in."""
    scopes = _focus(snapshot).scopes
    return next((line for line in scopes if _HEADER.match(line)), scopes[-1] if scopes else "")


def asked_at(snapshot: Snapshot) -> Asked | None:
    """What to ask for a cursor; None where nothing is, or the text is too long."""
    if len(snapshot.text) > MAX_CHARS:
        return None
    before = snapshot.line_before
    here = receiver_before(snapshot)
    focus = _focus(snapshot)
    receivers = dict.fromkeys([here] if here else [])
    receivers |= dict.fromkeys(_receivers(focus))
    if not receivers:
        return None
    row, text, column = focus.line, snapshot.text, len(before)
    if here:  # without the word that was begun, which would choose among the names
        n_word = len(before) - len(re.sub(r"\w*\Z", "", before))
        start = snapshot.cursor - n_word
        text, column = snapshot.text[:start] + snapshot.text[snapshot.cursor :], column - n_word
    return Asked(scope_of(snapshot), row, text, column, tuple(receivers)[:MAX_RECEIVERS], bool(here))


def _focus(snapshot: Snapshot) -> Focus:
    return Focus(snapshot.uri, snapshot.path, snapshot.language, snapshot.text, snapshot.cursor)


def _receivers(focus: Focus) -> list[str]:
    """Names that are bound in the cursor's scope and what is used with a dot there, the nearest first."""
    found: dict[str, None] = {}
    depth = len(focus.before[0]) - len(focus.before[0].lstrip())
    for n, line in enumerate(focus.before[: MAX_LINES + 1]):
        if n and line.strip() and len(line) - len(line.lstrip()) == 0 and depth > 0 and not _HEADER.match(line):
            break
        found |= dict.fromkeys(used[1] for used in _USED.finditer(line if n else ""))
        if (bound := _BOUND.match(line if n else "")) is not None:
            found.setdefault(bound[1] or bound[2] or bound[3])
        if (header := _HEADER.match(line)) is not None:
            for parameter in _PARAMETER.findall(header[1].split(")")[0]):
                found.setdefault(parameter)
            if len(line) - len(line.lstrip()) < max(depth, 1):
                break
    return [name for name in found if name.split(".")[0] not in _KEYWORDS]
