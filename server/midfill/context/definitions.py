"""Where the names near the cursor, or their classes, are defined, as the editor's other language servers say.

Only a position comes from them: what is shown of it is what the index has of that place, so no file is read because a
client named it. Of what is not in the index, a library's function, the head that they show may be used.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from midfill.context.knowledge.places import OWN, call_inside, receiver_before, scope_of, uses_near
from midfill.context.secrets import is_denied
from midfill.syntax.calls import CONSTRUCTS
from midfill.types import Snapshot

MAX_ASKED = 4  # names that a client is asked about at once
MAX_KEPT = 12  # names of a document that are kept, the latest
MAX_DOCUMENTS = 50
MAX_TARGETS = 3  # of a name
MAX_HOVER, MAX_HEAD = 4000, 300  # characters that are read, and shown
FRESH_S = 45.0  # a name is asked about again after this long
_WORD = re.compile(r"[^\W\d]\w*")
_BLOCK = re.compile(r"```[\w+#.-]*\n(.*?)\n```", re.DOTALL)
# ``(function) def f(a)``, ``(method) Shop.find(a)``, ``(alias) function f(a)``, ``class A(a)``
_HEAD = re.compile(
    r"(?:\((?:function|method|class|alias|constructor)\) )?((?:(?:async|def|class|function|func) )*[\w.]+\(.*)"
)


@dataclass(frozen=True, slots=True)
class NameQuery:
    """A name to ask about. ``of_type``: its class is wanted, not the name's own place."""

    name: str
    at: int
    of_type: bool


@dataclass(frozen=True, slots=True)
class Target:
    """A place in a file: its absolute path, or its key in the index; ``row`` from 0."""

    path: str
    row: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a name is. ``head``: that of a function or a class, as the other server shows it; or ""."""

    name: str
    targets: tuple[Target, ...]
    head: str = ""


@dataclass(frozen=True, slots=True)
class _ToldName:
    scope: str
    at: float
    what: Resolved


class Definitions:
    """What was said of each document's names."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, dict[str, _ToldName]] = OrderedDict()

    def wanted(self, snapshot: Snapshot) -> tuple[NameQuery, ...]:
        """Return what a client should ask about, the cursor's own first: the callee, the receiver before the dot, and
        the receivers that are used near it."""
        now, scope = time.monotonic(), scope_of(snapshot)
        told = self._told.get(snapshot.uri, {})
        fresh = {name for name, one in told.items() if one.scope == scope and now - one.at < FRESH_S}
        found: dict[str, NameQuery] = {}
        for one in _names(snapshot):
            if one.name not in {*fresh, *OWN}:
                found.setdefault(one.name, one)
        return tuple(found.values())[:MAX_ASKED]

    def told(self, snapshot: Snapshot, targets: Sequence[Target], hover: str) -> bool:
        """Take what is said of the name at ``snapshot``; return whether that is news."""
        word = _WORD.match(snapshot.text, snapshot.cursor)
        if word is None:
            return False
        places = tuple(one for one in targets[:MAX_TARGETS] if not is_denied(one.path))
        head = head_in(hover) if len(places) == len(targets) and places else ""
        what = Resolved(word[0], places, head)
        table = self._told.get(snapshot.uri, {})
        before = table.get(word[0])
        others = [(name, one) for name, one in table.items() if name != word[0]][-MAX_KEPT + 1 :]
        self._told[snapshot.uri] = {**dict(others), word[0]: _ToldName(scope_of(snapshot), time.monotonic(), what)}
        self._told.move_to_end(snapshot.uri)
        while len(self._told) > MAX_DOCUMENTS:
            self._told.popitem(last=False)
        return bool(places) and (before is None or before.what != what)

    def at(self, snapshot: Snapshot) -> tuple[Resolved, ...]:
        """Return what is known of names in the cursor's scope."""
        told = self._told.get(snapshot.uri)
        if not told:
            return ()
        scope = scope_of(snapshot)
        return tuple(one.what for one in told.values() if one.scope == scope and one.what.targets)

    def forget(self, uri: str) -> None:
        """Forget a document that was closed."""
        self._told.pop(uri, None)


def _names(snapshot: Snapshot) -> list[NameQuery]:
    found: list[NameQuery] = []
    if (call := call_inside(snapshot.text, snapshot.cursor, snapshot.language)) is not None:
        found.append(_last_part(call[0].removeprefix(CONSTRUCTS), call[1] - 1, of_type=False))
    receiver = receiver_before(snapshot)
    if re.fullmatch(r"[\w.]+", receiver):
        begun = re.search(r"\.\w*\Z", snapshot.line_before)
        found.append(_last_part(receiver, snapshot.cursor - len(begun[0] if begun else ""), of_type=True))
    return found + [_last_part(name, at - 1, of_type=True) for name, at in uses_near(snapshot).items()]


def _last_part(name: str, end: int, *, of_type: bool) -> NameQuery:
    last = name.rpartition(".")[2]
    return NameQuery(last, end - len(last), of_type)


def head_in(hover: str) -> str:
    """Return the head of a function or a class from a hover's first block of code, on one line; "" if there is none."""
    block = _BLOCK.search(hover[:MAX_HOVER])
    found = _HEAD.match(" ".join(block[1].split())) if block is not None else None
    return found[1] if found is not None and len(found[1]) <= MAX_HEAD else ""


def with_keys(resolved: Sequence[Resolved], key_of: Callable[[str], str]) -> tuple[Resolved, ...]:
    """Return ``resolved`` with the index's keys in place of paths."""
    return tuple(
        replace(one, targets=tuple(replace(each, path=key_of(each.path)) for each in one.targets)) for one in resolved
    )
