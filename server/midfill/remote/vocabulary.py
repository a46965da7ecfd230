"""What is needed of the tokenizer while an engine elsewhere answers: ids to text and back, and its control ids.

The language server has its tokenizer in a process of its own (``serve.rendering``); commands have it here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from midfill.fim import Control, FimRenderer
from midfill.tokenizer import CodeTokenizer

MAX_HELD = 3  # byte tokens of one character that is not complete


@dataclass(frozen=True, slots=True)
class Facts:
    """What does not change of a tokenizer. ``stops`` are the names of what ends a middle, the likeliest first;
    ``sentinels`` the control tokens of the template, with their ids."""

    template: str
    control_ids: tuple[int, ...]
    stops: tuple[str, ...]
    sentinels: tuple[tuple[str, int], ...] = ()


class Vocabulary(Protocol):
    """A tokenizer, here or in another process."""

    async def facts(self) -> Facts:
        """What does not change."""
        ...

    async def encode(self, text: str) -> list[int]:
        """The ids of ``text`` as plain text."""
        ...

    async def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``, control tokens spelled out."""
        ...

    async def spell_safely(self, ids: Sequence[int]) -> str | None:
        """The same, if no text in it reads like a control token; None otherwise."""
        ...


class InlineVocabulary:
    """A tokenizer of this process."""

    def __init__(self, renderer: FimRenderer) -> None:
        self._renderer, self._tokenizer = renderer, renderer.tokenizer

    async def facts(self) -> Facts:
        """What does not change."""
        return facts_of(self._renderer)

    async def encode(self, text: str) -> list[int]:
        """The ids of ``text`` as plain text."""
        return self._tokenizer.encode(text)

    async def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``, control tokens spelled out."""
        return self._tokenizer.decode(ids)

    async def spell_safely(self, ids: Sequence[int]) -> str | None:
        """The same, if no text in it reads like a control token; None otherwise."""
        return spelled_safely(self._tokenizer, ids)


def facts_of(renderer: FimRenderer) -> Facts:
    """The facts of a renderer's template and tokenizer."""
    tokenizer, template = renderer.tokenizer, renderer.template
    control = tuple(sorted(tokenizer.control_ids))
    end = renderer.end_id
    likeliest = [tokenizer.decode([token]) for token in ([end] if end is not None else [])]
    stops = dict.fromkeys([*likeliest, *template.stops])
    ids = (tokenizer.id_of(part.names) for part in template.parts if isinstance(part, Control))
    sentinels = {tokenizer.decode([token]): token for token in ids if token in tokenizer.control_ids}
    sentinels = {name: token for name, token in sentinels.items() if "▁" not in name}  # a space, to some servers
    return Facts(template.name, control, tuple(stops), tuple(sentinels.items()))


def spelled_safely(tokenizer: CodeTokenizer, ids: Sequence[int]) -> str | None:
    """``ids`` as text with sentinels, or None where the code around them spells one: an engine that reads text could
    not tell them apart."""
    text, n_control = tokenizer.decode(ids), sum(token in tokenizer.control_ids for token in ids)
    names = {tokenizer.decode([token]) for token in tokenizer.control_ids}
    found = sum(text.count(name) for name in names if name)
    return text if found == n_control else None


class Decoded:
    """Ids to text as they come; bytes of a character that is not complete are held back."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._held: list[int] = []

    async def push(self, ids: Sequence[int]) -> str:
        """The text that became complete."""
        pending = [*self._held, *ids]
        for n_held in range(min(MAX_HELD, len(pending)) + 1):
            whole = pending[: len(pending) - n_held]
            text = await self._vocabulary.decode(whole) if whole else ""
            if not text.endswith("\N{REPLACEMENT CHARACTER}"):
                self._held = pending[len(whole) :]
                return text
        self._held = []  # no character has that many bytes: they are no text
        return await self._vocabulary.decode(pending)

    async def flush(self) -> str:
        """What is left at the end, without half a character."""
        text = await self._vocabulary.decode(self._held) if self._held else ""
        self._held = []
        return text.rstrip("\N{REPLACEMENT CHARACTER}")


def as_json(facts: Facts) -> dict[str, Any]:
    """For a pipe."""
    return asdict(facts)


def from_json(content: dict[str, Any]) -> Facts:
    """From one."""
    sentinels = tuple((str(name), int(token)) for name, token in content["sentinels"])
    return Facts(str(content["template"]), tuple(content["control_ids"]), tuple(content["stops"]), sentinels)
