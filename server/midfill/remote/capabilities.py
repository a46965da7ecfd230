"""What an engine elsewhere can do, found out by asking it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["midfill", "vllm", "sglang", "llama.cpp", "text"]
NAMES: dict[Kind, str] = {
    "midfill": "midfill", "vllm": "vLLM", "sglang": "SGLang", "llama.cpp": "llama.cpp", "text": "text only",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Served:
    """A model that an engine lists. ``parent`` is an adapter's base, ``root`` where the model was loaded from."""

    id: str
    root: str = ""
    parent: str = ""
    max_model_len: int = 0  # tokens; 0: unknown


@dataclass(frozen=True, slots=True)
class Cancel:
    """The result of closing a stream. ``freed_s``: seconds until the slot was free; None: it was not freed, or it is
    unknown."""

    freed_s: float | None = None
    why: str = "not tried"
    swallowed: bool = False

    def __str__(self) -> str:
        return f"frees its slot in {1000 * self.freed_s:.0f} ms" if self.freed_s is not None else self.why


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One replica's row of the table. ``base`` is the name of the base model there."""

    kind: Kind
    base: str
    models: tuple[Served, ...] = ()
    version: str = ""
    takes_ids: bool = False
    same_ids: str = ""  # how it was found that its tokenizer has our ids; "": it was not found
    returns_ids: bool = False
    tells_logprobs: bool = False
    gives_several: bool = False  # candidates: midfill's engine gives several in one request, other engines one
    has_priority: bool = False
    cancel: Cancel = Cancel()

    @property
    def binds(self) -> bool:
        """Whether it supports a forced prefix, which token healing needs."""
        return self.kind == "midfill"

    @property
    def max_context(self) -> int:
        """Tokens that the base model accepts; 0: unknown."""
        return next((model.max_model_len for model in self.models if model.id == self.base), 0)

    @property
    def adapters(self) -> tuple[str, ...]:
        """The adapters that it lists; it may load others on request."""
        return tuple(
            model.id for model in self.models if model.parent or (self.kind == "midfill" and model.id != self.base)
        )

    def rows(self) -> Iterable[tuple[str, str]]:
        """Return the table for users."""
        yield "kind", f"{NAMES[self.kind]} {self.version}".strip()
        yield "model", self.base + (f", {self.max_context:,} tokens" if self.max_context else "")
        yield "adapters", ", ".join(self.adapters) or "none listed"
        yield "token ids", "taken" if self.takes_ids else "not taken: sentinels are sent as text"
        yield "tokenizer", f"its ids are ours ({self.same_ids})" if self.same_ids else "not compared: text is sent"
        yield "ids returned", _yes(self.returns_ids, "its own text is shown")
        yield "log probabilities", _yes(self.tells_logprobs, "nothing is hidden for want of confidence")
        each = "yes, a request each" if self.gives_several and self.kind != "midfill" else ""
        yield "several candidates", each or _yes(self.gives_several, "one is asked for")
        yield "priority", _yes(self.has_priority, "requests ahead of the user wait in the same queue")
        yield "token healing", _yes(self.binds, "the prompt holds the begun word")
        yield "cancel", str(self.cancel)


def _yes(can: bool, otherwise: str) -> str:
    return "yes" if can else f"no: {otherwise}"
