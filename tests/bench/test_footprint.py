"""How midfill's use of a machine is measured, and when a goal is missed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from midfill.bench import footprint
from midfill.bench.goals import exit_code

REACHED = {limit.key: limit.at_most for limit in footprint.LIMITS}
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


def test_every_goal_reached_at_its_limit() -> None:
    verdicts = footprint.judge(REACHED)
    assert [verdict.passed for verdict in verdicts] == [True] * len(footprint.LIMITS)
    assert exit_code(verdicts) == 0


@pytest.mark.parametrize("key", REACHED)
def test_one_that_is_missed_is_an_exit_status(key: str) -> None:
    verdicts = footprint.judge({**REACHED, key: REACHED[key] * 1.01})
    assert sum(verdict.passed is False for verdict in verdicts) == 1
    assert exit_code(verdicts) == 1


def test_what_was_not_measured_is_not_missed() -> None:
    verdicts = footprint.judge({**REACHED, "preparing_gb": None})
    assert [verdict.measured for verdict in verdicts].count("not measured") == 1
    assert exit_code(verdicts) == 0


@needs_proc
def test_memory_of_a_process_and_its_children(tmp_path: Path) -> None:
    """Two generations of children; the peak of a child counts, even after it freed its memory."""
    inner = f"x = b'1' * {100 << 20}; del x; print('made', flush=True); input()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"made\n"
        family = list(footprint.descendants(os.getpid()))
        assert child.pid in family
        (grandchild,) = footprint.descendants(child.pid)
        assert grandchild in family
        assert (footprint.resident(grandchild) or 1) < 0.1 < (footprint._status(grandchild, "VmHWM") or 0)
        assert footprint._with_children(child.pid) == pytest.approx(
            (footprint.resident(child.pid) or 0) + (footprint.resident(grandchild) or 0), abs=0.005
        )
        child.communicate(b"\n")
    assert footprint.resident(child.pid) is None


def test_the_size_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"x" * 70)
    (tmp_path / "c").write_bytes(b"x" * 7)
    assert footprint.size_of(tmp_path) == 77
