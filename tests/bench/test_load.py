"""Which processes compute, and when a turn begins."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from midfill.bench.load import Strangers, cpu_s, until_quiet

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux says what a process has computed")


def busy(seconds: float) -> subprocess.Popen[bytes]:
    """Start a process that computes for this many seconds of processor time, and then waits."""
    code = f"import time\nwhile time.process_time() < {seconds}: pass\ntime.sleep(60)"
    return subprocess.Popen([sys.executable, "-c", code])


async def test_a_turn_begins_when_nobody_computes() -> None:
    child = busy(0.6)
    try:
        await until_quiet([child.pid], limit_s=50)
        assert cpu_s([child.pid]) >= 0.5
    finally:
        child.kill()
        child.wait()
    assert cpu_s([child.pid]) == 0


def test_strangers_are_told_from_contenders() -> None:
    child = busy(30)
    try:
        ours, others = Strangers(), Strangers()
        with ours.watched([child.pid]), others.watched([]):
            time.sleep(1)
        known, unknown = ours.share(), others.share()
        if known is None or unknown is None:
            pytest.skip("this system does not tell what the machine computes")
        assert unknown > known
    finally:
        child.kill()
        child.wait()


def test_nothing_watched() -> None:
    assert Strangers().share() is None
