"""The summary of records, and paired differences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from midfill.eval import summary
from midfill.eval.run import Record, read_records
from midfill.types import MidfillError


def record(number: int, passed: float, *, kind: str = "line", source: str = "", **more: Any) -> Record:
    return {
        "who": "server", "id": f"h{number}", "kind": kind, "source": source or f"s{number}",
        "metrics": {"passed": passed, "shown": 1.0}, "ttft_s": 0.1, "total_s": 0.1 * (number + 1),
        "stats": {"n_prompt": 100 + number, "n_cached": 90, "n_decoded": 3}, **more,
    }  # fmt: skip


def test_shares_and_times() -> None:
    records = [record(n, float(n < 3)) for n in range(4)] + [record(4, 1.0, kind="block")]
    found = summary.of(records)
    assert list(found) == ["block", "line", "all"]
    assert (found["line"]["n"], found["line"]["passed"], found["all"]["passed"]) == (4, 0.75, 0.8)
    assert found["line"]["total_s_p50"] == pytest.approx(0.2)
    assert found["line"]["total_s_p95"] == pytest.approx(0.4)
    assert (found["all"]["n_decoded"], found["all"]["n_decoded_p50"], found["all"]["n_prompt_p50"]) == (15, 3, 102)
    low, high = found["line"]["passed_ci"]
    assert low <= 0.75 <= high


def test_notes_are_groups_of_their_own() -> None:
    records = [record(n, float(n < 2), kind="cross-file", note="imported" if n < 3 else "unseen") for n in range(4)]
    found = summary.of(records)
    assert {name: (row["n"], row["passed"]) for name, row in found.items()} == {
        "cross-file": (4, 0.5), "cross-file, imported": (3, pytest.approx(2 / 3)), "cross-file, unseen": (1, 0.0),
        "all": (4, 0.5),
    }  # fmt: skip


def test_paired() -> None:
    a = [record(n, 0.0) for n in range(40)]
    b = [record(n, float(n < 20)) for n in reversed(range(41))]  # another order, and one hole more
    passed, shown, seconds, tokens = summary.paired(a, b)
    assert (passed.metric, passed.n, passed.a, passed.b, passed.difference) == ("passed", 40, 0.0, 0.5, 0.5)
    assert 0.3 < passed.low < 0.5 < passed.high < 0.7
    assert passed.is_sure
    assert not shown.is_sure
    assert (seconds.metric, tokens.difference) == ("total_s", 0.0)
    assert summary.paired(a, [record(99, 1.0)]) == []


def test_holes_of_one_source_count_as_one() -> None:
    """Forty holes of two files say no more than two files do."""
    a = [record(n, 0.0, source=f"f{n % 2}") for n in range(40)]
    b = [record(n, float(n % 2), source=f"f{n % 2}") for n in range(40)]
    passed = summary.paired(a, b)[0]
    assert (passed.low, passed.high) == (0.0, 1.0)
    assert not passed.is_sure


@pytest.mark.parametrize("content", ["{", "[]\n", '{"id": 1}\n', '{"id": 1, "metrics": 2}\n', "[" * 100_000, "\udcff"])
def test_records_that_are_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(MidfillError, match="cannot read the records"):
        read_records(file)
    file.write_text(json.dumps(record(1, 1.0)) + "\n")
    assert len(read_records(file)) == 1
