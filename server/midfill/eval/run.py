"""The run: one or two configurations in turn answer every hole; each answer is judged and written down at once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from midfill.eval import sandbox
from midfill.eval.about import rounded
from midfill.eval.ask import Answer, Asker
from midfill.eval.holes import Hole, split_of
from midfill.eval.humaneval import Task
from midfill.eval.metrics import judged
from midfill.types import MidfillError, Snapshot

BEFORE, AFTER = 400, 240  # characters around a hole that a record keeps for a human reader
LATENCIES = ("ttft_s", "total_s")
MAX_RECORD_BYTES = 256 << 20

Record = dict[str, Any]
Scorer = Callable[[Hole, Answer], dict[str, float]]
See = Callable[[Hole], Snapshot]


def judge_text(hole: Hole, answer: Answer) -> dict[str, float]:
    """Judge by what was taken out, without running tests."""
    return judged(hole, answer.text)


@dataclass(frozen=True, slots=True)
class ByTests:
    """Runs a task's tests on its prompt with the answer in the hole. Call ``sandbox.need`` first."""

    tasks: Mapping[str, Task]
    timeout_s: float = sandbox.TIMEOUT_S

    def __call__(self, hole: Hole, answer: Answer) -> dict[str, float]:
        """Judge by the tests, and by what was taken out.

        ``oracle``: whether the model's text passes when it is cut to the number of lines that were taken out, which is
        what stopping in the right place could reach.
        """
        found = {"passed": self._passes(hole, answer.text)}
        if hole.ends_with_line:
            lines = answer.raw.split("\n")[: hole.middle.count("\n") + 1]
            found["oracle"] = self._passes(hole, "\n".join(lines))
        return {**found, **judged(hole, answer.text)}

    def _passes(self, hole: Hole, text: str) -> float:
        return float(sandbox.run(program(self.tasks[hole.source], hole, text), timeout_s=self.timeout_s) == "passed")


def program(task: Task, hole: Hole, middle: str) -> str:
    """Return the task with ``middle`` in its hole, and its tests."""
    return f"{hole.prefix}{middle}{hole.suffix}\n{task.tests}\ncheck({task.entry_point})\n"


async def evaluate(
    holes: Sequence[Hole], askers: Mapping[str, Asker], judge: Scorer, see: See, on_record: Callable[[Record], None]
) -> list[Record]:
    """Let every configuration answer each hole in turn; a draw by the hole decides which is first. Raises EngineError.

    The configurations do not simply alternate: kinds of holes alternate as well, so one configuration would always
    begin at the same kinds.
    """
    records = []
    for hole in holes:
        names = list(askers)
        random.Random(hole.id).shuffle(names)  # noqa: S311 - the same order each time
        for name in names:
            answer = await askers[name].answer(see(hole))
            record = _record(name, hole, answer, judge(hole, answer))
            records.append(record)
            on_record(record)
    return records


def _record(who: str, hole: Hole, answer: Answer, metrics: dict[str, float]) -> Record:
    found: Record = rounded(
        {
            "who": who,
            "id": hole.id,
            "kind": hole.kind,
            "source": hole.source,
            "language": hole.language,
            "split": split_of(hole.source),
            "name": hole.name,
            "note": hole.note,
            "metrics": metrics,
            "ttft_s": answer.ttft_s,
            "total_s": answer.total_s,
            "finish_reason": answer.finish_reason,
            "before": hole.prefix[-BEFORE:],
            "middle": hole.middle,
            "after": hole.suffix[:AFTER],
            "text": answer.text,
            "raw": answer.raw,
            "stats": asdict(answer.stats),
            **answer.why,
        }
    )
    return found


def writer(out: TextIO | None) -> Callable[[Record], None]:
    """Return a function that writes each record as a line at once, so that a run that ends early leaves what it has."""

    def write(record: Record) -> None:
        if out is not None:
            out.write(json.dumps(record) + "\n")
            out.flush()

    return write


def read_records(file: Path) -> list[Record]:
    """Return what an earlier run wrote with --out. Raises MidfillError."""
    try:
        if file.stat().st_size > MAX_RECORD_BYTES:
            raise ValueError(f"more than {MAX_RECORD_BYTES >> 20} MiB")
        with file.open(encoding="utf-8") as lines:
            return list(_records(lines))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MidfillError(f"cannot read the records {file}: {reason}", "name a file that --out wrote") from error


def _records(lines: TextIO) -> Iterator[Record]:
    for line in lines:
        record = json.loads(line)
        if not isinstance(record, dict) or not isinstance(record.get("metrics"), dict) or "id" not in record:
            raise ValueError("a line is no record of midfill eval")
        yield record
