"""Members that do not exist: a name after a dot whose receiver does not have it, when all members of the receiver are
known."""

from __future__ import annotations

import re
from dataclasses import replace

from midfill.postprocess.arguments import drop_unfit_arguments
from midfill.postprocess.place import Place
from midfill.postprocess.rule import not_in_prose, rule
from midfill.syntax.calls import Certain
from midfill.syntax.lexical import scan
from midfill.types import Snapshot

# Characters before the cursor that are read.
HEAD = 200
_MEMBER = re.compile(r"(?<![\w.)\]\"'?])([^\W\d]\w*(?:\.[^\W\d]\w*)*)\.([^\W\d]\w*)")
# The member is created here: ``self.total = 0``, ``self.total: int``; a comparison does not match.
_BINDS = re.compile(r"\s*(?::(?!=)|=(?!=))")
_REBINDS = re.compile(r"^\s*(?:(?:async\s+)?for\s+)?([^\W\d]\w*)\s*(?:in\b|:?[^=!<>\n]*=(?!=))", re.MULTILINE)


@rule(not_in_prose)
def drop_invented(middle: str, place: Place) -> str:
    """End before a member that its receiver does not have. A word at the end may still become one that it has."""
    if not place.known.members or not middle:
        return middle
    head = place.before[-HEAD:]
    text, n_head = head + middle, len(head)
    rebound: set[str] = set()
    for match in _MEMBER.finditer(text):
        receiver, name = match[1], match[2]
        if match.end() <= n_head:
            continue
        rebound.update(one[1] for one in _REBINDS.finditer(text[n_head : match.start()]))
        start = max(match.start(2), n_head)
        names = place.known.members.get(receiver)
        if names is None or receiver.split(".")[0] in rebound or _exists(name, names, at_end=match.end() == len(text)):
            continue
        if _BINDS.match(text, match.end()) and not text[: match.start()].rpartition("\n")[2].strip():
            continue
        if scan(middle[: max(0, match.start() - n_head)], place.language, place.state).is_code:
            return middle[: start - n_head]
    return middle


def invents(text: str, snapshot: Snapshot, known: Certain) -> bool:
    """Whether ``text`` at the cursor names a member that its receiver lacks, or gives a callee what it does not
    take."""
    head = snapshot.line_before[-HEAD:] + text
    if not (known.calls or any(f"{receiver}." in head for receiver in known.members)):
        return False
    place = replace(Place.of(snapshot), known=known)
    return drop_invented(text, place) != text or drop_unfit_arguments(text, place) != text


def _exists(name: str, names: frozenset[str], *, at_end: bool) -> bool:
    return name in names or (at_end and any(known.startswith(name) for known in names))
