"""Triton's kernels in Triton's interpreter, which must be chosen before Triton is imported anywhere."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Without pyproject.toml's settings, which a machine without pytest's plugins does not know.
PLAIN = ("-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider")


@pytest.mark.parametrize("checks", ["check_triton_kernels.py", "check_fused.py"])
def test_interpreted(checks: str) -> None:
    """The kernels are the operations they stand for, and the step made of them is the eager one."""
    if importlib.util.find_spec("triton") is None:  # not imported here: that would settle how it works
        pytest.skip("Triton is not installed (it comes with CUDA)")
    command = [sys.executable, "-m", "pytest", str(HERE / checks), "-q", "-x", *PLAIN]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        command, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
