"""What the answer of an engine elsewhere needs of the tokenizer: ids to text and back, and its control ids.

The language server has its tokenizer in a process of its own (``serve.rendering``); commands have it in theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from midfill.fim import Control, FimRenderer
from midfill.tokenizer import CodeTokenizer

MAX_HELD = 3  # byte tokens of one incomplete character


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """What does not change about a tokenizer. ``stops`` are the names that end a middle, the likeliest first;
    ``sentinels`` are the template's control tokens, with their ids."""

    template: str
    control_ids: tuple[int, ...]
    stops: tuple[str, ...]
    sentinels: tuple[tuple[str, int], ...] = ()


class Vocabulary(Protocol):
    """A tokenizer, in this process or another."""

    async def facts(self) -> TokenizerFacts:
        """Return what does not change."""
        ...

    async def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` as plain text."""
        ...

    async def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids``, with control tokens spelled out."""
        ...

    async def spell_safely(self, ids: Sequence[int]) -> str | None:
        """Return the same, if no text in it reads like a control token; otherwise None."""
        ...


class InlineVocabulary:
    """A tokenizer in this process."""

    def __init__(self, renderer: FimRenderer) -> None:
        self._renderer, self._tokenizer = renderer, renderer.tokenizer

    async def facts(self) -> TokenizerFacts:
        """Return what does not change."""
        return facts_of(self._renderer)

    async def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` as plain text."""
        return self._tokenizer.encode(text)

    async def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids``, with control tokens spelled out."""
        return self._tokenizer.decode(ids)

    async def spell_safely(self, ids: Sequence[int]) -> str | None:
        """Return the same, if no text in it reads like a control token; otherwise None."""
        return spelled_safely(self._tokenizer, ids)


def facts_of(renderer: FimRenderer) -> TokenizerFacts:
    """Return the facts of a renderer's template and tokenizer."""
    tokenizer, template = renderer.tokenizer, renderer.template
    control = tuple(sorted(tokenizer.control_ids))
    end = renderer.end_id
    likeliest = [tokenizer.decode([token]) for token in ([end] if end is not None else [])]
    stops = dict.fromkeys([*likeliest, *template.stops])
    ids = (tokenizer.id_of(part.names) for part in template.parts if isinstance(part, Control))
    sentinels = {tokenizer.decode([token]): token for token in ids if token in tokenizer.control_ids}
    sentinels = {name: token for name, token in sentinels.items() if "▁" not in name}  # some servers read it as a space
    return TokenizerFacts(template.name, control, tuple(stops), tuple(sentinels.items()))


def spelled_safely(tokenizer: CodeTokenizer, ids: Sequence[int]) -> str | None:
    """Return ``ids`` as text with sentinels, or None if the code around them spells one: an engine that reads text
    could not tell them apart."""
    text, n_control = tokenizer.decode(ids), sum(token in tokenizer.control_ids for token in ids)
    names = {tokenizer.decode([token]) for token in tokenizer.control_ids}
    found = sum(text.count(name) for name in names if name)
    return text if found == n_control else None


class Decoded:
    """Turns ids into text as they come; the bytes of an incomplete character are held back."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._held: list[int] = []

    async def push(self, ids: Sequence[int]) -> str:
        """Return the text that became complete."""
        pending = [*self._held, *ids]
        for n_held in range(min(MAX_HELD, len(pending)) + 1):
            whole = pending[: len(pending) - n_held]
            text = await self._vocabulary.decode(whole) if whole else ""
            if not text.endswith("\N{REPLACEMENT CHARACTER}"):
                self._held = pending[len(whole) :]
                return text
        self._held = []  # no character has that many bytes: they are not text
        return await self._vocabulary.decode(pending)

    async def flush(self) -> str:
        """Return the rest at the end, without half a character."""
        text = await self._vocabulary.decode(self._held) if self._held else ""
        self._held = []
        return text.rstrip("\N{REPLACEMENT CHARACTER}")


def as_json(facts: TokenizerFacts) -> dict[str, Any]:
    """Return the facts for a pipe."""
    return asdict(facts)


def from_json(content: dict[str, Any]) -> TokenizerFacts:
    """Return the facts from a pipe."""
    sentinels = tuple((str(name), int(token)) for name, token in content["sentinels"])
    return TokenizerFacts(str(content["template"]), tuple(content["control_ids"]), tuple(content["stops"]), sentinels)
