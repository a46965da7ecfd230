"""What the gate lets through."""

from __future__ import annotations

from typing import Any

import pytest

from midfill.eval.ask import NO_STATS, Answer
from midfill.eval.holes import Hole
from midfill.eval.run import Record
from midfill.train import gate
from midfill.train.collect import SourceText
from midfill.train.middles import ALL, END, Likelihood
from tests.train.made import python_file

N = 60


def records(**after: tuple[float, float]) -> list[Record]:
    """N holes of 12 files; each metric's (share before, share after), the others half right in both."""
    found: list[Record] = []
    for number in range(N):
        for who, side in ((gate.BEFORE, 0), (gate.AFTER, 1)):
            metrics: dict[str, Any] = {}
            for name in gate.DECIDING:
                share = after.get(name, (0.5, 0.5))[side]
                metrics[name] = float((number * 7) % N < share * N)
            found.append({
                "who": who, "id": str(number), "kind": "line", "source": f"f{number % 12}", "metrics": metrics,
                "stats": {"n_decoded": 10}, "total_s": 1.0,
            })  # fmt: skip
    return found


def likelihood(
    fell: float = 0.1, end: float = 0.0, rust: float = 0.0, width: float = 0.01
) -> list[Likelihood]:  # fmt: skip
    """Rows with intervals of ``width`` to either side; ``fell``: the loss of all tokens, of 1."""
    return [
        Likelihood(name, 100, 1.0, 1.0 - less, -less - width, -less + width)
        for name, less in ((ALL, fell), (END, end), ("rust", rust))
    ]


@pytest.mark.parametrize(
    ("after", "rows", "promoted", "reason"),
    [
        ({}, likelihood(), True, "better: the held-out loss"),
        ({"first_line": (0.3, 0.7)}, likelihood(), True, "better: the held-out loss, exact match, first line"),
        ({}, likelihood(0.005), False, "the held-out loss did not surely fall"),
        ({}, likelihood(0.005, width=0.001), False, "the held-out loss fell by less than 1%"),
        ({"stopped": (0.0, 1.0)}, likelihood(0.0), False, "the held-out loss did not surely fall"),
        ({}, likelihood(-0.1), False, "worse: the loss of all tokens"),
        ({}, likelihood(end=-0.1), False, "worse: the loss of where they end"),
        ({}, likelihood(rust=-0.1), True, "better: the held-out loss"),
        ({"first_line": (0.7, 0.3)}, likelihood(), False, "worse: exact match, first line"),
        ({"similarity": (0.9, 0.2)}, likelihood(), False, "worse: edit similarity"),
        ({"first_line": (0.5, 0.45)}, likelihood(), False, "the exact match fell|worse: exact"),
        ({"first_line": (0.5, 0.51)}, [], False, "the held-out loss did not surely fall"),
    ],
)
def test_decide(after: dict[str, Any], rows: list[Likelihood], promoted: bool, reason: str) -> None:
    verdict = gate.decide(records(**after), rows)
    assert verdict.promoted is promoted
    assert any(verdict.reason.startswith(one) for one in reason.split("|"))
    figures = gate.as_figures(verdict)
    assert figures["promoted"] is promoted
    assert [row["n"] for row in figures["rows"]] == [N] * len(figures["rows"])


def test_a_middle_that_begins_with_a_line_end_has_no_first_line() -> None:
    hole = Hole("a.py", gate.SEVERAL, "def f():", "\n    a = 1\n    return a", "\n")
    nothing = gate.judge(hole, Answer("", "", "", NO_STATS, 0.0, 0.0, {"bare": "", "stopped": True}))
    assert "first_line" not in nothing
    assert (nothing["whole"], nothing["in_place"]) == (0.0, 0.0)


@pytest.mark.parametrize(("several", "promoted", "reason"), [
    ((0.5, 0.5), True, "better: the held-out loss, stopped by itself"),
    ((0.5, 1.0), True, "better: the held-out loss, stopped by itself"),
    ((0.9, 0.1), False, "worse: stopped after as many lines, several lines"),
])  # fmt: skip
def test_holes_of_several_lines_are_judged_by_themselves(
    several: tuple[float, float], promoted: bool, reason: str
) -> None:
    found = records(stopped=(0.0, 1.0))
    for one in found:  # 24 of 60 holes
        if int(one["id"]) % 5 < 2:
            one["kind"] = gate.SEVERAL
            share = several[one["who"] == gate.AFTER]
            one["metrics"]["in_place"] = float((int(one["id"]) * 7) % N < share * N)
        else:  # as much better as the others are worse
            one["metrics"]["in_place"] = float(one["who"] == gate.AFTER)
    verdict = gate.decide(found, likelihood())
    assert (verdict.promoted, verdict.reason.startswith(reason)) == (promoted, True), verdict.reason
    rows = {row["name"]: row["n"] for row in gate.as_figures(verdict)["rows"]}
    assert rows["stopped after as many lines, several lines"] == 24
    assert rows["stopped after as many lines"] == N


def test_few_holes_of_several_lines_decide_nothing() -> None:
    found = records(stopped=(0.0, 1.0))
    for one in found:
        if int(one["id"]) < gate.MIN_SEVERAL - 1:
            one["kind"] = gate.SEVERAL
            one["metrics"]["in_place"] = float(one["who"] == gate.BEFORE)
        else:
            one["metrics"]["in_place"] = float(one["who"] == gate.AFTER)
    verdict = gate.decide(found, likelihood())
    assert verdict.promoted, verdict.reason
    assert not [one for one in verdict.differences if one.kind == gate.SEVERAL]


def test_too_few_holes_show_nothing() -> None:
    few = [record for record in records(stopped=(0.0, 1.0)) if int(record["id"]) < gate.MIN_HOLES - 1]
    assert not gate.decide(few, likelihood()).promoted


@pytest.mark.parametrize(
    ("bare", "reason", "stopped", "in_place"),
    [
        ("return 1", "stop", 1.0, 1.0),
        ("return 2\n", "stop", 1.0, 1.0),
        ("return 1\n\ndef f():", "stop", 1.0, 0.0),
        ("return 1", "length", 0.0, 0.0),
    ],
)
def test_judge(bare: str, reason: str, stopped: float, in_place: float) -> None:
    hole = Hole("a.py", "line", "def f():\n    ", "return 1", "\n")
    answer = Answer("return 1", "", "", NO_STATS, 0.0, 0.0, {"bare": bare, "stopped": reason == "stop"})
    found = gate.judge(hole, answer)
    assert (found["stopped"], found["in_place"], found["first_line"]) == (stopped, in_place, 1.0)


def test_holes_come_from_every_project_in_turn() -> None:
    files = [SourceText(f"p{i % 3}", f"m{i}.py", "python", python_file(i)) for i in range(9)]
    found = gate.holes(files, 30)
    assert len(found) == 30
    assert [hole.source.split("/")[0] for hole in found[:3]] == ["p0", "p1", "p2"]
    assert len({hole.id for hole in found}) == 30
    assert {hole.kind for hole in found} == set(gate.KINDS)
    texts = {file.text for file in files}
    assert all(hole.prefix + hole.middle + hole.suffix in texts for hole in found)
    several = [hole for hole in found if hole.kind == gate.SEVERAL]
    assert 7 <= len(several) <= 13
    assert all("\n" in hole.middle.strip() for hole in several)
    assert found == gate.holes(files, 30)


def test_a_language_without_a_grammar_gives_holes_of_several_lines() -> None:
    page = "<ul>\n" + "".join(f"  <li>entry {n}\n    <b>{n * 7}</b>\n  </li>\n" for n in range(30)) + "</ul>\n"
    found = gate.holes([SourceText("p", f"page{i}.html", "html", page + f"<p>{i}</p>\n") for i in range(4)], 20)
    assert any(hole.kind == gate.SEVERAL and hole.language == "html" for hole in found)
