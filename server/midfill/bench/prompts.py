"""The prompts of the benchmark: windows of real code that no engine has seen, and holes in a given number of tokens."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from midfill.bench.holes import read_module
from midfill.engine.base import GenerateRequest
from midfill.eval.holes import Hole
from midfill.fim import CHARS_PER_TOKEN, FimRenderer, FimTemplate, Prompt
from midfill.tokenizer import CodeTokenizer
from midfill.types import Snapshot

# Modules without holes, so that no window begins like the prompt of a hole.
MODULES = (
    "inspect", "typing", "subprocess", "tarfile", "doctest", "pydoc", "ast", "dataclasses", "enum", "locale", "socket",
    "smtplib", "imaplib", "ftplib", "threading", "traceback", "unittest.mock", "uuid", "weakref", "asyncio.base_events",
)  # fmt: skip
N_SENTINELS = 4  # one of them before the line that names the file
SUFFIX_SHARE = 4  # one token in this many is after the cursor, as in the renderer's own budget
WINDOW = "bench"  # the engine takes us for this editor window


class Windows:
    """Tokens of real code from a random place each time: no cache knows their beginning."""

    def __init__(self, tokenizer: CodeTokenizer, seed: int) -> None:
        self._texts = [tokenizer.encode(text) for name in MODULES if (text := read_module(name))]
        self._rng = random.Random(seed)  # noqa: S311 - the same windows each time

    def take(self, n_tokens: int) -> list[int]:
        """Return the next window."""
        ids = self._rng.choice([text for text in self._texts if len(text) > 2 * n_tokens])
        start = self._rng.randrange(len(ids) - n_tokens)
        return ids[start : start + n_tokens]


def shortened(hole: Hole, tokenizer: CodeTokenizer, n_tokens: int) -> Hole:
    """Return ``hole`` with just enough text around it for a prompt of ``n_tokens``.

    The window is cut here, once for each hole, so that every contender reads the same text and it stays during typing.
    """
    n_suffix = n_tokens // SUFFIX_SHARE
    n_prefix = n_tokens - n_suffix - N_SENTINELS - len(tokenizer.encode(f"{hole.path}\n"))
    before = hole.prefix[-n_prefix * CHARS_PER_TOKEN :]
    _, starts = tokenizer.encode_with_offsets(before)
    before = before[starts[max(0, len(starts) - n_prefix)] :]
    after = hole.suffix[: n_suffix * CHARS_PER_TOKEN]
    _, starts = tokenizer.encode_with_offsets(after)
    after = after[: starts[n_suffix]] if len(starts) > n_suffix else after
    return dataclasses.replace(hole, prefix=before, suffix=after)


class Layouts:
    """The two ways of asking our engine: as the product does by default, and with nothing approximate."""

    def __init__(self, template: FimTemplate, tokenizer: CodeTokenizer, *, keeps_suffix: bool) -> None:
        self._healed = FimRenderer(template, tokenizer, heal=True)
        self._plain = FimRenderer(template, tokenizer)
        self._keeps_suffix = keeps_suffix

    def default(self, snapshot: Snapshot, n_tokens: int) -> GenerateRequest:
        """Return a request in which the suffix may be kept during typing (suffix shift) and the word at the cursor is
        healed."""
        prompt = _whole(self._healed, snapshot)
        suffix = prompt.suffix if self._keeps_suffix else None
        return GenerateRequest(
            prompt.ids, n_tokens, suffix=suffix, forced_prefix=prompt.forced_prefix, window=WINDOW, logprobs=True
        )

    def exact(self, snapshot: Snapshot, n_tokens: int) -> GenerateRequest:
        """Return a request without either."""
        return GenerateRequest(self.exact_ids(snapshot), n_tokens, window=WINDOW)

    def exact_ids(self, snapshot: Snapshot) -> tuple[int, ...]:
        """Return the plain prompt."""
        return _whole(self._plain, snapshot).ids


def continuation(ids: Sequence[int], n_tokens: int) -> GenerateRequest:
    """Return a request to continue plain text, one token at a time."""
    return GenerateRequest(tuple(ids), n_tokens, speculate=False, window=WINDOW)


def _whole(renderer: FimRenderer, snapshot: Snapshot) -> Prompt:
    """Return the product's prompt, uncut: the shortened text cannot reach this budget."""
    return renderer.render(snapshot, budget=(len(snapshot.text) + N_SENTINELS) * SUFFIX_SHARE)
