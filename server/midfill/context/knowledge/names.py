"""Names that may stand behind a dot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

# Who says them: a reading of the files by jedi, the editor's other language servers, the index of what files declare.
JEDI, CLIENT, INDEX = "jedi", "client", "index"
SOURCES = (JEDI, CLIENT, INDEX)  # by the names that the setting ``knowledge_off`` takes


@dataclass(frozen=True, slots=True)
class KnownNames:
    """The members of an expression. ``is_complete``: it has no others, as far as its language lets that be known."""

    receiver: str  # as it is written before the dot: ``self.items``
    names: tuple[str, ...]  # what people write most first
    is_complete: bool
    source: str  # who said so


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known at a cursor: ``here`` of what stands before it, ``others`` of names near it, by receiver."""

    here: KnownNames | None = None
    others: Mapping[str, KnownNames] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def only(self) -> tuple[str, ...]:
        """All names that may stand at the cursor; none where not all are known."""
        return self.here.names if self.here is not None and self.here.is_complete else ()

    @property
    def complete(self) -> dict[str, frozenset[str]]:
        """Every receiver whose members are all known, and these."""
        every = [*self.others.values(), *([self.here] if self.here is not None else [])]
        return {one.receiver: frozenset(one.names) for one in every if one.is_complete}


NOTHING = Known()
