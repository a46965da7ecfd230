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

    def __init__(self, names: Sequence[str], vocabulary: TokenIndex, *, only: bool = False) -> None:
        """``only``: there are no other names."""
        self._only, self._is_whole = only, False
        self._names, self._vocabulary, self._word = list(names), vocabulary, ""
        self._weight = 0.5 if len(names) >= MANY else 1.0

    @property
    def over(self) -> bool:
        """Whether the first word is whole, or none of the names."""
        return not self._names

    def favour(self, logits: torch.Tensor) -> torch.Tensor:
        """Return ``logits`` (vocabulary,) with the advantage added."""
        ids = [token for rest in self._rests() for token in self._vocabulary.leading_to(rest)]
        if not ids or (self._only and self._is_whole):  # a whole name may end here, even if another one continues
            return logits
        chosen = torch.tensor(sorted(set(ids)), device=logits.device)
        if self._only:
            return self._restricted(logits, chosen)
        favoured = logits.clone()
        favoured[chosen] += self._weight * (GO_ON if self._word.strip() else BEGIN)
        return favoured

    def _restricted(self, logits: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """Return ``logits`` with only tokens that spell one of the names, unless the model is sure of another one."""
        top = int(logits.argmax())
        if float(logits[top].float() - logits.float().logsumexp(-1)) > math.log(SURE):
            return logits
        kept = torch.full_like(logits, -torch.inf)
        kept[chosen] = logits[chosen]
        return kept

    def _rests(self) -> list[str]:
        """Return the rest of each name; at the start of a word also with a space in front."""
        rests = [name[len(self._word.strip()) :] for name in self._names]
        return rests + [" " + rest for rest in rests] if not (self._word or self._only) else rests

    def advance(self, token: int) -> None:
        """Record that ``token`` was chosen."""
        text = self._vocabulary.text_of[token]
        self._word = (self._word + text) if self._word else text.removeprefix(" ") or " "
        word = self._word.strip()
        self._is_whole = word in self._names
        self._names = [name for name in self._names if name != word and name.startswith(word)]
