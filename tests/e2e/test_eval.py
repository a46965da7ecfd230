"""`midfill eval` and `midfill replay` with the real engine and the embedded model: a few holes, a few keys."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midfill.eval import sandbox
from tests.commands.made import TASKS
from tests.eval.made import project
from tests.lsp.client import REPOSITORY

pytestmark = pytest.mark.model

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(folders: dict[str, str], tmp_path: Path) -> Run:
    """The line of JSON of a command."""

    def command(*argv: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "midfill", *argv],
            env={**os.environ, **folders, "PYTHONPATH": str(REPOSITORY / "server")}, cwd=tmp_path,
            capture_output=True, text=True, timeout=400,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        line = json.loads(done.stdout.splitlines()[-1])
        assert isinstance(line, dict)
        return line

    return command


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sandbox needs Linux")
def test_humaneval(run: Run, tmp_path: Path) -> None:
    sandbox.need()
    data, out = tmp_path / "tasks.jsonl.gz", tmp_path / "answers.jsonl"
    write_tasks(data)
    line = run(
        "eval",
        "humaneval",
        "--data",
        str(data),
        "--split",
        "all",
        "--limit",
        "4",
        "--against",
        "raw",
        "--out",
        str(out),
    )
    server, raw = (line["figures"][name]["single"] for name in ("server", "raw"))
    assert server["n"] == raw["n"] == 4
    assert server["control_tokens"] == 0
    assert server["passed"] > 0  # even a small model knows what is returned
    assert 0 < server["ttft_s_p50"] <= server["total_s_p95"]
    assert server["n_decoded"] < raw["n_decoded"]  # it stopped
    assert line["model"]["device"]
    assert len(out.read_text().splitlines()) == 8


def test_repo_and_replay(run: Run, tmp_path: Path) -> None:
    root = project(tmp_path / "project")
    line = run("eval", "repo", str(root), "--limit", "3", "--kinds", "cross-file,line,mid-word")
    n_holes = {kind: row["n"] for kind, row in line["figures"]["server"].items()}
    assert {"cross-file": 1, "line": 1, "mid-word": 1, "all": 3}.items() <= n_holes.items()
    line = run("replay", str(root / "using.py"), "--chars", "40", "--places", "1", "--wait")
    figures = line["figures"]["server"]
    assert 0 < figures["n_pressed"] <= figures["n_keys"]
    assert figures["n_decoded"] > 0
    assert figures["shown_s_p50"] is None or figures["shown_s_p50"] > 0


def write_tasks(file: Path) -> None:
    file.write_bytes(gzip.compress("\n".join(json.dumps(task) for task in TASKS).encode()))
