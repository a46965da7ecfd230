"""The report at the end of a drive."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripts.drive.film import Back
from scripts.drive.judge import judge
from scripts.drive.report import Done
from scripts.drive.session import Look, Opening, Record

from scripts.drive import report, vscode


def look(shown: str, follows: str, after_key_s: float | None = 0.5) -> Look:
    judged = judge(shown, follows)
    return Look("kiln", "a.py", 1, 0, 1, "x = ", shown, follows, judged, after_key_s, bool(shown), {"confidence": 0.5})


def done(editor: str, *looks: Look) -> Done:
    record = Record(list(looks), [Opening("kiln", "a.py", 0.25)], n_typed=10, n_taken=5, n_wrong=1)
    return Done(editor, "kiln", "Python", record, [Back(1.0, "ab", "a", "", ())], 7, 60.0, 9.0)


@pytest.mark.parametrize(
    ("n", "of", "low", "high"),
    [(0, 0, 0.0, 1.0), (0, 10, 0.0, 0.278), (5, 10, 0.237, 0.763), (10, 10, 0.722, 1.0)],  # Wilson's tables
)
def test_wilson(n: int, of: int, low: float, high: float) -> None:
    assert report.wilson(n, of) == pytest.approx((low, high), abs=0.001)


def test_the_table_counts_by_editor_and_language() -> None:
    runs = [
        done("nvim", look("a + b", "a + b"), look("", "a", None)),
        done("vscode", look("zap", "a"), look("total + c", "total + b")),
    ]
    rows = [line.split() for line in report.table(runs)]
    assert rows[0] == ["editor", "language", "looks", "useful", "half", "right", "annoying", "nothing"]
    assert [row[:4] for row in rows[1:]] == [
        ["nvim", "Python", "2", "1"],
        ["vscode", "Python", "2", "0"],
        ["nvim", "all", "2", "1"],
        ["vscode", "all", "2", "0"],
        ["both", "all", "4", "1"],
    ]


def test_the_facts_name_frames_that_went_back() -> None:
    text = "\n".join(report.facts([done("nvim", look("a", "b", 0.5), look("a", "a", 0.0), look("", "a", None))]))
    assert "nothing: 1, of which the server had not answered yet at 1" in text
    assert "p50 0.50 s, p95 0.50 s of 1; at 1 more it stood already" in text
    assert "file opened to first text: a.py 0.25 s" in text
    assert "first look in each file, last key to ghost text: a.py 0.50 s" in text
    assert "frames that went back: 1" in text
    assert "'ab' → 'a'" in text


def test_the_files(tmp_path: Path) -> None:
    report.write(tmp_path / "out", [done("nvim", look("zap", "a"), look("a", "a"))], {"load": [1.0]})
    lines = (tmp_path / "out/annoying.jsonl").read_text().splitlines()
    assert [json.loads(line)["shown"] for line in lines] == ["zap"]
    assert json.loads(lines[0])["trace"] == {"confidence": 0.5}
    assert len((tmp_path / "out/looks.jsonl").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "out/backs.jsonl").read_text())["before"] == "ab"


@pytest.mark.parametrize(
    ("text", "row", "column", "offset"),
    [
        ("ab\ncd", 1, 1, 0),
        ("ab\ncd", 2, 3, 5),
        ("\tx = 1", 1, 5, 1),
        ("a\tb", 1, 5, 2),
        ("\t\tx", 1, 10, 3),
        ("a", 2, 1, -1),
    ],
)
def test_the_status_bar_counts_a_tab_as_its_columns(text: str, row: int, column: int, offset: int) -> None:
    assert vscode.offset(text, row, column) == offset
