"""Before and after: an adapter is promoted only if it is better at files that it was not trained on.

It has to find held-out middles surely likelier (middles.py), in the number format that serves; and no
measure of what users see may fall:

Each adapter answers every hole twice, in turns: through the server's path, as a user would see it in a file by itself,
and by the bare model, which shows whether it stops. A third of the holes have several lines; these are also judged by
themselves. Differences are paired, with 95 % intervals by bootstrap over files.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from midfill.completer import Completer
from midfill.eval.ask import Answer, Bare, EndToEnd
from midfill.eval.figures import Difference
from midfill.eval.holes import Hole, is_leak_free
from midfill.eval.metrics import judged
from midfill.eval.repository import Cutter
from midfill.eval.run import Record
from midfill.eval.summary import ALL, paired
from midfill.train.collect import SourceText
from midfill.train.middles import ALL as ALL_TOKENS
from midfill.train.middles import END, ONE, Likelihood
from midfill.train.middles import SEVERAL as SEVERAL_LINES
from midfill.train.middles import as_figures as as_rows
from midfill.train.spans import FileSpans
from midfill.types import Snapshot

BEFORE, AFTER = "before", "after"
CUT = ("rest-of-line", "line", "block", "call-arguments", "mid-word")
SEVERAL = "several-lines"  # a third of the holes: a model that has seen few such holes stops too early there
SEVERAL_KINDS = ("lines", "body", "before-code")  # kinds of training spans, for any language
KINDS = (*CUT, SEVERAL)
MAX_TOKENS = 96  # of the bare model: nearly every hole is shorter
# The measures of the table and their names. Those that decide come first.
MEASURES = {
    "first_line": "exact match, first line",
    "whole": "exact match, whole",
    "similarity": "edit similarity",
    "stopped": "stopped by itself",
    "in_place": "stopped after as many lines",
    "n_decoded": "tokens decoded",
}
DECIDING = ("first_line", "whole", "similarity", "stopped", "in_place")
GUARDED = (ALL_TOKENS, ONE, SEVERAL_LINES, END)  # not each language: of many intervals, one misses the truth
MIN_FALL = 0.01  # of the loss: a sure fall may still be too small to notice
MAX_LOSS_OF_EXACT = 0.02  # a fall of the exact match that is too much even if it is not sure
MIN_HOLES = 20
MIN_SEVERAL = 10  # with fewer holes of several lines, these are not judged by themselves


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to promote, and why."""

    promoted: bool
    reason: str
    differences: tuple[Difference, ...]  # in the order of MEASURES: of all holes, then of those of several lines
    likelihood: tuple[Likelihood, ...] = ()


class Gate:
    """Answers a hole through the server and by the bare model."""

    def __init__(self, completer: Completer, bare: Completer) -> None:
        """``bare`` renders prompts as an endpoint would: it does not take a begun word off them."""
        self._server, self._bare = EndToEnd(completer), Bare(bare)

    async def answer(self, snapshot: Snapshot) -> Answer:
        """Return what is shown; ``why`` holds what the bare model did. Raises EngineError."""
        shown = await self._server.answer(snapshot)
        bare = await self._bare.answer(snapshot)
        return dataclasses.replace(
            shown, stats=bare.stats, why={"bare": bare.text, "stopped": bare.finish_reason == "stop"}
        )


def judge(hole: Hole, answer: Answer) -> dict[str, float]:
    """Return the metrics of what is shown, whether the bare model stopped by itself, and
    whether after as many lines."""
    found = judged(hole, answer.text)
    if not hole.first_line:  # the middle begins with a line end, so an empty first line would be right
        del found["first_line"]
    stopped = bool(answer.why["stopped"])
    n_lines = str(answer.why["bare"]).rstrip().count("\n")
    in_place = stopped and n_lines == hole.middle.rstrip().count("\n")
    return {**found, "stopped": float(stopped), "in_place": float(in_place)}


def holes(files: Sequence[SourceText], n: int, seed: int = 1) -> list[Hole]:
    """Return ``n`` holes in the held-out files, of every kind in turn; the files of a project see each other."""
    projects = sorted({file.project for file in files})
    n_each = n // len(projects) + len(KINDS)
    found: list[list[Hole]] = []
    for project in projects:
        own = [file for file in files if file.project == project]
        cut = Cutter({file.path: file.text for file in own}).cut(2 * n_each, CUT, seed)
        mixed = _mixed(cut, _several(own, n_each, seed), random.Random(f"{seed}:{project}"))  # noqa: S311
        found.append(
            [dataclasses.replace(hole, source=f"{project}/{hole.source}", id=f"{project}/{hole.id}") for hole in mixed]
        )
    turns = [hole for turn in range(n) for of_project in found for hole in of_project[turn : turn + 1]]
    return turns[:n]


def _several(files: Sequence[SourceText], n: int, seed: int) -> list[Hole]:
    """Return at most ``n`` holes of several lines, at most one for each file and kind, drawn as training draws them."""
    rng = random.Random(f"{seed}:{SEVERAL}")  # noqa: S311 - the same holes each time
    places = [(file, kind) for file in files for kind in SEVERAL_KINDS]
    rng.shuffle(places)
    found: list[Hole] = []
    for file, kind in places:
        span = FileSpans(file.text, file.language, f"{seed}").draw(kind, rng)
        if span is None or len(found) == n:
            continue
        before, middle, after = file.text[: span[0]], file.text[slice(*span)], file.text[span[1] :]
        if "\n" in middle.strip() and is_leak_free(before, middle, after):
            name = f"{file.path}:{span[0]}-{span[1]}:{SEVERAL}"
            found.append(Hole(file.path, SEVERAL, before, middle, after, file.path, name, file.language))
    return found


def _mixed(cut: list[Hole], several: list[Hole], rng: random.Random) -> list[Hole]:
    """Return two of ``cut`` for each of ``several``. Their order is drawn, as a project may give a single hole."""
    groups = [[*cut[2 * at : 2 * at + 2], *several[at : at + 1]] for at in range(max(len(cut), len(several)))]
    for group in groups:
        rng.shuffle(group)
    return [hole for group in groups for hole in group]


def see(hole: Hole) -> Snapshot:
    """Return the editor's view of a hole."""
    return hole.snapshot()


def decide(records: Sequence[Record], likelihood: Sequence[Likelihood]) -> Verdict:
    """Judge the records of BEFORE and AFTER, and the loss at held-out middles, which decides.

    What is shown only guards: exact matches are few, and show only large differences. No measure may be surely worse;
    the loss of all tokens must be surely less.
    """
    runs = {name: [record for record in records if record["who"] == name] for name in (BEFORE, AFTER)}
    differences = paired(runs[BEFORE], runs[AFTER])
    by_metric = {one.metric: one for one in differences if one.kind == ALL}
    several = {one.metric: one for one in differences if one.kind == SEVERAL and one.n >= MIN_SEVERAL}
    found = tuple(of[name] for of in (by_metric, several) for name in MEASURES if name in of)
    if len(runs[AFTER]) < MIN_HOLES:
        return Verdict(
            False, f"only {len(runs[AFTER])} holes could be cut: that shows nothing", found, tuple(likelihood)
        )
    for one in found:
        if one.metric in DECIDING and one.is_sure and one.difference < 0:
            return Verdict(False, f"worse: {name_of(one)}", found, tuple(likelihood))
    if by_metric["first_line"].difference < -MAX_LOSS_OF_EXACT:
        return Verdict(False, "the exact match fell", found, tuple(likelihood))
    for row in likelihood:
        if row.name in GUARDED and row.is_worse:
            return Verdict(False, f"worse: the loss of {row.name}", found, tuple(likelihood))
    fell = [row for row in likelihood if row.name == ALL_TOKENS and row.is_better]
    if not fell:
        return Verdict(False, "the held-out loss did not surely fall", found, tuple(likelihood))
    if -fell[0].difference < MIN_FALL * fell[0].before:
        return Verdict(False, f"the held-out loss fell by less than {MIN_FALL:.0%}", found, tuple(likelihood))
    better = [name_of(one) for one in found if one.metric in DECIDING and one.is_sure and one.difference > 0]
    return Verdict(True, f"better: {', '.join(['the held-out loss', *better])}", found, tuple(likelihood))


def name_of(one: Difference) -> str:
    """Return the name of a measure, and the holes it is measured on."""
    return MEASURES[one.metric] + (", several lines" if one.kind == SEVERAL else "")


def as_figures(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as figures for the files in the adapter's folder."""
    rows = [
        {
            "name": name_of(one), "metric": one.metric, "n": one.n, "before": round(one.a, 4),
            "after": round(one.b, 4), "low": round(one.low, 4), "high": round(one.high, 4),
        }
        for one in verdict.differences
    ]  # fmt: skip
    words = "promoted" if verdict.promoted else "not promoted"
    return {
        "promoted": verdict.promoted, "verdict": f"{words}: {verdict.reason}", "rows": rows,
        "likelihood": as_rows(verdict.likelihood),
    }  # fmt: skip
