"""Names that the text at the cursor probably begins with: those that the file imports and says nowhere else, and behind
a dot the members that are known of what stands before it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from midfill.context.imports import imports_of
from midfill.context.kinds import family
from midfill.types import Snapshot, Snippet

MAX_TEXT = 200_000
# A file with more of them collects names for others (``__init__.py``), and none is more likely than the rest.
MAX_UNUSED = 6
MAX_MEMBERS = 24
_WORD = re.compile(r"[^\W\d]\w*")
_IMPORT = re.compile(r"\s*(?:import|from|use|using|require|export|#include|package)\b")
_RECEIVER = re.compile(r"([^\W\d]\w{0,60}(?:\.[^\W\d]\w{0,60}){0,3})\.\Z")
# A member in a stub (context/signatures.py): indented, with its parameters, its type or its value.
_MEMBER = re.compile(
    r"^[ \t]+(?:(?:async|static|get|set|public|def|func|fn)[ \t]+)*([^\W\d]\w{1,60})[ \t]*[(:=]", re.MULTILINE
)


def wanted(snapshot: Snapshot, snippets: Sequence[Snippet]) -> tuple[str, ...]:
    """Unused imports; behind a dot the members that ``snippets`` tell of and those that this file uses."""
    before = snapshot.line_before
    if _IMPORT.match(before) or len(snapshot.text) > MAX_TEXT:
        return ()
    if before.endswith("."):
        return tuple(dict.fromkeys(_members(snapshot, snippets)))[:MAX_MEMBERS]
    if before.endswith(("->", "::")):
        return ()
    unused = sorted(_unused(snapshot))
    return tuple(unused) if len(unused) <= MAX_UNUSED else ()


def _unused(snapshot: Snapshot) -> Iterator[str]:
    names = {name for one in imports_of(snapshot.text, snapshot.path, family(snapshot.language)) for name in one.names}
    counts = dict.fromkeys(names, 0)
    for word in _WORD.findall(snapshot.text) if names else ():
        if word in counts:
            counts[word] += 1
    yield from (name for name, n in counts.items() if n == 1 and len(name) > 1 and name.isidentifier())


def _members(snapshot: Snapshot, snippets: Sequence[Snippet]) -> Iterator[str]:
    told = [name for snippet in snippets for name in _MEMBER.findall(snippet.text)]
    receiver = _RECEIVER.search(snapshot.line_before[-260:])
    if not told or receiver is None:
        return
    yield from re.findall(rf"(?<![\w.]){re.escape(receiver.group(1))}\.([^\W\d]\w*)", snapshot.text)
    yield from (name for name in told if not name.startswith("__"))
