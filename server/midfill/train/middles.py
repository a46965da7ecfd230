"""Held-out middles and how likely two adapters find them: the first measure of an adapter.

A middle's log likelihood tells more than whether the greedy answer equals it: every token counts, not only a hit, so a
few hundred middles show a difference of one percent where as many exact matches show nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from midfill.eval.figures import weighted_interval
from midfill.fim import FimRenderer
from midfill.train.collect import SourceText
from midfill.train.examples import Example, Maker

N_MIDDLES = 200
MAX_TOKENS = 512  # prompt and middle
N_TURNS = 40  # rounds in which each file gives a middle
MIN_ROWS = 10  # a kind or language with fewer middles has no row of its own
ALL, SEVERAL, ONE, END = "all tokens", "middles of several lines", "middles of one line", "where they end"


@dataclass(frozen=True, slots=True)
class HeldOutMiddle:
    """A held-out middle in its prompt."""

    file: str
    language: str
    example: Example
    n_lines: int


@dataclass(frozen=True, slots=True)
class Scored:
    """The nats that two adapters give a middle: its own tokens, and the token that ends it."""

    file: str
    language: str
    n_lines: int
    n_tokens: int  # without the end
    before: tuple[float, float]  # nats of all its tokens, and of the end
    after: tuple[float, float]

    @classmethod
    def of(cls, message: Mapping[str, Any]) -> Self:
        """Return the score read from a line of JSON."""
        pairs = {key: tuple(message[key]) for key in ("before", "after")}
        return cls(message["file"], message["language"], message["n_lines"], message["n_tokens"], **pairs)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """One row: mean nats per token before and after; ``low`` to ``high`` is the 95 % interval of after - before."""

    name: str
    n: int  # middles
    before: float
    after: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """After minus before, in nats per token; below 0 is better."""
        return self.after - self.before

    @property
    def is_better(self) -> bool:
        """Whether the loss surely fell."""
        return self.high < 0

    @property
    def is_worse(self) -> bool:
        """Whether the loss surely rose."""
        return self.low > 0

    @property
    def detectable(self) -> float:
        """The difference, in nats per token, that this many middles would have shown: half the interval."""
        return (self.high - self.low) / 2


def cut(files: Sequence[SourceText], renderer: FimRenderer, n: int = N_MIDDLES, seed: int = 1) -> list[HeldOutMiddle]:
    """Return at most ``n`` middles: every file gives one in turn until there are enough. The same ones each time."""
    maker = Maker(files, renderer, seed)
    rng = random.Random(f"{seed}:middles")  # noqa: S311 - the same middles each time
    order = list(range(len(files)))
    rng.shuffle(order)
    found: list[HeldOutMiddle] = []
    seen: set[tuple[int, ...]] = set()
    for _ in range(N_TURNS):
        for at in order:
            if len(found) == n:
                return found
            example = maker.draw_from(at, rng, MAX_TOKENS)
            if example is not None and example.ids not in seen:
                seen.add(example.ids)
                text = renderer.tokenizer.decode(example.ids[example.n_prompt : -1])
                found.append(
                    HeldOutMiddle(files[at].key, files[at].language, example, text.strip("\n").count("\n") + 1)
                )
    return found


def score(
    middles: Iterable[HeldOutMiddle],
    before: Callable[[Example], Sequence[float]],
    after: Callable[[Example], Sequence[float]],
) -> Iterator[Scored]:
    """Score each middle by both adapters, in turns."""
    for one in middles:
        first, second = ((math.fsum(nats[:-1]), nats[-1]) for nats in (before(one.example), after(one.example)))
        yield Scored(one.file, one.language, one.n_lines, one.example.n_labels - 1, first, second)


def table(scored: Sequence[Scored]) -> list[Likelihood]:
    """Return the rows: all tokens first, then one line, several lines, the ends, and the
    languages with enough middles."""
    groups: dict[str, list[Scored]] = {
        ONE: [one for one in scored if one.n_lines == 1],
        SEVERAL: [one for one in scored if one.n_lines > 1],
    }
    of_language: dict[str, list[Scored]] = {}
    for one in scored:
        of_language.setdefault(one.language, []).append(one)
    languages = sorted(of_language.items(), key=lambda item: (-len(item[1]), item[0])) if len(of_language) > 1 else []
    rows = [_row(ALL, scored, _whole)] if scored else []
    rows += [_row(name, group, _whole) for name, group in groups.items() if len(group) >= MIN_ROWS]
    rows += [_row(END, scored, _end)] if scored else []
    rows += [_row(name, group, _whole) for name, group in languages if len(group) >= MIN_ROWS]
    return rows


def _whole(one: Scored) -> tuple[float, float, int]:
    return sum(one.before), sum(one.after), one.n_tokens + 1


def _end(one: Scored) -> tuple[float, float, int]:
    return one.before[1], one.after[1], 1


def _row(name: str, scored: Sequence[Scored], of: Callable[[Scored], tuple[float, float, int]]) -> Likelihood:
    """Return the means over tokens; the interval is by bootstrap of whole files, whose middles resemble each other."""
    files: dict[str, list[tuple[float, float, int]]] = {}
    for one in scored:
        files.setdefault(one.file, []).append(of(one))
    values = [value for group in files.values() for value in group]
    n = sum(weight for _, _, weight in values)
    low, high = weighted_interval([
        (math.fsum(b - a for a, b, _ in group), sum(weight for _, _, weight in group)) for group in files.values()
    ])  # fmt: skip
    before, after = (math.fsum(value[at] for value in values) / n for at in (0, 1))
    return Likelihood(name, len(scored), before, after, low, high)


def as_figures(rows: Sequence[Likelihood]) -> list[dict[str, Any]]:
    """Return the rows for files and lines of JSON."""
    return [
        {
            "name": row.name, "n": row.n, "before": round(row.before, 4), "after": round(row.after, 4),
            "difference": round(row.difference, 4), "low": round(row.low, 4), "high": round(row.high, 4),
        }
        for row in rows
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """What the process that scores is told; flat, because it is sent as JSON. No folders: the base alone."""

    model: str
    device: str
    dtype: str
    template: str
    order: str
    before: tuple[str, ...]  # folders; those of a sum are added up
    after: tuple[str, ...]
    roots: tuple[str, ...]
    held_out: tuple[str, ...]
    languages: tuple[str, ...] = ()  # only files of these, and only those that the glob matches
    glob: str = ""
    all_files: bool = False
    n: int = N_MIDDLES
    seed: int = 1

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the job read from JSON."""
        named: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**named)

    @property
    def folders(self) -> tuple[list[Path], list[Path]]:
        """The folders of the two adapters, several if it is a sum; none: the base alone."""
        return [Path(folder) for folder in self.before], [Path(folder) for folder in self.after]
