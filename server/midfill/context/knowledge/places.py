"""For which places names are requested: what is before the cursor's dot, what is used around it, and what is called at
the cursor."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from midfill.context.focus import Focus
from midfill.syntax.calls import Given, Signature, given, given_after, opened
from midfill.syntax.lexical import pieces
from midfill.syntax.names import opens_function
from midfill.types import Snapshot

MAX_LINES = 60  # above the cursor, in its scope
MAX_RECEIVERS = 8
MAX_CHARS = 300_000
MAX_LINE = 200  # characters of the line before the cursor
MAX_BELOW = 20  # lines below the cursor
MAX_CALLEES = 4
MAX_CALL = 6_000  # characters before the cursor that are read for open calls
MAX_CODE = 100_000  # characters before the cursor that are read for strings and comments
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
_CALLED = re.compile(r"(?<![\w.)\]\"'@])([^\W\d]\w*(?:\.[^\W\d]\w*){0,4})\(")
_BEGINS = re.compile(r"[(,]\s*\w*\Z|^\s*\w*\Z|\n\s*\w*\Z")  # an argument, if a call is open
OWN = ("this", "self")
_KEYWORDS = frozenset({"import", "from", "return", "None", "True", "False", "in", "not", "and", "or", "is", "lambda"})


@dataclass(frozen=True, slots=True)
class MemberQuery:
    """The request for one place. ``here``: the first receiver is before the cursor, in the unchanged ``text``."""

    scope: str  # the line that opens the cursor's scope: what is known holds inside it
    row: int  # of the cursor, from 0
    text: str
    column: int  # after the dot, if ``here``
    receivers: tuple[str, ...]
    here: bool
    is_more: bool = False  # in addition to what is known already
    callees: tuple[str, ...] = ()  # of the calls around the cursor, the innermost first
    callee_row: int = 0  # of the statement that they are in


def receiver_before(snapshot: Snapshot) -> str:
    """Return what is before the member that is being written: ``self.items`` in ``x = self.items.ad``; "" for none."""
    before = snapshot.line_before[-MAX_LINE:]
    if (named := _ACCESS.search(before)) is not None:
        return named[1]
    other = _ANY_ACCESS.search(before)
    if other is None or _NUMBER.search(before[: other.end(1)]):
        return ""
    return before[: other.end(1)].strip()  # not only names: the whole line is its key


def scope_of(snapshot: Snapshot) -> str:
    """Return the line that opens the scope around the cursor."""
    scopes = _focus(snapshot).scopes
    return next((line for line in scopes if opens_function(line)), scopes[-1] if scopes else "")


def uses_near(snapshot: Snapshot) -> dict[str, int]:
    """Return where the members of the receivers in the cursor's function can be requested: by receiver, the position
    after the dot of its nearest use; ``this`` and ``self`` first, then the nearest receivers."""
    if snapshot.cursor > MAX_CODE:
        return {}
    found: dict[str, int] = {}
    for start, line in _function(snapshot):
        for used in _USED.finditer(line[:MAX_LINE]):
            at, receiver = start + used.start(), ""
            for part in used[1].split("."):
                receiver, at = f"{receiver}.{part}".lstrip("."), at + len(part) + 1
                found.setdefault(receiver, at)
    if not found:
        return {}
    read = pieces(snapshot.text[: max(found.values())], snapshot.language)
    code = [(start, end) for start, end, kind in read if kind == "code"]
    starts = [start for start, _ in code]
    found = {
        receiver: at for receiver, at in found.items()
        if receiver.split(".")[0] not in _KEYWORDS and (n := bisect.bisect_left(starts, at)) and at <= code[n - 1][1]
    }  # fmt: skip
    return dict(sorted(found.items(), key=lambda one: one[0] not in OWN))


def _function(snapshot: Snapshot) -> Iterator[tuple[int, str]]:
    """Yield the lines of the cursor's function with the positions where they begin: those above, the nearest first,
    then those below; not the cursor's line, which is broken because it is being written."""
    start = snapshot.cursor - len(snapshot.line_before)
    line = snapshot.text[start:].split("\n", 1)[0]
    least = _depth(line) if line.strip() else len(line)
    for n, above in enumerate(snapshot.text[max(0, start - 20_000) : start].split("\n")[-2::-1]):
        start -= len(above) + 1
        if least or not _depth(above):  # outside of functions, lines inside a function do not count
            yield start, above
        opens = above.strip() and _depth(above) < least
        if n == MAX_LINES or (opens and (opens_function(above) or not _depth(above))):
            least = _depth(above)
            break
    at = snapshot.cursor + len(snapshot.text[snapshot.cursor :].split("\n", 1)[0]) + 1
    for below in snapshot.text[at : at + 8_000].split("\n")[:MAX_BELOW]:
        if below.strip() and _depth(below) <= least:
            return
        yield at, below
        at += len(below) + 1


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def asked_at(snapshot: Snapshot) -> MemberQuery | None:
    """Return what to request for a cursor; None if there is nothing, or the text is too long."""
    if len(snapshot.text) > MAX_CHARS:
        return None
    before = snapshot.line_before
    here = receiver_before(snapshot)
    focus = _focus(snapshot)
    receivers = dict.fromkeys([here] if here else [])
    receivers |= dict.fromkeys(_receivers(focus))
    callees, callee_row = calls_around(snapshot)
    if not (receivers or callees):
        return None
    row, text, column = focus.line, snapshot.text, len(before)
    if here:  # without the begun word, which would filter the names
        n_word = len(before) - len(re.sub(r"\w*\Z", "", before))
        start = snapshot.cursor - n_word
        text, column = snapshot.text[:start] + snapshot.text[snapshot.cursor :], column - n_word
    return MemberQuery(
        scope_of(snapshot), row, text, column, tuple(receivers)[:MAX_RECEIVERS], bool(here),
        callees=callees, callee_row=callee_row,
    )  # fmt: skip


def calls_around(snapshot: Snapshot) -> tuple[tuple[str, ...], int]:
    """Return what is called around the cursor, the innermost first, and the row where the outermost bracket opens."""
    stack = opened(snapshot.text[max(0, snapshot.cursor - MAX_CALL) : snapshot.cursor], snapshot.language)
    callees = tuple(one.callee for one in reversed(stack) if one.callee)[:MAX_CALLEES]
    n_lines = sum(text.count("\n") for one in stack for text in (*one.given, one.begun)) if callees else 0
    return callees, snapshot.text.count("\n", 0, snapshot.cursor) - n_lines


def call_inside(text: str, cursor: int, language: str) -> tuple[str, int] | None:
    """Return what the innermost call around the cursor calls, and the position after its opening parenthesis."""
    stack = opened(text[max(0, cursor - MAX_CALL) : cursor], language)
    call = next((one for one in reversed(stack) if one.callee), None)
    return (call.callee, cursor - call.n_inside) if call is not None else None


def open_callee(snapshot: Snapshot) -> str:
    """Return what the innermost call around the cursor calls; "" for none."""
    return next(iter(calls_around(snapshot)[0]), "")


def call_at(snapshot: Snapshot, calls: Mapping[str, Signature]) -> tuple[Signature, Given] | None:
    """Return what is called at a cursor where an argument begins, and what it has already; None if there is no such
    call, or if nothing is known of it."""
    before = snapshot.text[max(0, snapshot.cursor - MAX_CALL) : snapshot.cursor]
    if not calls or not _BEGINS.search(before[-MAX_LINE:]):
        return None
    stack = opened(before, snapshot.language)
    begun = stack[-1].begun.strip() if stack else ""
    signature = calls.get(stack[-1].callee) if stack and (not begun or begun.isidentifier()) else None
    if signature is None or not (has := given(stack[-1], snapshot.language)).is_sure:
        return None
    return signature, replace(has, later=given_after(snapshot.suffix, snapshot.language))


def called(snapshot: Snapshot, middle: str) -> list[str]:
    """Return what is called in a middle that is being written at the cursor."""
    head = snapshot.line_before[-MAX_LINE:]
    found = (one for one in _CALLED.finditer(head + middle) if one.end() > len(head))
    return list(dict.fromkeys(one[1] for one in found if one[1].split(".")[0] not in _KEYWORDS))


def written(snapshot: Snapshot, middle: str) -> list[str]:
    """Return the receivers whose members are used in a middle that is being written at the cursor, except those it
    binds itself."""
    head = snapshot.line_before[-MAX_LINE:]
    found: dict[str, None] = {}
    bound = {name for line in middle.split("\n") if (one := _BOUND.match(line)) is not None for name in one.groups()}
    for used in _USED.finditer(head + middle):
        at, receiver = used.start(), ""
        for part in used[1].split("."):
            receiver, at = f"{receiver}.{part}".lstrip("."), at + len(part) + 1
            if at > len(head) and used[1].split(".")[0] not in bound | _KEYWORDS:
                found[receiver] = None
    return list(found)


def asked_of(snapshot: Snapshot, receivers: Sequence[str], callees: Sequence[str] = ()) -> MemberQuery | None:
    """Return what to request for these receivers and callees at a cursor; None if the text is too long."""
    if len(snapshot.text) > MAX_CHARS:
        return None
    row = snapshot.text.count("\n", 0, snapshot.cursor)
    return MemberQuery(
        scope_of(snapshot), row, snapshot.text, 0, tuple(receivers)[:MAX_RECEIVERS], here=False, is_more=True,
        callees=tuple(callees)[:MAX_CALLEES], callee_row=calls_around(snapshot)[1],
    )  # fmt: skip


def _focus(snapshot: Snapshot) -> Focus:
    return Focus(snapshot.uri, snapshot.path, snapshot.language, snapshot.text, snapshot.cursor)


def _receivers(focus: Focus) -> list[str]:
    """Return the names bound in the cursor's scope and what is used with a dot there, the nearest first."""
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
