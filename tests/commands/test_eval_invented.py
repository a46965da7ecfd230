"""``midfill eval invented``: the shares of two configurations, over several repositories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from midfill import cli

CHECKER = """#!/bin/sh
printf '{"generalDiagnostics": ['
comma=""
for file in $(find . -name 'hole_*' | xargs grep -l prise); do
  printf '%s{"file": "%s", "rule": "reportAttributeAccessIssue", "range": {"start": {"line": 1, "character": 17}}}' \
    "$comma" "$(pwd)/${file#./}"
  comma=","
done
printf ']}'
"""
TEXT = "def f(order):\n    return order.lines\n"


@pytest.fixture
def checker(tmp_path: Path) -> str:
    file = tmp_path / "checker"
    file.write_text(CHECKER)
    file.chmod(0o755)
    return str(file)


def answers(root: Path, **texts: str) -> Path:
    """The suggestions of each configuration at the hole of a made repository."""
    root.mkdir()
    (root / "a.py").write_text(TEXT)
    at = TEXT.index("lines")
    made = {"id": f"a.py:{at}-{at + 5}:member", "kind": "member", "source": "a.py", "language": "python"}
    lines = [
        {**made, "who": who, "middle": "lines", "text": text, "metrics": {"first_line": 0.0}}
        for who, text in texts.items()
    ]
    file = root.with_suffix(".jsonl")
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_shares(tmp_path: Path, checker: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = [answers(tmp_path / "one", on="lines", off="prise"), answers(tmp_path / "two", on="", off="lines")]
    out = tmp_path / "out.jsonl"
    files = [str(tmp_path / "one"), str(said[0]), str(tmp_path / "two"), str(said[1])]
    assert cli.main(["eval", "invented", *files, "--pyright", checker, "--out", str(out)]) == 0
    *shown, last = capsys.readouterr().out.splitlines()
    figures = json.loads(last)["figures"]
    found = {
        who: (row["n"], row["n_shown"], row["n_invented"]) for who, rows in figures.items() if (row := rows["all"])
    }
    assert found == {"on": (2, 1, 0), "off": (2, 2, 1)}
    assert "off: member: 1 of 2 shown (50.0%), 2 holes" in shown
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["members"] for record in records if "members" in record] == [[], ["prise"], []]
    assert {record["source"] for record in records} == {"one/a.py", "two/a.py"}


@pytest.mark.parametrize("argv", [["DIR"], ["DIR", "/no/such/file"]])
def test_what_is_refused(tmp_path: Path, argv: list[str]) -> None:
    assert cli.main(["eval", "invented", *(str(tmp_path) if part == "DIR" else part for part in argv)]) == 1


def test_answers_that_cannot_be_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = answers(tmp_path / "one", on="lines")
    file.write_text(file.read_text().replace('"python"', '"go"'))
    assert cli.main(["eval", "invented", str(tmp_path / "one"), str(file)]) == 1
    assert "none of these answers can be checked" in capsys.readouterr().err
