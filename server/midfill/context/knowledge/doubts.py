"""Reasons to doubt that the names which another language server returned are all members of the receiver, or its
members at all. Each was seen with a real server (docs/log.md, "lists that are not complete")."""

from __future__ import annotations

import re
from collections.abc import Collection
from keyword import iskeyword

from midfill.syntax.calls import opened
from midfill.types import Snapshot

# Of classes that make up members. Servers return the members of ``object`` too, so ``__getattribute__`` says nothing.
MAKES_UP_MEMBERS = "__getattr__"
MAX_BEHIND = 400  # characters behind the cursor
# Environments have an index signature beside the few variables that are declared: ``process.env``.
_ENVIRONMENT = "env"
SCRIPT = frozenset({"typescript", "typescriptreact", "javascript", "javascriptreact", "vue", "svelte"})
# Without a project file, TypeScript's server takes the library of ES5 for granted: (names that it has, a name that
# ES2015 added beside them).
_ES5 = (
    (frozenset({"forEach", "lastIndexOf"}), "find"),  # arrays
    (frozenset({"charCodeAt", "localeCompare"}), "codePointAt"),  # strings
    (frozenset({"getOwnPropertyNames", "defineProperty"}), "assign"),  # Object
    (frozenset({"isArray", "prototype"}), "from"),  # Array
    (frozenset({"fromCharCode", "prototype"}), "raw"),  # String
    (frozenset({"MAX_VALUE", "NEGATIVE_INFINITY"}), "isInteger"),  # Number
    (frozenset({"atan2", "random"}), "trunc"),  # Math
)
_NEXT_NAME = re.compile(r"\s*([^\W\d]\w*)")
_SPACE = re.compile(r"\s+")


def is_misread(snapshot: Snapshot, names: Collection[str]) -> bool:
    """Whether ``names`` may belong to something else than the receiver before the cursor.

    In Python, where a name follows the cursor in the same expression, pyright takes it for the member and returns the
    members of the receiver's own receiver: those of ``self`` for ``self.reader.‸`` above ``self.reader.read,``. Line
    ends in brackets are spaces.
    """
    if snapshot.language != "python":
        return False
    behind = snapshot.text[snapshot.cursor : snapshot.cursor + MAX_BEHIND]
    follows = _NEXT_NAME.match(behind)
    if follows is None or follows[1] in names or iskeyword(follows[1]) or not _SPACE.match(behind):
        return False
    return "\n" not in behind[: follows.start(1)] or bool(opened(snapshot.text[: snapshot.cursor], "python"))


def may_have_more(language: str, receiver: str, names: Collection[str]) -> bool:
    """Whether ``receiver`` may have other members than ``names``."""
    if MAKES_UP_MEMBERS in names:
        return True
    if all(name.startswith("__") and name.endswith("__") for name in names):  # an ``object``: something else is meant
        return True
    if language not in SCRIPT:
        return False
    if receiver.rpartition(".")[2].lower().endswith(_ENVIRONMENT):
        return True
    known = frozenset(names)
    return any(has <= known and added not in known for has, added in _ES5)
