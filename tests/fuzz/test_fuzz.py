"""A hundred thousand messages from a client that is wrong in every way (`make fuzz` sends a million)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fuzz.run import fuzz

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
N_MESSAGES = 100_000


def test_a_hundred_thousand_messages(tmp_path: Path) -> None:
    done = fuzz(tmp_path, N_MESSAGES)
    print(done)
    assert done.n_answers == done.n_requests > N_MESSAGES // 4
    assert {-32600, -32601, -32602, -32700, -32800} <= done.codes.keys()
    assert done.end.resident_kb < done.warm.resident_kb + 60_000
    assert done.end.n_threads <= done.warm.n_threads + 4
    assert done.end.n_descriptors <= done.warm.n_descriptors + 4
