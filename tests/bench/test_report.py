"""The output of a run: a table, a plot, one line of JSON; and the arguments of the command."""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from midfill import cli
from midfill.bench import report as reporting
from midfill.bench import run
from midfill.bench.figures import ANSWER, COLD, EXACT, GENERATE, KEY, LLAMA, OURS, TOKEN, Samples, prefill
from midfill.bench.goals import judge
from midfill.bench.replay import Replay
from midfill.eval.about import rounded
from midfill.eval.figures import compared
from midfill.types import MidfillError


def made(*rivals: str) -> reporting.Report:
    samples = Samples()
    for metric in (prefill(256), TOKEN, COLD, KEY, ANSWER):
        for i, name in enumerate((OURS, *rivals)):
            for turn in range(3):
                samples.add(metric, name, 0.05 * (i + 1) + turn / 1000)
    samples.add(KEY, EXACT, 0.2)
    quality = compared("all", "first_line", [("0", 1.0, 1.0), ("1", 1.0, 0.0)])
    return reporting.Report(
        settings={"sizes": [256], "context_tokens": 1024, "answer_tokens": 32, "model": "embedded"},
        samples=samples,
        tokens_per_s={OURS: 40.0},
        quality=quality,
        replay=Replay(10, [0.01, 0.2], 30, 20),
        verdicts=judge(samples, quality),
    )


def test_table() -> None:
    out = io.StringIO()
    reporting.show(made(LLAMA), Console(file=out, width=140))
    text = out.getvalue()
    for part in ("prefill 256", "(0.50 x)", "TTFT after a keystroke", "typing replay", "30 / 20 / 10", "not measured"):
        assert part in text
    assert "missed" in text
    assert "other programs" not in text
    assert GENERATE in text  # as the rival of a goal that was not measured


def test_a_busy_machine_is_told() -> None:
    out = io.StringIO()
    report = made(LLAMA)
    report.strangers = 0.34
    reporting.show(report, Console(file=out, width=140))
    assert "other programs took 34%" in out.getvalue()


def test_json_line() -> None:
    line = json.loads(json.dumps(rounded(made(LLAMA, GENERATE).line())))
    assert line["bench"] == "midfill"
    assert line["p50"][KEY] == {OURS: 0.051, EXACT: 0.2, LLAMA: 0.101, GENERATE: 0.151}
    assert line["ratio"][LLAMA][KEY] == pytest.approx(0.051 / 0.101, abs=1e-5)
    assert line["quality"]["n"] == 2
    assert line["replay"]["n_wasted"] == 10
    assert len(line["goals"]) == 6
    assert line["machine"]["cores"] >= 1
    assert line["machine"]["cpu"]
    assert {"python", "midfill", "torch", "transformers"} <= line["versions"].keys()
    assert "commit" in line


@pytest.mark.parametrize("replay", [Replay(10, [0.01, 0.2], 30, 20), None])
def test_plot(replay: Replay | None, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = made(LLAMA, GENERATE)
    result.replay = replay
    file = tmp_path / "new" / "bench.svg"
    reporting.plot(result, file)
    assert "TTFT after a keystroke" in file.read_text()
    first = file.read_bytes()
    reporting.plot(result, file)
    assert file.read_bytes() == first
    with pytest.raises(MidfillError, match="cannot write the plot"):
        reporting.plot(result, tmp_path / "bench.unknown")


def test_without_matplotlib(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cli.main(["bench", "--plot", str(tmp_path / "bench.svg")]) == 1  # said before anything is measured
    assert "midfill[bench]" in capsys.readouterr().err


def asked(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    run.add_arguments(parser)
    return parser.parse_args(words)


def test_settings() -> None:
    assert run._settings(asked()).holes == 30
    assert run._settings(asked("--quick")).quick
    settings = run._settings(asked("--rounds", "2", "--holes", "3"))
    assert (settings.rounds, settings.holes, settings.quick) == (2, 3, False)


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--holes", "-1"], ["--rounds", "x"]])
def test_absurd_settings(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = cli.main(["bench", *words, "--plot", "none"])
    except SystemExit as error:
        code = int(str(error.code))
    assert code in (1, 2)
    assert words[0].lstrip("-") in capsys.readouterr().err


def test_where_the_plot_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run._plot_file(None, run.Workload()) is None
    assert run._plot_file("a.svg", run.QUICK) == Path("a.svg")
    (tmp_path / "docs" / "images").mkdir(parents=True)
    (tmp_path / "server" / "midfill").mkdir(parents=True)
    assert run._plot_file(None, run.Workload()) == Path("docs/images/bench.svg")
    assert run._plot_file(None, run.QUICK) is None
    assert run._plot_file("none", run.Workload()) is None
