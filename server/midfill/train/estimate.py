"""``midfill train --estimate``: whether training on a repository is likely to pay, its time and
memory, within a minute or two."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from peft import PeftModel

from midfill.fim import FimRenderer
from midfill.train.collect import SourceText
from midfill.train.examples import Loss, Maker, batch
from midfill.train.memory import Need
from midfill.train.middles import HeldOutMiddle, cut
from midfill.train.steps import Stepper, losses

N_MIDDLES = 200  # middles whose words are looked at
N_READ = 24  # how many of them have their loss measured
MAX_READ_S = 40.0
N_STEPS = 3  # the first is not timed, as it includes what happens only once
MIN_LINE = 12  # characters: shorter lines are the same everywhere
_WORD = re.compile(r"[^\W\d]\w{3,}")
# Of six repositories, those with 91 to 98 % of the words known gained 7 to 12 % of the held-out loss, one with 83 %
# gained 3.5 %, in 100 to 150 steps (docs/log.md, 2026-11-30). Lower shares were not tried.
LIKELY, MAYBE = 0.9, 0.75
MIN_FILES = 40  # the gate shows little with fewer


@dataclass(frozen=True, slots=True)
class Estimate:
    """The result. Shares are between 0 and 1, ``step_s`` and ``middle_s`` in seconds, memory in bytes."""

    n_files: int
    n_held_out: int
    n_steps: int
    step_s: float
    middle_s: float  # to read a held-out middle once
    loss: float  # nats per token at held-out middles, before training
    known: float  # share of the words that held-out middles need and their prompts lack, that other files have
    repeated: float  # share of the held-out lines that other files also have
    memory: int
    memory_there: int

    @property
    def minutes(self) -> float:
        """Minutes of the steps alone."""
        return self.n_steps * self.step_s / 60

    @property
    def verdict(self) -> str:
        """One sentence for the user."""
        if self.n_files < MIN_FILES:
            return f"hard to tell: {self.n_files} files are few, and what they teach could hardly be shown"
        if self.known >= LIKELY:
            return "likely to pay: other files have most of what held-out code needs and its prompt lacks"
        if self.known >= MAYBE:
            return "may pay: other files have a part of what held-out code needs and its prompt lacks"
        return "unlikely to pay: held-out code needs little that other files have"


@dataclass(slots=True)
class Words:
    """The words and lines of the training files."""

    words: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)

    def add(self, text: str) -> None:
        """Count the words and lines of one file, each once."""
        self.words.update(set(_WORD.findall(text)))
        self.lines.update(set(_long_lines(text)))

    def known(self, middles: Sequence[tuple[str, str]]) -> float:
        """Return how many of the words that middles have and their prompts lack are counted here, as a share.

        ``middles``: pairs of (prompt, middle).
        """
        missing = [word for prompt, middle in middles for word in _missing(prompt, middle)]
        return sum(word in self.words for word in missing) / max(1, len(missing))

    def repeated(self, texts: Sequence[str]) -> float:
        """Return the share of the lines of ``texts`` that are counted here."""
        lines = [line for text in texts for line in _long_lines(text)]
        return sum(line in self.lines for line in lines) / max(1, len(lines))


def _missing(prompt: str, middle: str) -> list[str]:
    there = set(_WORD.findall(prompt))
    return [word for word in _WORD.findall(middle) if word not in there]


def _long_lines(text: str) -> list[str]:
    return [stripped for line in text.split("\n") if len(stripped := line.strip()) >= MIN_LINE]


def estimate(
    model: PeftModel, device: torch.device, renderer: FimRenderer, train: Sequence[SourceText],
    held_out: Sequence[SourceText], memory: Need, *, n_steps: int, n_tokens: int, accumulate: int, seed: int,
    loss: Loss, is_stopped: Callable[[], bool],
) -> Estimate:  # fmt: skip
    """Read some held-out middles and make a few steps; the caller drops ``model`` with their result."""
    middles = cut(held_out, renderer, N_MIDDLES, seed)
    words = Words()
    for file in train:
        words.add(file.text)
    nats, middle_s = _read(model, device, middles, is_stopped)
    step_s = _step_s(model, device, Maker(train, renderer, seed), n_tokens, accumulate, seed, loss)
    decode = renderer.tokenizer.decode
    pairs = [
        (decode(one.example.ids[: one.example.n_prompt]), decode(one.example.ids[one.example.n_prompt : -1]))
        for one in middles
    ]
    return Estimate(
        len(train), len(held_out), n_steps, step_s, middle_s, nats, words.known(pairs),
        words.repeated([file.text for file in held_out]), memory.total, memory.there,
    )  # fmt: skip


def _read(
    model: PeftModel, device: torch.device, middles: Sequence[HeldOutMiddle], is_stopped: Callable[[], bool]
) -> tuple[float, float]:
    """Return the mean loss per token of some middles, in nats, and the seconds per middle."""
    total, n_tokens, n, began = 0.0, 0, 0, time.monotonic()
    for one, nats in zip(middles, losses(model, (one.example for one in middles[:N_READ]), device), strict=False):
        total += nats * one.example.n_labels
        n_tokens, n = n_tokens + one.example.n_labels, n + 1
        if is_stopped() or time.monotonic() - began > MAX_READ_S:
            break
    return total / max(1, n_tokens), (time.monotonic() - began) / max(1, n)


def _step_s(
    model: PeftModel, device: torch.device, maker: Maker, n_tokens: int, accumulate: int, seed: int, loss: Loss
) -> float:
    """Return seconds per step: the least, as other work on the machine only adds."""
    stepper, found = Stepper(model, device, rate=1e-6, n_steps=N_STEPS), []
    for step in range(N_STEPS):
        batches = [batch(maker, step * accumulate + i, n_tokens, seed, loss) for i in range(accumulate)]
        began = time.monotonic()
        stepper.step(batches)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.monotonic() - began)
    return min(found[1:])
