"""A short soak (`make soak` is the long one): nothing unanswered, doubled or stale, and nothing grows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.soak.run import soak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def test_windows_and_engines_come_and_go(tmp_path: Path) -> None:
    done = soak(tmp_path, 1500, n_windows=3, n_kills=2)
    print(done)
    assert done.faults == ()
    assert done.n_answered == done.n_asked >= 1500
    assert done.n_shown > done.n_asked // 20  # it was about something
    assert done.n_window_kills == 4
    assert done.n_engine_kills in (1, 2)  # it may be on its way up when its time comes
    assert done.end.resident_kb < done.warm.resident_kb + 40_000
    assert done.end.n_threads <= done.warm.n_threads + 4
    assert done.end.n_descriptors <= done.warm.n_descriptors + 40  # of the pools of connections
