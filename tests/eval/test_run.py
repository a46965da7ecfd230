"""The run: each configuration answers every hole, and they take turns at beginning."""

from __future__ import annotations

from collections import Counter

from midfill.eval.ask import NO_STATS, Answer
from midfill.eval.holes import Hole
from midfill.eval.run import evaluate, judge_text
from midfill.types import Snapshot


class Says:
    def __init__(self, name: str, log: list[str]) -> None:
        self._name, self._log = name, log

    async def answer(self, snapshot: Snapshot) -> Answer:
        self._log.append(self._name)
        return Answer(self._name, self._name, "stop", NO_STATS, 0.1, 0.2, {"rules": ["cut"]})


async def test_who_begins_does_not_depend_on_the_kind() -> None:
    holes = [Hole("a.py", ("line", "block")[n % 2], "x = ", "one", "\n", id=f"h{n}") for n in range(80)]
    log: list[str] = []
    askers = {name: Says(name, log) for name in ("one", "other")}
    seen: list[str] = []
    records = await evaluate(holes, askers, judge_text, Hole.snapshot, lambda record: seen.append(record["id"]))
    assert len(records) == len(seen) == 160
    assert Counter(log) == {"one": 80, "other": 80}
    begins = Counter((hole.kind, log[2 * n]) for n, hole in enumerate(holes))
    assert min(begins[kind, name] for kind in ("line", "block") for name in askers) > 8
    right = {record["who"]: record["metrics"]["whole"] for record in records}
    assert right == {"one": 1.0, "other": 0.0}
    assert records[0]["rules"] == ["cut"]
