"""The commands on a scripted engine: what they print and write, and how they refuse."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midfill import cli
from midfill.commands.options import settings
from tests.commands.made import TASKS

Ask = Callable[..., tuple[str, dict[str, Any]]]

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sandbox needs Linux")


@pytest.fixture
def tasks(tmp_path: Path) -> str:
    file = tmp_path / "tasks.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(json.dumps(task) for task in TASKS).encode()))
    return str(file)


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command on an engine that says " return b" and more; return the tables and the line of JSON."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"chunks": ["    return b", "\n", "\n", "\n", "more = 1", "\n"]}))
    monkeypatch.setenv("MIDFILL_SCRIPT", str(script))

    def run(*argv: str) -> tuple[str, dict[str, Any]]:
        assert cli.main(argv) == 0
        *shown, last = capsys.readouterr().out.splitlines()
        return "\n".join(shown), json.loads(last)

    return run


@linux
def test_humaneval(ask: Ask, tasks: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "a.jsonl"
    shown, line = ask("eval", "humaneval", "--data", tasks, "--split", "all", "--out", str(out))
    figures = line["figures"]["server"]["single"]
    # "return b" is right in every second hole; in the first lines' holes b is not known.
    assert (figures["n"], figures["passed"], figures["whole"]) == (16, 0.5, 0.5)
    assert "pass@1" in shown
    assert "50.0%" in shown
    assert (line["eval"], line["suite"], line["device"], line["model"]["name"]) == (
        "humaneval",
        "single",
        "cpu",
        "scripted",
    )
    assert {"commit", "config", "machine", "versions", "seconds", "seed"} <= line.keys()
    records = [json.loads(row) for row in out.read_text().splitlines()]
    assert len(records) == 16
    right = next(record for record in records if record["metrics"]["passed"])
    assert {"rules", "confidence", "snippets", "refused"} <= right.keys()
    assert (right["text"], right["middle"], right["finish_reason"]) == ("    return b", "    return b", "unit")


@linux
def test_raw_is_not_cut(ask: Ask, tasks: str, tmp_path: Path) -> None:
    _, line = ask("eval", "humaneval", "--data", tasks, "--split", "all", "--against", "raw", "--set", "max_tokens=32")
    assert line["figures"]["raw"]["single"]["whole"] == 0
    assert line["figures"]["raw"]["single"]["first_line"] == 0.5
    assert line["config"]["server"] == {"max_tokens": 32}
    assert line["config"]["raw"] == {"max_tokens": 32, "token_healing": False, "suffix_shift": "off"}
    paired = {one["metric"]: one for one in line["paired"]}
    assert (paired["whole"]["difference"], paired["whole"]["n"]) == (-0.5, 16)
    assert paired["n_decoded"]["difference"] > 0  # the server ended at the line's end


def test_text_alone(ask: Ask, tasks: str) -> None:
    _, line = ask(
        "eval", "humaneval", "--data", tasks, "--no-run", "--limit", "3", "--split", "all", "--suite", "multi"
    )
    figures = line["figures"]["server"]["multi"]
    assert figures["n"] == 3
    assert "passed" not in figures


@linux
def test_compare(ask: Ask, tasks: str, tmp_path: Path) -> None:
    a, b = str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")
    ask("eval", "humaneval", "--data", tasks, "--split", "all", "--out", a)
    ask("eval", "humaneval", "--data", tasks, "--split", "all", "--out", b, "--raw")
    shown, line = ask("eval", "compare", a, b)
    paired = {one["metric"]: one for one in line["paired"]}
    assert paired["whole"]["difference"] == -0.5
    assert "B: b.jsonl against A: a.jsonl" in shown


def test_repo(ask: Ask, tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    body = "".join(f"def g_{n}(a):\n    total = a + {n}\n    return total\n\n\n" for n in range(20))
    (root / "a.py").write_text(body)
    shown, line = ask("eval", "repo", str(root), "--limit", "9", "--kinds", "line,mid-word,call-arguments")
    assert line["figures"]["server"]["all"]["n"] == 9
    assert set(line["figures"]["server"]) == {"line", "mid-word", "all"}  # there are no calls
    assert "mid-word" in shown
    assert (root / "a.py").read_text() == body


def test_replay(ask: Ask, tmp_path: Path) -> None:
    file, out = tmp_path / "a.py", tmp_path / "events.jsonl"
    file.write_text("def f(a):\n    return b\n\n\ndef g(a):\n    return c\n")
    argv = ("replay", str(file), "--chars", "24", "--places", "1", "--wait", "--out", str(out))
    shown, line = ask(*argv, "--against", "max_tokens=1")
    assert line["figures"]["server"]["n_keys"] == 19
    assert "typing replay: server" in shown
    assert [one["difference"] for one in line["paired"] if one["metric"] == "saved"] == [0.0]
    assert {json.loads(row)["who"] for row in out.read_text().splitlines()} == {"server", "max_tokens=1"}


def test_replay_knob(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("def f(a):\n    return b\n\n\ndef g(a):\n    return c\n")
    shown, line = ask("replay", str(file), "--chars", "24", "--places", "1", "--knob", "--pace", "0.1,0")
    assert list(line["knob"]) == list(line["config"]) == ["quiet", "balanced", "eager"]
    assert all(one["n_keys"] == 19 for one in line["knob"].values())
    assert set(line["paired"]) == {"quiet", "eager"}
    assert line["hasty"]
    assert "quiet where wrong" in shown


@pytest.mark.parametrize("command", ["humaneval", "replay"])
def test_plot(ask: Ask, tasks: str, tmp_path: Path, command: str) -> None:
    pytest.importorskip("matplotlib")
    file, code = tmp_path / "new" / "plot.svg", tmp_path / "a.py"
    code.write_text("def f(a):\n    return b\n")
    argv = {
        "humaneval": ("eval", "humaneval", "--data", tasks, "--no-run", "--split", "all", "--against", "raw"),
        "replay": ("replay", str(code), "--against", "max_tokens=1"),
    }[command]
    ask(*argv, "--plot", str(file))
    first = file.read_text()
    assert "raw" in first or "max_tokens=1" in first


@pytest.mark.parametrize(("argv", "message"), [
    (["eval", "humaneval", "--data", "missing"], "cannot read HumanEval's tasks"),
    (["eval", "humaneval", "--data", "TASKS", "--suite", "triple"], "unknown suite 'triple'"),
    (["eval", "humaneval", "--data", "TASKS", "--limit", "0"], "--limit 0 leaves no holes"),
    (["eval", "humaneval", "--data", "TASKS", "--no-run", "--set", "max_tokens"], "is not key=value"),
    (["eval", "humaneval", "--data", "TASKS", "--no-run", "--set", "max_token=3"], "unknown setting 'max_token'"),
    (["eval", "humaneval", "--data", "TASKS", "--no-run", "--set", "max_tokens=many"], "max_tokens in --set is not"),
    (["eval", "humaneval", "--data", "TASKS", "--no-run", "--raw", "--against", "raw"], "with itself"),
    (["eval", "humaneval", "--data", "TASKS", "--no-run", "--out", "/proc/none/a"], "cannot write /proc/none/a"),
    (["eval", "repo", "missing"], "is not a folder"),
    (["eval", "repo", ".", "--kinds", "lines"], "unknown kind of hole 'lines'"),
    (["eval", "repo", "EMPTY"], "no source files"),
    (["eval", "compare", "missing", "TASKS"], "cannot read the records missing"),
    (["eval", "compare", "TASKS", "TASKS"], "cannot read the records"),
    (["replay", "missing"], "is not a small regular file"),
    (["replay", "TASKS", "--accept", "all"], "unknown way of accepting: 'all'"),
    (["replay", "TASKS", "--chars", "0"], "--chars 0 is out of range"),
    (["replay", "TASKS", "--pace", "1"], "--pace 1 is not a pair"),
    (["replay", "TASKS", "--pace", "a,-1"], "is not a pair of seconds"),
    (["replay", "TASKS", "--knob", "--against", "lines=one"], "--knob compares all positions"),
])  # fmt: skip
def test_mistakes(
    tasks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: list[str],
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").mkdir()
    assert cli.main([tasks if word == "TASKS" else word for word in argv]) == 1
    said = capsys.readouterr().err.splitlines()
    assert message in said[0]
    assert said[1].startswith("  -> ")
    assert len(said) == 2


def test_a_missing_package(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["eval", "humaneval"]) == 1
    assert "midfill[eval]" in capsys.readouterr().err
    assert cli.main(["eval", "humaneval", "--plot", "a.svg"]) == 1
    assert "midfill[bench]" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "found"), [
    (["a=1", "b = true"], {"a": 1, "b": True}),
    (["a=word", 'b="1"'], {"a": "word", "b": "1"}),
    (['a=["x", "y"]'], {"a": ["x", "y"]}),
    (["a=0.5", "a=psm"], {"a": "psm"}),
    (["a=b=c"], {"a": "b=c"}),
])  # fmt: skip
def test_settings(given: list[str], found: dict[str, Any]) -> None:
    assert settings(given) == found
