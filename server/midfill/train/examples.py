"""Training examples: a hole rendered as the server's prompt, then the middle, then the token that ends it."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log
from typing import NamedTuple

from midfill.context.choose import choose
from midfill.context.focus import Focus
from midfill.context.index import Index
from midfill.context.outline import source_file
from midfill.context.view import View
from midfill.fim import FimRenderer
from midfill.train.collect import SourceText
from midfill.train.spans import NOTHING_BELOW, FileSpans, draw_kind
from midfill.train.weights import N_DRAWN, MiddleWeights
from midfill.types import MidfillError, Snapshot, Snippet

MIN_PROMPT = 64  # tokens
CONTEXT_SHARE = 0.6  # share of the examples that show snippets of other files, in a project of several files
MAX_PARSED = 512  # files whose spans are kept
N_TRIES = 50  # failed draws in a row before giving up
# How often a draw gives a certain text that the user accepted and kept, and at most any of them.
ACCEPTED_EACH, ACCEPTED_SHARE = 0.002, 0.1


@dataclass(frozen=True, slots=True)
class Example:
    """``ids`` are the prompt, the middle and its end; the loss is measured on those after the first ``n_prompt``."""

    ids: tuple[int, ...]
    n_prompt: int
    kind: str

    @property
    def n_labels(self) -> int:
        """The number of tokens of the middle and its end."""
        return len(self.ids) - self.n_prompt


@dataclass(frozen=True, slots=True)
class Loss:
    """Which tokens of an example are learned from, besides those of its middle, which weigh 1 each.

    ``prompt``: the share of the prompt's tokens, drawn anew for each example, as fill-in-the-middle models are trained
    on the whole row (Bavarian et al. 2022, arXiv:2207.14255). ``end``: the weight of the token that ends a middle: it
    is one of many tokens, but its place is half of what a completion is worth.
    """

    prompt: float = 0.0
    end: float = 1.0


MIDDLE = Loss()


@dataclass(frozen=True, slots=True)
class Batch:
    """Several examples in one row of tokens. Positions restart at each example, so that none sees the one before."""

    ids: tuple[int, ...]  # (tokens,)
    positions: tuple[int, ...]  # (tokens,)
    predicts: tuple[int, ...]  # (labels,) positions whose next token is a label
    labels: tuple[int, ...]  # (labels,)
    weights: tuple[float, ...]  # (labels,) of each label's loss
    n_examples: int

    @classmethod
    def of(
        cls, examples: Sequence[Example], loss: Loss = MIDDLE, rng: random.Random | None = None,
        control: Collection[int] = (),
    ) -> Batch:  # fmt: skip
        """Return ``examples`` one after another. ``rng`` draws the labels of prompts; a ``control`` id is never one."""
        rng = rng or random.Random(0)  # noqa: S311 - which labels, not a secret
        ids: list[int] = []
        positions: list[int] = []
        predicts: list[int] = []
        weights: list[float] = []
        for one in examples:
            prompt = [
                at for at in range(1, one.n_prompt)
                if loss.prompt and one.ids[at] not in control and rng.random() < loss.prompt
            ]  # fmt: skip
            middle = range(one.n_prompt, len(one.ids))
            predicts += (len(ids) + at - 1 for at in (*prompt, *middle))
            weights += [1.0] * (len(prompt) + len(middle) - 1) + [loss.end]
            positions += range(len(one.ids))
            ids += one.ids
        labels = tuple(ids[at + 1] for at in predicts)
        return cls(tuple(ids), tuple(positions), tuple(predicts), labels, tuple(weights), len(examples))


class DrawnPlace(NamedTuple):
    """A middle of the file number ``at``, in code points of its text."""

    at: int
    kind: str
    start: int
    end: int


class Maker:
    """Draws examples from files. What is drawn depends only on the random generator."""

    def __init__(
        self, files: Sequence[SourceText], renderer: FimRenderer, seed: int = 1, others: Sequence[SourceText] = (),
        ages: Mapping[str, int] | None = None, accepted: Sequence[DrawnPlace] = (),
    ) -> None:  # fmt: skip
        """``others``: files that prompts may show, and no example is cut from. ``ages``: draw by MiddleWeights; None:
        evenly. ``accepted``: middles that come besides. Raises MidfillError if the model has no fill-in-the-middle
        tokens."""
        end = renderer.end_id
        if end is None:
            raise MidfillError(
                "the model has no fill-in-the-middle tokens, so it cannot be trained to fill in",
                "choose a base that has them: CodeGemma, Qwen2.5-Coder, StarCoder2, Code Llama ...",
            )
        self._end, self._renderer, self._files, self._seed = end, renderer, files, seed
        self.control = renderer.tokenizer.control_ids  # never learned from a prompt
        self._sizes = [max(200, min(len(file.text), 20_000)) ** 0.5 for file in files]
        self._weights = None if ages is None else MiddleWeights(files, self._definers, ages)
        self._accepted = accepted
        self._indexes: dict[str, Index] = {}
        self._of_project: defaultdict[str, list[SourceText]] = defaultdict(list)
        for file in (*files, *others):
            self._of_project[file.project].append(file)
        self._spans = lru_cache(MAX_PARSED)(self._read)

    def draw(self, rng: random.Random, max_tokens: int) -> Example:
        """Return an example of at most ``max_tokens``. Raises MidfillError if N_TRIES draws give none."""
        for _ in range(N_TRIES):
            place = self._draw_place(rng)
            if place is not None and (example := self._cut(place, rng, max_tokens)) is not None:
                return example
        raise MidfillError("there is too little code to cut examples from", "add folders with more source files")

    def draw_from(self, at: int, rng: random.Random, max_tokens: int) -> Example | None:
        """Return an example from the file number ``at``; None if what was drawn does not fit."""
        place = self._span_in(at, draw_kind(rng), rng)
        return self._cut(place, rng, max_tokens) if place is not None else None

    def _draw_place(self, rng: random.Random) -> DrawnPlace | None:
        if self._accepted and rng.random() < min(ACCEPTED_SHARE, ACCEPTED_EACH * len(self._accepted)):
            return rng.choice(self._accepted)
        files = range(len(self._files))
        if self._weights is None:
            at = rng.choices(files, self._sizes)[0]
            return self._span_in(at, draw_kind(rng), rng)
        kind = draw_kind(rng)
        drawn = [self._span_in(at, kind, rng) for at in rng.choices(files, self._sizes, k=N_DRAWN)]
        found = [place for place in drawn if place is not None]
        return rng.choices(found, [self._weight(place) for place in found])[0] if found else None

    def _span_in(self, at: int, kind: str, rng: random.Random) -> DrawnPlace | None:
        span = self._spans(at).draw(kind, rng)
        return DrawnPlace(at, kind, *span) if span is not None else None

    def _weight(self, place: DrawnPlace) -> float:
        assert self._weights is not None
        file = self._files[place.at]
        imports = self._spans(place.at).imports(place.start, place.end)
        return self._weights.of(file, file.text[place.start : place.end], imports)

    def _cut(self, place: DrawnPlace, rng: random.Random, max_tokens: int) -> Example | None:
        """Return the example of a place; None if it does not fit."""
        file, kind, start, end = self._files[place.at], place.kind, place.start, place.end
        budget = round(exp(rng.uniform(log(MIN_PROMPT * 2), log(max_tokens))))
        below = "" if rng.random() < NOTHING_BELOW.get(kind, 0.0) else file.text[end:]
        text = file.text[:start] + below
        snapshot = Snapshot(f"file:///{file.path}", 0, file.language, text, start, path=file.path)
        snippets = self._snippets(file, snapshot, budget) if rng.random() < CONTEXT_SHARE else ()
        return self.of_hole(snapshot, file.text[start:end], snippets, kind, budget)

    def of_hole(
        self, snapshot: Snapshot, middle: str, snippets: Sequence[Snippet], kind: str, budget: int
    ) -> Example | None:
        """Return the example whose cursor is that of ``snapshot``; None if it does not fit into ``budget`` tokens."""
        encode = self._renderer.tokenizer.encode
        n_middle = len(encode(middle)) + 8  # + 8: the middle repeats a word begun before the cursor
        if budget - n_middle - 1 < MIN_PROMPT:
            return None
        prompt = self._renderer.render(snapshot, snippets, budget - n_middle - 1)
        ids = (*prompt.ids, *encode(prompt.forced_prefix + middle), self._end)
        return Example(ids, len(prompt.ids), kind) if len(ids) <= budget else None

    def _snippets(self, file: SourceText, snapshot: Snapshot, budget: int) -> Sequence[Snippet]:
        """Return the server's snippets from the project's other files. The index sees the file with its hole."""
        index = self._index(file.project)
        key = file.key
        whole = index.files.get(key)
        if whole is None or len(index.files) < 2:
            return ()
        index.put(source_file(key, file.path, file.language, snapshot.text))
        try:
            focus = Focus(key, file.path, file.language, snapshot.text, snapshot.cursor)
            return choose(View(index), focus, int(budget * self._renderer.SNIPPET_SHARE)).snippets
        finally:
            index.put(whole)

    def _definers(self, project: str, name: str) -> set[str]:
        return {found.file.key for found in self._index(project).defining(name)}

    def _index(self, project: str) -> Index:
        if project not in self._indexes:
            index = self._indexes[project] = Index()
            for file in self._of_project[project]:
                index.put(source_file(file.key, file.path, file.language, file.text))
        return self._indexes[project]

    def _read(self, at: int) -> FileSpans:
        file = self._files[at]
        return FileSpans(file.text, file.language, f"{self._seed}:{file.key}")


def batch(maker: Maker, step: int, n_tokens: int, seed: int = 1, loss: Loss = MIDDLE) -> Batch:
    """Return the examples of one step, the same each time: as many as fit into ``n_tokens``. Raises MidfillError."""
    rng = random.Random(f"{seed}:{step}")  # noqa: S311 - a resumed run sees the same
    examples: list[Example] = []
    left = n_tokens
    while left >= MIN_PROMPT * 2:
        examples.append(maker.draw(rng, left))
        left -= len(examples[-1].ids)
    return Batch.of(examples, loss, rng, maker.control)


def held_out(maker: Maker, n: int, max_tokens: int) -> Iterator[Example]:
    """Yield ``n`` examples, the same each time. Raises MidfillError."""
    rng = random.Random("held-out")  # noqa: S311
    for _ in range(n):
        yield maker.draw(rng, max_tokens)
