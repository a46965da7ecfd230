"""The three steps on a scripted engine; an interrupted run goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midfill import cli
from midfill.commands import answering
from midfill.types import MidfillError

Ask = Callable[..., tuple[str, dict[str, Any]]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a step on an engine that always says the same line of Python."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"chunks": ["import os", "\n", "\n", "x = 1", "\n"]}))
    monkeypatch.setenv("MIDFILL_SCRIPT", str(script))
    (tmp_path / "config.toml").write_text(
        'disabled_rules = ["drop_other_language"]\n'
    )  # else it shows none to be found
    monkeypatch.setenv("MIDFILL_CONFIG", str(tmp_path / "config.toml"))

    def run(*argv: str) -> tuple[str, dict[str, Any]]:
        assert cli.main(["eval", "languages", *argv]) == 0
        *shown, last = capsys.readouterr().out.splitlines()
        return "\n".join(shown), json.loads(last)

    return run


@pytest.fixture
def projects(tmp_path: Path) -> str:
    folder = tmp_path / "projects" / "python" / "shop"
    folder.mkdir(parents=True)
    body = "".join(f"def g_{n}(first):\n    total = first + {n}\n    return total\n\n\n" for n in range(80))
    (folder / "steps.py").write_text(body)
    return str(tmp_path / "projects")


def test_three_steps(ask: Ask, projects: str, tmp_path: Path) -> None:
    holes, a, b, out = (str(tmp_path / name) for name in ("holes.jsonl", "a.jsonl", "b.jsonl", "records.jsonl"))
    _, line = ask("cut", projects, "--per-group", "6", "--out", holes)
    assert line["n_holes"] > 206
    head = [one for one in Path(holes).read_text().splitlines(keepends=True) if '"id": "new:' not in one][:6]
    new = [
        one
        for one in Path(holes).read_text().splitlines(keepends=True)
        if '"new:lib.rs"' in one or '"new:main.py"' in one
    ]
    Path(holes).write_text("".join([*new, *head]))

    _, line = ask("answer", holes, "--out", a, "--limit", "3")
    assert line["n_answered"] == 3
    with Path(a).open("a", encoding="utf-8") as file:  # a run that was ended in the middle of a line
        file.write('{"id": "new:li')
    _, line = ask("answer", holes, "--out", a)
    assert line["n_answered"] == 5
    answers = [json.loads(row) for row in Path(a).read_text().splitlines()]
    assert len({answer["id"] for answer in answers}) == len(answers) == 8
    assert ask("answer", holes, "--out", b)[1]["n_answered"] == 8

    shown, line = ask("report", holes, a, b, "--out", out)
    figures = line["figures"]["a.jsonl"]
    assert figures["new files"]["wrong_language"] == 0.5  # Python in lib.rs, and in main.py
    assert (figures["python"]["n"], figures["all"]["n"]) == (6, 8)
    assert {"first_line", "whole", "shown", "repeats_suffix", "breaks", "shown_at_headers"} <= figures["python"].keys()
    assert "Python" in shown
    assert "answers in another language" in shown
    assert all(one["difference"] == 0 for one in line["paired"] if one["metric"] != "total_s")
    records = [json.loads(row) for row in Path(out).read_text().splitlines()]
    assert [record["other"] for record in records if record["id"] == "new:lib.rs"] == ["python"] * 2

    again = tmp_path / "again" / "a.jsonl"  # as the halves of a run are named
    again.parent.mkdir()
    shutil.copy(a, again)
    assert set(ask("report", holes, a, str(again))[1]["figures"]) == {a, str(again)}


def test_by_its_path(projects: str, tmp_path: Path, ask: Ask) -> None:
    """The way to run an older checkout: by its file, without the command line."""
    holes, out = tmp_path / "holes.jsonl", tmp_path / "answers.jsonl"
    ask("cut", projects, "--per-group", "2", "--no-new-files", "--out", str(holes))
    done = subprocess.run(
        [sys.executable, "-P", answering.__file__, str(holes), "--out", str(out)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(answering.read_lines(out)) == 2


@pytest.mark.parametrize("text", ['{"a": 1}\n', "[]\n", "nonsense\n"])
def test_no_answers(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(MidfillError):
        answering.read_lines(tmp_path / "a.jsonl")


def test_refusals(ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holes = str(tmp_path / "holes.jsonl")
    assert cli.main(["eval", "languages", "cut", str(tmp_path / "missing"), "--out", holes]) == 1
    ask("cut", "--out", holes)
    (tmp_path / "other.jsonl").write_text('{"id": "another", "text": ""}\n')
    assert cli.main(["eval", "languages", "report", holes, str(tmp_path / "other.jsonl")]) == 1
    assert "has no answer to any of the holes" in capsys.readouterr().err
    assert cli.main(["eval", "languages", "report", holes, holes, holes]) == 1
    assert "named twice" in capsys.readouterr().err
