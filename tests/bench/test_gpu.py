"""bench/gpu.py runs: on a CPU and in small, where its figures mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("form", ["float32", "int8"])
def test_it_measures_everything_and_ends_with_json(form: str) -> None:
    command = [
        sys.executable, str(ROOT / "bench" / "gpu.py"), "--tiny", "--device", "cpu", "--dtype", form,
        "--context", "200", "--tokens", "4", "--rounds", "2",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["bench"], report["device"], report["goals"]) == ("gpu", "CPU", {})
    for figure in (
        "bandwidth_gb_s", "prefill_tokens_s", "decode_tokens_s", "decode_share", "keystroke_exact_ms",
        "keystroke_shift_ms", "switch_ms", "cancel_decode_p95_ms", "cancel_prefill_p95_ms",
    ):  # fmt: skip
        assert report[figure] > 0, figure
