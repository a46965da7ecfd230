"""Names that are about to be used: a small advantage for the tokens that spell one of them.

A name that a file imports and uses nowhere is nearly always what is being typed next (docs/log.md), and a small model
overlooks it. The advantage is added to the logits while the first word of a middle is chosen, and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from midfill.engine.local.sequence.healing import TokenIndex

# Added to the logits of a token with which a wanted name begins, and of one that continues it;
# half of it for many names.
BEGIN, GO_ON = 4.0, 2.5
MANY = 7
# If the list of names is complete, another word is chosen only if the model gives it this much probability: code that
# is being written may add the member next.
SURE = 0.9


class LogitBias:
    """The bias while the first word of a middle is chosen."""

    def __init__(
        self, names: Sequence[str], vocabulary: TokenIndex, *, only: bool = False, advantages: Sequence[float] = ()
    ) -> None:
        """``only``: there are no other names. ``advantages``: what each name gets in addition, in nats, if the model
        has no idea; none if empty."""
        self._only, self._is_whole = only, False
        self._names = dict(zip(names, advantages or [0.0] * len(names), strict=True))
        self._vocabulary, self._word = vocabulary, ""
        self._weight = 0.5 if len(names) >= MANY else 1.0
        self._given = 0.0  # of the additional advantages, by the tokens so far
        self._doubt = 1.0  # the share of them that counts

    @property
    def over(self) -> bool:
        """Whether the first word is whole, or none of the names."""
        return not self._names

    def favour(self, logits: torch.Tensor) -> torch.Tensor:
        """Return ``logits`` (vocabulary,) with the advantage added."""
        best = self._best()
        may_end = self._only and self._is_whole  # a whole name may end here, even if another one continues
        if not best or (may_end and not any(self._names.values()) and not self._given):
            return logits
        chosen = torch.tensor(sorted(best), device=logits.device)
        more = torch.tensor([best[token] - self._given for token in sorted(best)], device=logits.device)
        if not self._word:
            self._doubt = _doubt(logits[chosen] if self._only else logits)
        more = (more * self._doubt).to(logits.dtype)
        if self._only and not may_end:
            return self._restricted(logits, chosen, more)
        favoured = logits.clone()
        favoured[chosen] += more if may_end else more + self._weight * (GO_ON if self._word.strip() else BEGIN)
        return favoured

    def _restricted(self, logits: torch.Tensor, chosen: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
        """Return ``logits`` with only tokens that spell one of the names, unless the model is sure already. It is not
        asked whether the text ends before it begins: a name is missing there."""
        top = int(logits.argmax())
        begins = bool(self._word or self._vocabulary.text_of[top].strip())
        if begins and float(logits[top].float() - logits.float().logsumexp(-1)) > math.log(SURE):
            return logits
        kept = torch.full_like(logits, -torch.inf)
        kept[chosen] = logits[chosen] + more
        return kept

    def _best(self) -> dict[int, float]:
        """Return the tokens that spell the rest of a name, each with the greatest additional advantage of the names
        that it leads to."""
        best: dict[int, float] = {}
        n_written = len(self._word.strip())
        for name, advantage in self._names.items():
            rest = name[n_written:]
            rests = (rest, " " + rest) if not (self._word or self._only) else (rest,)
            for token in (token for one in rests for token in self._vocabulary.leading_to(one)):
                best[token] = max(advantage, best.get(token, -math.inf))
        return best

    def advance(self, token: int) -> None:
        """Record that ``token`` was chosen."""
        text = self._vocabulary.text_of[token]
        self._word = (self._word + text) if self._word else text.removeprefix(" ") or " "
        word = self._word.strip()
        self._is_whole = word in self._names
        going_on = {name: one for name, one in self._names.items() if name.startswith(word)}
        # What the token got is what its best name has: the rest of that name gets no more, the others less. A name that
        # is whole has its own, so that ending and going on are compared by what each of them deserves.
        self._given = self._names[word] if self._is_whole else max(going_on.values(), default=0.0)
        self._names = {name: one for name, one in going_on.items() if name != word}


def _doubt(logits: torch.Tensor) -> float:
    """Return how little the model knows which of some tokens comes, from 0 to 1: what other code tells counts where it
    does not know (docs/log.md)."""
    most = torch.softmax(logits.float(), dim=-1).max()
    return math.sqrt(max(0.0, 1.0 - float(most)))
