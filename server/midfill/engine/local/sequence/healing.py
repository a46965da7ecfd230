"""Token healing: the middle begins with the part of a word before the cursor, in the model's own tokens.

A cursor inside a word cuts a token in two, and models are bad at continuing from half a token. So the engine takes the
word's beginning off the prompt, and allows only first tokens that agree with it (Lundberg 2023, "The Art of Prompt
Design: Prompt Boundaries and Token Healing").
"""

from __future__ import annotations

import bisect
from collections.abc import Collection, Sequence

import torch

from midfill.tokenizer import CodeTokenizer

SPELLED = 256  # characters at a time: more than one step can verify


class TokenIndex:
    """The texts of all tokens, sorted, to find those that agree with a beginning."""

    def __init__(self, tokenizer: CodeTokenizer, size: int) -> None:
        texts = tokenizer.texts(size)
        # Parts of characters have no text of their own, and the text of control tokens does not count.
        usable = [(text, token) for token, text in enumerate(texts) if text and "\ufffd" not in text]
        usable.sort()
        self._texts = [text for text, _ in usable]
        self._ids = [token for _, token in usable]
        self._longest = max(map(len, self._texts), default=0)
        self.tokenizer = tokenizer
        self.text_of = texts

    def agreeing(self, forced_prefix: str) -> list[int]:
        """Return the tokens that begin with ``forced_prefix``, and those that it begins with."""
        low = bisect.bisect_left(self._texts, forced_prefix)
        high = bisect.bisect_left(self._texts, forced_prefix + "\U0010ffff")
        return self._ids[low:high] + self.leading_to(forced_prefix[:-1])

    def leading_to(self, text: str) -> list[int]:
        """Return the tokens that ``text`` begins with."""
        ids = []
        for n in range(1, min(len(text), self._longest) + 1):
            at = bisect.bisect_left(self._texts, text[:n])
            while at < len(self._texts) and self._texts[at] == text[:n]:
                ids.append(self._ids[at])
                at += 1
        return ids


class Endless:
    """Text that control tokens do not end: where the model would end it within a line, the line ends."""

    def __init__(self, vocabulary: TokenIndex, control: Collection[int]) -> None:
        self._vocabulary, self._control = vocabulary, sorted(control)
        line_end = vocabulary.tokenizer.encode("\n")
        self._line_end = line_end[0] if len(line_end) == 1 else None
        self._in_line = False

    def without_end(self, logits: torch.Tensor) -> torch.Tensor:
        """Return ``logits`` (vocabulary,) without the tokens that would end the text."""
        control = torch.tensor(self._control, device=logits.device)
        if self._in_line and self._line_end is not None and bool((control == logits.argmax()).any()):
            control = torch.arange(len(logits), device=logits.device)
            control = control[control != self._line_end]
        return logits.index_fill(0, control, -torch.inf)

    def advance(self, token: int) -> None:
        """Record that ``token`` was chosen."""
        self._in_line = not self._vocabulary.text_of[token].endswith("\n")


class GivenAnswer:
    """The ids of an answer that is not chosen, only scored."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._left = list(ids)

    @property
    def met(self) -> bool:
        """Whether all of it is there."""
        return not self._left

    def allowed(self) -> torch.Tensor | None:
        """Return the id that comes next."""
        return torch.tensor(self._left[:1])

    def advance(self, token: int) -> None:
        """Record that ``token``, the next one, is there."""
        del self._left[:1]

    def spelled(self) -> list[int]:
        """Return the ids that are left."""
        return self._left


class ForcedPrefix:
    """The text a middle must begin with, as far as it is not generated yet."""

    def __init__(self, text: str, vocabulary: TokenIndex) -> None:
        self._left, self._vocabulary = text, vocabulary

    @property
    def met(self) -> bool:
        """Whether all of it is generated."""
        return not self._left

    def allowed(self) -> torch.Tensor | None:
        """Return the ids that may come next; None if no token fits: the rest of the prefix is then given up."""
        ids = self._vocabulary.agreeing(self._left)
        if not ids:
            self._left = ""
            return None
        return torch.tensor(ids)

    def advance(self, token: int) -> None:
        """Record that ``token`` was generated."""
        self._left = self._left[len(self._vocabulary.text_of[token]) :]

    def spelled(self) -> list[int]:
        """Return the next of the rest as the tokenizer would write it, without the last
        token, which may go beyond it."""
        return self._vocabulary.tokenizer.encode(self._left[:SPELLED])[:-1]
