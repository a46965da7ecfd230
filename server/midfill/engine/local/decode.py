"""The decode loop: token ids in, token ids out, the cancel flag read at every layer of every step."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from midfill.engine.local.kv_cache import Slot

# Tokens of a prompt evaluated in one forward pass: long enough to be fast, short enough to take turns.
PREFILL_CHUNK = 256


class Cancelled(Exception):  # noqa: N818 - not an error: somebody typed on
    """The request was cancelled; raised between two layers."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """``temperature`` 0 is greedy; otherwise nucleus sampling with ``top_p``."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


class Runner:
    """A model's forward pass over a slot, stoppable between layers."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._cancelled: threading.Event | None = None
        self.n_layers = int(model.config.get_text_config().num_hidden_layers)
        for layer in decoder_layers(model):
            layer.register_forward_pre_hook(self._check)

    def _check(self, *_: Any) -> None:
        if self._cancelled is not None and self._cancelled.is_set():
            raise Cancelled

    def forward(self, ids: Sequence[int], slot: Slot, cancelled: threading.Event | None = None) -> torch.Tensor:
        """Evaluate ``ids`` after what ``slot`` holds; the logits after the last of them: (vocabulary,).

        Raises Cancelled with the slot as it was before.
        """
        self._cancelled = cancelled
        try:
            self._check()
            tokens = torch.tensor([ids], dtype=torch.long, device=self._model.device)  # (1, tokens)
            out = self._model(input_ids=tokens, past_key_values=slot.cache, use_cache=True, logits_to_keep=1)
        except BaseException:
            slot.cache.truncate(len(slot.ids))
            raise
        finally:
            self._cancelled = None
        slot.ids.extend(ids)
        logits: torch.Tensor = out.logits[0, -1]
        return logits


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The stack of layers every token goes through: the longest list of modules."""
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(stacks, key=len)


def generate(
    runner: Runner, slot: Slot, prompt: Sequence[int], sampling: Sampling, cancelled: threading.Event
) -> Iterator[int | None]:
    """Yield the tokens after ``prompt`` without end; the caller stops at control ids and at its limit.

    Yields None after each piece of the prompt, so that requests can take turns. ``slot`` holds the beginning of
    ``prompt`` already (KVSlots.take). Raises Cancelled within one layer of the flag being set.
    """
    logits: torch.Tensor | None = None
    while (n_cached := len(slot.ids)) < len(prompt):
        logits = runner.forward(prompt[n_cached : n_cached + PREFILL_CHUNK], slot, cancelled)
        if len(slot.ids) < len(prompt):
            yield None
    assert logits is not None, "at least the prompt's last token is evaluated"
    random = None
    if sampling.temperature > 0:
        random = torch.Generator(device="cpu")
        if sampling.seed is not None:
            random.manual_seed(sampling.seed)
        else:
            random.seed()
    while True:
        token = pick(logits, sampling, random)
        yield token
        logits = runner.forward([token], slot, cancelled)


def pick(logits: torch.Tensor, sampling: Sampling, random: torch.Generator | None) -> int:
    """The next token. ``logits``: (vocabulary,)."""
    if random is None:
        return int(logits.argmax())
    probabilities = torch.softmax(logits.float().cpu() / sampling.temperature, dim=-1)
    ordered, order = probabilities.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    ordered[before >= sampling.top_p] = 0.0  # the first is always kept
    return int(order[torch.multinomial(ordered, 1, generator=random)])
