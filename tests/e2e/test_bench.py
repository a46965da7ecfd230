"""`midfill bench` with the real engine, the embedded model and the real language server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lsp.client import REPOSITORY

pytestmark = pytest.mark.model


def test_quick(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "server"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "midfill", "bench", "--quick", "--skip-generate"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert done.returncode in (0, 1), done.stderr
    *shown, last = done.stdout.splitlines()
    line = json.loads(last)
    assert line["quick"] is True
    assert {"prefill_128_s", "token_s", "ttft_cold_s", "ttft_key_s", "answer_key_s"} <= line["p50"].keys()
    assert all(found > 0 for row in line["p50"].values() for found in row.values())
    assert line["quality"]["n"] == line["holes"] == 2
    assert line["replay"]["n_keys"] == line["replay_keys"]
    assert line["replay"]["n_decoded"] > 0
    assert line["n_tokens"]["n_prompt_p50"] >= 240
    assert [goal["passed"] for goal in line["goals"]][:-1] == [None] * 5
    assert any("not measured" in text for text in shown)
    assert not list(tmp_path.glob("midfill-bench-*"))  # nothing left behind, no engine either
