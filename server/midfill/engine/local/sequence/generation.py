"""The decode loop: token ids in, token ids out, over steps that several generations share.

A generation says which tokens it wants evaluated: a piece of its prompt, or its last token followed by drafts. The
runner (forward/runner.py) evaluates the tokens of all generations in one forward pass, and each takes its logits.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch

from midfill.engine.local.forward.attention import ROWWISE, Rows
from midfill.engine.local.sequence.healing import Endless, ForcedPrefix, GivenAnswer
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.engine.local.sequence.logit_bias import LogitBias
from midfill.engine.local.sequence.prompt_lookup import Drafter
from midfill.types import MidfillError

# Prompt tokens evaluated in one forward pass: long enough to be fast, short enough to take turns.
PREFILL_CHUNK = 256


class OverflowedError(MidfillError):
    """The model's numbers are infinite or NaN: the content of the slot is useless."""

    def __init__(self) -> None:
        super().__init__("the model's numbers overflowed", 'set dtype = "bfloat16" or "float32"')


@dataclass(frozen=True, slots=True)
class Sampling:
    """``temperature`` 0 is greedy; otherwise nucleus sampling with ``top_p``. ``rank`` chooses the first token: 0 the
    most probable, 1 the next, and so on; for candidates that differ."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token and, if asked for (else NaN), its log probability before temperature; while a forced prefix is
    spelled, among the tokens that agree with it, and while a name may be, with the advantage of names."""

    id: int
    logprob: float


class Generation:
    """One answer being generated: the prompt in ``slot``, then token after token without end; the caller stops."""

    def __init__(
        self, slot: Slot, sampling: Sampling, *, forced_prefix: ForcedPrefix | GivenAnswer | None = None,
        drafter: Drafter | None = None, bias: LogitBias | None = None, logprobs: bool = False,
        endless: Endless | None = None,
    ) -> None:  # fmt: skip
        self._slot, self._sampling, self._forced_prefix, self._drafter = slot, sampling, forced_prefix, drafter
        self._n_prompt = len(slot.ids)
        self._random, self._logprobs, self._bias, self._endless = _random(sampling), logprobs, bias, endless
        self.n_drafted = self.n_accepted = 0

    @property
    def n_pending(self) -> int:
        """The number of prompt tokens still to be evaluated."""
        return self._slot.known.count(0)

    def rows(self, limit: int = PREFILL_CHUNK, max_drafts: int = 0) -> Rows:
        """Return what to evaluate next: at most ``limit`` prompt tokens, or the last token and
        at most ``max_drafts`` drafts, or all of a given answer."""
        slot = self._slot
        unknown = slot.unknown()
        positions = list(itertools.islice(unknown, limit))
        is_last = next(unknown, None) is None
        drafts = self._next(min(max_drafts, ROWWISE - len(positions))) if is_last else []
        positions += range(len(slot.ids), len(slot.ids) + len(drafts))
        slot.ids += drafts
        slot.known += bytes(len(drafts))
        return Rows(slot, [slot.ids[at] for at in positions], positions, len(drafts) + 1 if is_last else 0)

    def _next(self, limit: int) -> list[int]:
        """Return tokens to evaluate with the last one: a given answer at once, else at most ``limit`` drafts."""
        if isinstance(self._forced_prefix, GivenAnswer):
            return self._forced_prefix.spelled()[:-1]
        if limit <= 0:
            return []
        if self._forced_prefix is not None and not self._forced_prefix.met:
            return self._forced_prefix.spelled()[:limit]
        return self._drafter.draft(self._slot.ids, limit) if self._drafter is not None else []

    def take(self, rows: Rows, logits: torch.Tensor) -> list[Token]:
        """Return the tokens that ``logits`` (of ``rows``) decide: none until the prompt is read, then one and the
        drafts that were right. Raises OverflowedError for logits on a GPU."""
        if rows.n_logits == 0:
            return []
        slot, drafts = self._slot, list(rows.ids[len(rows.ids) - rows.n_logits + 1 :])
        n_kept = len(slot.ids) - len(drafts)
        tokens: list[Token] = []
        is_first = n_kept == self._n_prompt
        together = not logits.is_cpu and self._is_plain(is_first=is_first)
        best = most_likely(logits, logprobs=self._logprobs) if together else None
        for i in range(rows.n_logits):
            token = best[i] if best is not None else self._pick(logits[i], is_first=is_first and i == 0)
            tokens.append(token)
            if i < len(drafts) and drafts[i] != token.id:
                break
        slot.truncate(n_kept + len(tokens) - 1)
        slot.ids.append(tokens[-1].id)
        slot.known.append(0)
        self.n_drafted += len(drafts)
        self.n_accepted += len(tokens) - 1
        if self._drafter is not None and drafts:
            self._drafter.learn(len(drafts), len(tokens) - 1)
        return tokens

    def abandon(self, rows: Rows) -> None:
        """Forget the drafts of ``rows``, as their step did not happen."""
        if rows.n_logits > 1:
            self._slot.truncate(len(self._slot.ids) - rows.n_logits + 1)

    def _is_plain(self, *, is_first: bool) -> bool:
        """Whether the next tokens are simply the most likely ones."""
        is_met = self._forced_prefix is None or self._forced_prefix.met
        is_over = self._bias is None or self._bias.over
        ranked = is_first and self._sampling.rank > 0
        return is_met and is_over and self._random is None and not ranked and self._endless is None

    def _pick(self, logits: torch.Tensor, *, is_first: bool) -> Token:
        allowed = (
            self._forced_prefix.allowed() if self._forced_prefix is not None and not self._forced_prefix.met else None
        )
        rank = self._sampling.rank if is_first else 0
        favoured = self._bias.favour(logits) if self._bias is not None and not self._bias.over else logits
        if allowed is not None and float(favoured[allowed].max()) == -math.inf:  # no name continues as the word began
            favoured = logits
        choice = favoured if self._endless is None else self._endless.without_end(favoured)
        token = pick(choice, self._sampling, self._random, allowed, rank)
        if self._bias is not None and not self._bias.over:
            self._bias.advance(token)
        if self._forced_prefix is not None:
            self._forced_prefix.advance(token)
        if self._endless is not None:
            self._endless.advance(token)
        if not self._logprobs:
            return Token(token, math.nan)
        # With the advantage of names: what is known to be possible is more probable than the model alone says.
        is_free = allowed is None or isinstance(self._forced_prefix, GivenAnswer)
        possible = (favoured if is_free else favoured[allowed]).float()
        return Token(token, float(favoured[token].float() - possible.logsumexp(-1)))


def most_likely(logits: torch.Tensor, *, logprobs: bool) -> list[Token]:
    """Return the most likely token of each row of (n, vocabulary), all read back together: each read waits for the
    device.

    It is launched after the step while the device is busy, so a graph need not hold it. Raises OverflowedError.
    """
    largest, ids = logits.max(dim=-1)  # NaN counts as the largest
    found = [torch.where(largest.isfinite(), ids, -1).float()]  # exact: no vocabulary has 2**24 tokens
    if logprobs:
        found.append(largest.float() - logits.float().logsumexp(-1))
    chosen, *told = torch.stack(found).tolist()
    if min(chosen) < 0:
        raise OverflowedError
    values = told[0] if told else [math.nan] * len(chosen)
    return [Token(int(token), value) for token, value in zip(chosen, values, strict=True)]


def _random(sampling: Sampling) -> torch.Generator | None:
    if sampling.temperature <= 0:
        return None
    random = torch.Generator(device="cpu")
    if sampling.seed is not None:
        random.manual_seed(sampling.seed)
    else:
        random.seed()
    return random


def pick(
    logits: torch.Tensor, sampling: Sampling, random: torch.Generator | None, allowed: torch.Tensor | None = None,
    rank: int = 0,
) -> int:  # fmt: skip
    """Return the next token, among ``allowed`` ids if given. ``logits``: (vocabulary,)."""
    if allowed is not None:
        chosen = pick(logits[allowed], sampling, random, None, min(rank, len(allowed) - 1))
        return int(allowed[chosen])
    if rank:
        return int(logits.topk(rank + 1).indices[rank])
    if random is None:
        return int(logits.numpy().argmax()) if logits.dtype == torch.float32 and logits.is_cpu else int(logits.argmax())
    probabilities = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    if not probabilities[0].isfinite():
        raise OverflowedError
    ordered, order = probabilities.sort(descending=True)  # on the logits' device: a CPU takes 20 ms for 256,000
    before = ordered.cumsum(0) - ordered
    ordered[before >= sampling.top_p] = 0.0  # the first is always kept
    return int(order[int(torch.multinomial(ordered.cpu(), 1, generator=random))])
