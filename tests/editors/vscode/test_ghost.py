"""Ghost text with a scripted engine: what is seen frame by frame, on the wire, and in the file."""

from __future__ import annotations

import itertools

from .workbench import Workbench

ADD = ("a, b", "):\n", "    total = a + b\n", "    return total\n")


def test_it_appears_and_tab_takes_it(bench: Workbench) -> None:
    bench.script("1 + ", "2\n")
    bench.type("first = ")
    bench.wait_ghost("1 + 2")
    bench.shot("ghost")
    bench.press("Tab")
    bench.saved("a.py", "first = 1 + 2")


def test_it_grows_without_a_blank_frame(bench: Workbench) -> None:
    bench.script("one", " + two", " + three", " + four", "\n", delay_s=0.3)
    bench.record()
    bench.type("grown = ")
    bench.wait_ghost("one + two + three + four")
    frames = bench.frames()
    seen = frames[next(i for i, frame in enumerate(frames) if frame) :]
    print(frames)
    assert len(seen) >= 3
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(seen)), seen
    bench.press("Tab")
    bench.saved("a.py", "grown = one + two + three + four")
