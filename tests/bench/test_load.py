"""Who computes when."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from midfill.bench.load import Strangers, cpu_s, until_quiet

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux says what a process has computed")


def busy(seconds: float) -> subprocess.Popen[bytes]:
    code = f"import time\nend = time.time() + {seconds}\nwhile time.time() < end: pass\ntime.sleep(30)"
    return subprocess.Popen([sys.executable, "-c", code])


async def test_a_turn_begins_when_nobody_computes() -> None:
    child = busy(0.6)
    try:
        await asyncio.sleep(0.2)
        start = time.monotonic()
        await until_quiet([child.pid])
        assert 0.2 < time.monotonic() - start < 5
        assert cpu_s([child.pid]) > 0.2
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
