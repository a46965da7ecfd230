"""Invented members: which complaints of a type checker are about what a suggestion says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from midfill.eval.invented import METRIC, PYTHON, SCRIPT, Check, Denied, judged, pyright, tsc
from midfill.types import MidfillError

TEXT = "def total(order):\n    é = '𝄞'; return order.lines\n"
START = TEXT.index("lines")
ID = f"shop/orders.py:{START}-{START + 5}:member"


def record(text: str, **changes: Any) -> dict[str, Any]:
    made = {"who": "server", "id": ID, "language": "python", "middle": "lines", "text": text, "metrics": {}}
    return {**made, **changes}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.py").write_text(TEXT)
    return tmp_path


def unknown(*names: str) -> Check:
    """Complains of every one of ``names`` in the files that it is given."""

    def check(folder: Path, paths: Sequence[str]) -> Iterator[Denied]:
        for path in paths:
            for row, line in enumerate((folder / path).read_text().split("\n")):
                for name in names:
                    if name in line:
                        yield Denied(path, row, len(line[: line.index(name)].encode("utf-16-le")) // 2)

    return check


@pytest.mark.parametrize(("text", "unknown_names", "members"), [
    ("lines", ("prise",), []),
    ("prise", ("prise",), ["prise"]),
    ("prise + 1", ("prise",), ["prise"]),
    ("lines + prise", ("prise",), []),  # an undefined name, no member
    ("lines + order.\\\n  prise", ("prise",), ["prise"]),
    ("price", ("lines",), []),
    ("lines", ("lines",), []),  # the checker does not understand what stood there
    ("lines.first", ("lines", "first"), ["first"]),
    ("price", ("order",), []),  # not in what was inserted
])  # fmt: skip
def test_what_counts(root: Path, text: str, unknown_names: tuple[str, ...], members: list[str]) -> None:
    (found,) = judged(root, [record(text)], {PYTHON: unknown(*unknown_names)})
    assert found["members"] == members
    assert found["metrics"][METRIC] == float(bool(members))


def test_nothing_shown_is_no_suggestion_and_other_languages_are_left(root: Path) -> None:
    records = [record(""), record("prise", language="typescript"), record("prise", language="go")]
    (found,) = judged(root, records, {PYTHON: unknown("prise")})
    assert METRIC not in found["metrics"]


def test_answers_about_another_folder(root: Path) -> None:
    with pytest.raises(MidfillError, match="not a hole of this folder"):
        judged(root, [record("a", id="b.py:1-2:line")], {PYTHON: unknown()})


def program(folder: Path, says: str) -> str:
    """Write a program that prints ``says``; FOLDER in it is the folder in which it runs."""
    file = folder / "checker"
    file.write_text(f"#!/bin/sh\nsed \"s#FOLDER#$(pwd)#\" <<'EOF'\n{says}\nEOF\nexit 1\n")
    file.chmod(0o755)
    return str(file)


def test_pyright(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    row = TEXT.split("\n")[1]
    column = len(row[: row.index("lines")].encode("utf-16-le")) // 2
    where = {"start": {"line": 1, "character": column}}
    one = {"file": "FOLDER/shop/hole_0_orders.py", "range": where, "rule": "reportAttributeAccessIssue"}
    says = {"generalDiagnostics": [one, {**one, "rule": "reportMissingImports"}]}
    checker = pyright(program(tmp_path_factory.mktemp("bin"), json.dumps(says)))
    (found,) = judged(root, [record("prise", middle="prise")], {PYTHON: checker})
    assert found["members"] == []
    records = [record("prise"), record("lines")]
    assert [one["members"] for one in judged(root, records, {PYTHON: checker})] in ([["prise"], []], [[], []])


@pytest.mark.parametrize(("message", "members"), [
    ("error TS2339: Property 'prise' does not exist on type 'Order'.", ["prise"]),
    ("error TS2551: Property 'prise' does not exist on type 'Order'. Did you mean 'price'?", ["prise"]),
    ("error TS2339: Property 'prise' does not exist on type 'never'.", []),
    ("error TS2304: Cannot find name 'prise'.", []),
])  # fmt: skip
def test_tsc(tmp_path: Path, message: str, members: list[str]) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a.ts").write_text("const x = order.\n\n\n")
    says = "".join(f"hole_{n}_a.ts(1,17): {message}\n" for n in range(2))
    hole = record("prise", id="a.ts:16-16:member", language="typescript", middle=";")
    (found,) = judged(tmp_path / "w", [hole], {SCRIPT: tsc(program(tmp_path, says))})
    assert found["members"] == members


@pytest.mark.parametrize("check", [pyright, tsc])
def test_no_checker(root: Path, check: Any) -> None:
    records = [record("prise"), record("prise", language="typescript")]
    with pytest.raises(MidfillError, match="cannot run"):
        judged(root, records, dict.fromkeys((PYTHON, SCRIPT), check("/no/such/program")))


def test_a_checker_that_says_something_else(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(MidfillError, match="output cannot be read"):
        judged(root, [record("prise")], {PYTHON: pyright(program(tmp_path_factory.mktemp("bin"), "oops"))})
