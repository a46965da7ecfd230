"""Names that may follow a dot, and what callees take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from midfill.context import diagnostics
from midfill.syntax.calls import Certain, Given, Signature
from midfill.types import USAGE

# The sources: jedi, which reads the files; the editor's other language servers; the index of what files declare.
JEDI, CLIENT, INDEX = "jedi", "client", "index"
# By the names that the setting ``disabled_knowledge`` takes.
SOURCES = (JEDI, CLIENT, INDEX, USAGE, diagnostics.SOURCE)

MAX_NAMES = 5000  # of a list that is read; a longer one does not count as complete
# pyright, gopls and rust-analyzer call every list incomplete, so that they are asked again at the next key. Directly
# after a dot they return all members; servers that cut lists do so at 50 names (Java's) or more, all at a multiple of
# that (clangd 100, SourceKit 200). ``__x__`` do not count.
CUT_AT = 50
MAX_WHOLE = CUT_AT - 1
# Few keywords may follow a dot (Rust's ``await``). A list with more contains what is in scope: pyright returns that if
# it reads a broken line, ``f(self.`` above another call, differently.
MAX_KEYWORDS = 5
KEYWORD = 14  # a CompletionItemKind
MAX_NAME = 200  # characters
ACCESS = ".?:->"  # the names of TypeScript's server include the dot


@dataclass(frozen=True, slots=True)
class KnownNames:
    """The members of an expression. ``is_complete``: it has no others, as far as its language allows that to be
    known."""

    receiver: str  # as it is written before the dot: ``self.items``
    names: tuple[str, ...]  # the most frequently written first
    is_complete: bool
    source: str  # which source returned them
    advantages: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))  # by usage, in nats


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known at a cursor: ``here`` for what is before it, ``others`` for names near it, by receiver.

    ``calls``: what callees take, as they are written. ``call``: the one in whose parentheses an argument begins at the
    cursor, and what it has already.
    """

    here: KnownNames | None = None
    others: Mapping[str, KnownNames] = field(default_factory=lambda: MappingProxyType({}))
    calls: Mapping[str, Signature] = field(default_factory=lambda: MappingProxyType({}))
    call: tuple[Signature, Given] | None = None

    @property
    def only(self) -> tuple[str, ...]:
        """All names that may follow at the cursor; () if not all of them are known."""
        return self.here.names if self.here is not None and self.here.is_complete else ()

    @property
    def complete(self) -> dict[str, frozenset[str]]:
        """Every receiver whose members are all known, and these members."""
        every = [*self.others.values(), *([self.here] if self.here is not None else [])]
        return {one.receiver: frozenset(one.names) for one in every if one.is_complete}

    @property
    def certain(self) -> Certain:
        """What a middle may be held to."""
        return Certain(self.complete, {callee: one for callee, one in self.calls.items() if one.is_complete})


NOTHING = Known()


def name_of(one: Any) -> str:
    """Return a name from a text or a CompletionItem: what is inserted, without a call's parentheses; "" if it is not a
    name."""
    if isinstance(one, dict):
        one = one.get("filterText") or one.get("label")
    if not isinstance(one, str) or len(one) > MAX_NAME:
        return ""
    name = one.strip().lstrip(ACCESS).partition("(")[0]
    return name if name.isidentifier() or name.replace("$", "_").replace("-", "_").isidentifier() else ""


def is_whole(names: Sequence[str], n_items: int, *, is_open: bool, is_begun: bool) -> bool:
    """Whether a list from one server has all names. ``n_items``: its length before filtering; ``is_open``: its server
    calls it incomplete; ``is_begun``: it was requested after the beginning of a name, which may have filtered it."""
    n_plain = sum(not (name.startswith("__") and name.endswith("__")) for name in names)
    is_cut = n_plain > MAX_WHOLE and n_items % CUT_AT == 0
    return len(names) <= MAX_NAMES and not (is_open and (is_cut or is_begun))
