"""The variables at a cursor, and what the text says they are; read line by line, since the file is being written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from midfill.context.focus import Focus
from midfill.context.knowledge.types import GO, closing, parameters, split

MAX_LINES = 400  # above the cursor
MAX_LINE = 400  # characters; longer lines bind nothing: reading them takes time quadratic in their length
MAX_HEAD = 800  # of a head that spans several lines
NEAR = 120  # characters before a callback that may be what it is called on
MAX_BOUND = 60


@dataclass(frozen=True, slots=True)
class Bound:
    """What a variable is: it has a written ``type``, or the value of ``code``; ``part`` narrows it.

    ``part``: "" all of it, "element" of a list, a number for one of several results, else the name of a member.
    """

    type: str = ""
    code: str = ""
    part: str | int = ""


def variables(focus: Focus) -> dict[str, Bound]:
    """Return the variables by name; of several with one name, the nearest above the cursor."""
    read = _go if focus.family == GO else _script
    found: dict[str, Bound] = {}
    for line, opens in visible(focus):
        for name, bound in read(line, opens=opens):
            if len(found) < MAX_BOUND:
                found.setdefault(name, bound)
    return found


def visible(focus: Focus) -> Iterator[tuple[str, bool]]:
    """Yield the lines above the cursor whose names it sees, the nearest first, and whether each opens a scope around
    it.

    A line that is deeper than everything between it and the cursor is in another block. A head that spans several lines
    counts as one.
    """
    lines = focus.before[: MAX_LINES + 1]
    least = _depth(lines[0]) if lines[0].strip() else len(lines[0])
    at = 1
    while at < len(lines):
        line = lines[at]
        at += 1
        if not line.strip():
            continue
        depth = _depth(line)
        if depth > least or (depth == least and line.lstrip().startswith((")", "}"))):
            continue
        opens = depth < least
        if opens and line.lstrip().startswith((")", "}")):  # the end of a head, or "} else {"
            head = [line]
            while at < len(lines) and (_depth(lines[at]) > depth or not lines[at].strip()):
                head.append(lines[at])
                at += 1
            if at < len(lines):
                head.append(lines[at])
                at += 1
            line = "\n".join(part.strip() for part in reversed(head))
            if len(line) > MAX_HEAD:
                line = ""
        elif len(line) > MAX_LINE:
            line = ""
        if opens:
            least = depth
        yield line, opens
        if least == 0 and opens:
            return


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


# ---- Go --------------------------------------------------------------------------------------------------------------

_GO_RECEIVER = re.compile(r"func\s*\(\s*(\w+)\s+([^),]+)\)\s*\w")
_GO_RANGE = re.compile(r"for\s+(?:\w+\s*,\s*)?(\w+)\s*:=\s*range\s+(.+?)\s*\{\s*$")
_GO_SHORT = re.compile(r"(?:^|\bif |\bfor |\bswitch |;)\s*(\w+(?:\s*,\s*\w+)*)\s*:=\s*(?!range\b)(.+)")
_GO_VAR = re.compile(r"^\s*var\s+(\w+)\s+([^=\s][^=]*?)\s*(?:=.*)?$")
_GO_VALUE = re.compile(r"^\s*var\s+(\w+)\s*=\s*(.+)")


def _go(line: str, *, opens: bool) -> Iterator[tuple[str, Bound]]:
    if opens:
        if (receiver := _GO_RECEIVER.search(line)) is not None:
            yield receiver[1], Bound(type=receiver[2])
        for match in re.finditer(r"\bfunc\b(?:\s*\([^)]*\)\s*(?=\w))?\s*\w*(?:\[[^\]]*\])?", line):
            yield from _parameters(line, match.end(), GO)
        if (ranged := _GO_RANGE.search(line)) is not None:
            yield ranged[1], Bound(code=ranged[2], part="element")
    elif line.rstrip().endswith("{") and re.match(r"\s*(?:if|for|switch|select|func)\b", line):
        return  # what it binds holds only in its block
    if (short := _GO_SHORT.search(line)) is not None:
        names = [name.strip() for name in short[1].split(",")]
        code = split(short[2].rstrip(" {"), ";")[0] if opens else short[2]
        for n, name in enumerate(names):
            if name != "_":
                yield name, Bound(code=code, part=n if len(names) > 1 else "")
    elif (declared := _GO_VAR.match(line)) is not None:
        yield declared[1], Bound(type=declared[2])
    elif (valued := _GO_VALUE.match(line)) is not None:
        yield valued[1], Bound(code=valued[2])


# ---- JavaScript and TypeScript ---------------------------------------------------------------------------------------

_DECLARED = re.compile(r"\b(?:const|let|var)\s+([^\W\d][\w$]*)\s*(?::\s*([^=]+?))?\s*=(?![=>])\s*(.*)")
_TYPED = re.compile(r"\b(?:let|var)\s+([^\W\d][\w$]*)\s*:\s*([^=;]+);?\s*$")
_TAKEN_APART = re.compile(r"\b(?:const|let|var)\s*\{([^{}]*)\}\s*(?::\s*([^=]+?))?\s*=\s*(.+)")
_STATE = re.compile(r"\b(?:const|let)\s*\[\s*([^\W\d][\w$]*)\b[^\]]*\]\s*=\s*(?:\w+\.)?use(?:State|Reducer)<(.*)>\(")
_OF = re.compile(r"\bfor\s*(?:await\s*)?\(\s*(?:const|let|var)\s+([^\W\d][\w$]*)\s+of\s+(.*?)\)\s*\{?\s*$")
_CALLBACK = re.compile(
    r"([\w$.]+)\.(?:map|filter|forEach|find|findLast|some|every|flatMap|findIndex)\(\s*(?:async\s*)?\Z"
)
_ARROW = re.compile(r"(?<![\w$.])([^\W\d][\w$]*)\s*=>")
_BEHIND_PARAMETERS = re.compile(r"\s*(?::[^={]*)?(?:=>|\{)")


def _script(line: str, *, opens: bool) -> Iterator[tuple[str, Bound]]:
    if opens:
        for at in (n for n, char in enumerate(line) if char == "("):
            end = closing(line, at)
            if end > 0 and _BEHIND_PARAMETERS.match(line, end + 1) and not _is_condition(line, at):
                callback = _CALLBACK.search(line, max(0, at - NEAR), at)
                for name, bound in _parameters(line, at, "javascript"):
                    has_type = bound.type or callback is None
                    yield name, bound if has_type else Bound(code=callback[1] if callback else "", part="element")
        for arrow in _ARROW.finditer(line):
            if (callback := _CALLBACK.search(line, max(0, arrow.start() - NEAR), arrow.start())) is not None:
                yield arrow[1], Bound(code=callback[1], part="element")
        if (of := _OF.search(line)) is not None:
            yield of[1], Bound(code=of[2], part="element")
            return
    elif re.match(r"\s*(?:for|if|while|switch|catch|\} ?else)\b", line):
        return
    if (state := _STATE.search(line)) is not None:
        yield state[1], Bound(type=state[2])
    elif (apart := _TAKEN_APART.search(line)) is not None:
        yield from _parts(apart[1], Bound(type=apart[2] or "", code="" if apart[2] else apart[3]))
    elif (declared := _DECLARED.search(line)) is not None:
        kind = (declared[2] or "").strip()
        yield declared[1], Bound(type=kind) if kind else Bound(code=declared[3].rstrip().rstrip(";"))
    elif (typed := _TYPED.search(line)) is not None:
        yield typed[1], Bound(type=typed[2].strip())


def _is_condition(line: str, at: int) -> bool:
    return re.search(r"\b(?:if|for|while|switch|catch|with)\s*(?:await\s*)?\Z", line[:at]) is not None


# ---- both ------------------------------------------------------------------------------------------------------------


def _parameters(line: str, at: int, family: str) -> Iterator[tuple[str, Bound]]:
    """Yield those between the parentheses that open at ``at``, or after white space there."""
    at += len(line[at:]) - len(line[at:].lstrip())
    if line[at : at + 1] != "(" or (end := closing(line, at)) < 0:
        return
    for name, kind in parameters(line[at + 1 : end], family):
        if name.startswith("{"):
            yield from _parts(name.strip("{} "), Bound(type=kind))
        elif name.isidentifier() or name.replace("$", "_").isidentifier():
            yield name, Bound(type=kind)


def _parts(names: str, of: Bound) -> Iterator[tuple[str, Bound]]:
    """Yield what ``{ a, b: c, d = 1 }`` binds."""
    if not (of.type or of.code):
        return
    for part in split(names, ","):
        member, _, name = part.partition("=")[0].partition(":")
        member, name = member.strip(), name.strip() or member.strip()
        if member.isidentifier() and name.isidentifier():
            yield name, Bound(of.type, of.code, member)
