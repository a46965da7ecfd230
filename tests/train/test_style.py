"""The style of a repository, and which answers follow it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from midfill.train import card, style
from midfill.train.collect import SourceText
from midfill.train.style import FEATURES, MIN_VOTES, StyleRow


@pytest.mark.parametrize(
    ("feature", "text", "votes"),
    [
        ("quotes", "a = 'x'\nb = \"y\"\n", {"single": 1, "double": 1}),
        ("quotes", 'a = "it\'s"\n', {}),  # the quote inside leaves no choice
        ("quotes", "# it's what they don't do\n", {}),
        ("quotes", 'def f():\n    """Say it."""\n', {}),
        ("quotes", "print(f'{a}', b'x')\n", {"single": 2}),
        ("names of several words", "a_b = aB(cD, x_y, Z_Z, Abc, self.a_b)", {"snake_case": 2, "camelCase": 2}),
        ("indentation", "if x:\n    y\n    z\nw\n", {"4 spaces": 1}),
        ("indentation", "if (x) {\n  y\n}\n", {"2 spaces": 1}),
        ("indentation", "func f() {\n\tif x {\n\t\ty()\n\t}\n}", {"tab": 2}),
        ("indentation", "call(a,\n     b)\n", {}),  # aligned with the line above
        ("trailing commas", "f(\n    a,\n    b,\n)\n", {"with": 1}),
        ("trailing commas", "f(\n    a,\n    b\n)\n", {"without": 1}),
        ("trailing commas", "f(\n)\n", {}),
        ("semicolons", "let a = b;\nlet c = d()\n", {"with": 1, "without": 1}),
        ("docstrings", 'def f():\n    """Do it."""\n\ndef g(a):\n    return a\n', {"with": 1, "without": 1}),
        ("return annotations", "def f() -> int:\n    x\n\nasync def g(a, b=1):\n    x\n", {"with": 1, "without": 1}),
        ("assertions in tests", "    assert x\n    self.assertEqual(a, b)\n", {"assert": 1, "self.assert": 1}),
        ("spaces in braces", "import { a } from b; f({c: d})", {"{ a }": 1, "{a}": 1}),
    ],
)
def test_votes(feature: str, text: str, votes: dict[str, int]) -> None:
    assert Counter(FEATURES[feature].votes(text)) == votes


def files(n_double: int, n_single: int) -> list[SourceText]:
    return [
        SourceText("p", "a.py", "python", "x = \"a\"\n" * n_double),
        SourceText("p", "b.py", "python", "x = 'a'\n" * n_single),
        SourceText("p", "c.go", "go", "x = \"a\"\n" * 50),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("n_double", "n_single", "found"),
    [(90, 10, "double"), (10, 90, "single"), (60, 40, None), (MIN_VOTES - 1, 0, None), (MIN_VOTES, 0, "double")],
)
def test_where_nearly_all_agree(n_double: int, n_single: int, found: str | None) -> None:
    assert style.styles(files(n_double, n_single)) == ({("quotes", "python"): found} if found else {})


def record(who: str, text: str, middle: str = 'y = "b"', language: str = "python") -> dict[str, Any]:
    return {"who": who, "text": text, "middle": middle, "language": language}


def test_which_answers_follow() -> None:
    before = [record("before", text) for text in ("y = 'b'", 'y = "b"', "y = 1", "", "f('a', 'b', \"c\")")]
    after = [record("after", text) for text in ('y = "b"', 'y = "c"', "y = 1", "", "f('a', \"b\")")]
    other = [record("after", "y = 'b'", language="go"), record("after", "y = 'b'", language="ruby")]
    (row,) = style.probe(files(90, 10), before, [*after, *other])
    assert row == StyleRow("quotes", "double", (1, 3), (2, 3), (5, 5))


def test_without_a_style_there_is_no_row() -> None:
    assert style.probe(files(60, 40), [record("before", "y = 'b'")], [record("after", "y = 'b'")]) == []
    assert style.probe([], [], []) == []


def test_figures_and_card() -> None:
    rows = style.as_figures([StyleRow("quotes", "double", (1, 4), (3, 4), (0, 0))])
    assert rows == [
        {"name": "quotes", "style": "double", "before": 0.25, "after": 0.75, "original": None,
         "n_before": 4, "n_after": 4, "n_original": 0}
    ]  # fmt: skip
    gate = {"promoted": True, "verdict": "promoted", "rows": [], "style": rows}
    lines = card._gate({"gate": gate, "loss": {"held_out_before": None, "held_out_after": None}})
    assert "| quotes | double | 25% of 4 | 75% of 4 | - |" in lines
