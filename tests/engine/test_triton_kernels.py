"""Triton's kernels by Triton's interpreter, which has to be chosen before Triton is imported anywhere."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKS = Path(__file__).with_name("check_triton_kernels.py")


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed (it comes with CUDA)")
def test_the_kernels_are_the_operations_they_stand_for() -> None:
    command = [sys.executable, "-m", "pytest", str(CHECKS), "-q", "-x", "-p", "no:cacheprovider"]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        command, cwd=CHECKS.parents[2], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
