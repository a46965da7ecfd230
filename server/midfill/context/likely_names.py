"""Names with which the text at the cursor probably begins: imports that the file does not use yet, after a dot the
known members of the receiver, and in a call the parameters that it has no argument for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from midfill.context.focus import receiver_in
from midfill.context.imports import imports_of
from midfill.context.kinds import family
from midfill.context.knowledge.names import NOTHING, Known, KnownNames
from midfill.syntax.calls import Given, Signature, missing
from midfill.types import USAGE, Snapshot, Snippet

MAX_TEXT = 200_000
# A file with more of them collects names for other files (``__init__.py``), and none is more likely than the rest.
MAX_UNUSED = 6
MAX_MEMBERS = 24
MAX_ONLY = 250  # names from which the model has to choose
_WORD = re.compile(r"\w+")
_BEGUN = re.compile(r"\w*\Z")
_IMPORT = re.compile(r"\s*(?:import|from|use|using|require|export|#include|package)\b")
# A member in a stub (context/signatures.py): indented, with its parameters, its type or its value.
_MEMBER = re.compile(
    r"^[ \t]+(?:(?:async|static|get|set|public|def|func|fn)[ \t]+)*([^\W\d]\w{1,60})[ \t]*[(:=]", re.MULTILINE
)


def likely_names(
    snapshot: Snapshot, snippets: Sequence[Snippet], known: Known = NOTHING
) -> tuple[tuple[str, ...], bool]:
    """Return the names, and whether there are no others.

    After a dot: what is ``known`` there, else the members in ``snippets`` and those that this file uses. Where an
    argument begins that has to be given by name: the names that are left. Elsewhere unused imports.
    """
    if known.here is not None and len(snapshot.text) <= MAX_TEXT:
        here = known.here
        if here.source == USAGE:  # guessed: what this file and the snippets say comes first
            here = replace(here, names=tuple(dict.fromkeys((*_members(snapshot, snippets), *here.names))))
        return _known(snapshot, here)
    if known.call is not None and (names := _by_name(snapshot, *known.call)):
        return names, False
    return _likely(snapshot, snippets), False


def _by_name(snapshot: Snapshot, signature: Signature, before: Given) -> tuple[str, ...]:
    """Return the parameters that are left, if the next argument is given by name (docs/log.md): one before it is, or
    none can be given by position any more."""
    n_taken = before.n_positions + sum(one.by_position and one.name in before.names for one in signature.parameters)
    is_full = not signature.any_position and n_taken >= signature.n_positions
    if not (before.names or is_full) or before.is_spread:
        return ()
    begun = _begun(snapshot)
    return tuple(name for name in missing(signature, before) if name.startswith(begun))[:MAX_MEMBERS]


def _begun(snapshot: Snapshot) -> str:
    word = _BEGUN.search(snapshot.line_before)
    return word[0] if word is not None else ""


def _known(snapshot: Snapshot, here: KnownNames) -> tuple[tuple[str, ...], bool]:
    """Return those that continue the begun word; special ones only if a word is begun."""
    begun = _begun(snapshot)
    names = [name for name in here.names if name.startswith(begun) and (begun or not name.startswith("__"))]
    if not names:  # the user is writing a word that is none of them, and knows why
        return (), False
    used, told = Counter(_WORD.findall(snapshot.text)), here.advantages
    names.sort(key=lambda name: (-told.get(name, 0.0), -used[name]))  # stable: otherwise in their order
    only = here.is_complete and len(names) <= MAX_ONLY
    return tuple(names[: MAX_ONLY if only else MAX_MEMBERS]), only


def _likely(snapshot: Snapshot, snippets: Sequence[Snippet]) -> tuple[str, ...]:
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
    names = {name for name in names if len(name) > 1 and name.isidentifier()}
    if names:
        said = Counter(word for word in _WORD.findall(snapshot.text) if word in names)
        yield from (name for name in names if said[name] == 1)


def _members(snapshot: Snapshot, snippets: Sequence[Snippet]) -> Iterator[str]:
    told = [name for snippet in snippets for name in _MEMBER.findall(snippet.text)]
    receiver = receiver_in(snapshot.line_before[-200:])
    if (
        not told or not receiver or not snapshot.line_before.endswith(f"{receiver}.")
    ):  # nothing is known of the value of a call
        return
    yield from re.findall(rf"\b{receiver}\.([^\W\d]\w*)", snapshot.text)
    yield from (name for name in told if not name.startswith("__"))
