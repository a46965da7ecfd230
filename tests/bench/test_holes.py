"""Holes of the standard library, and that nothing of a hole is left beside it."""

from __future__ import annotations

from midfill.bench.holes import AROUND, KINDS, cut, read_module
from midfill.eval.holes import Hole


def source(hole: Hole) -> str:
    return read_module(hole.path.removesuffix(".py").replace("/", "."))


def test_cut() -> None:
    holes = cut(30, seed=1)
    assert len(holes) == 30
    assert {hole.kind for hole in holes} == set(KINDS)
    assert len({(hole.source, len(hole.prefix)) for hole in holes}) == 30
    assert len({hole.source for hole in holes}) > 8
    for hole in holes:
        assert hole.prefix + hole.middle + hole.suffix == source(hole)
        assert len(hole.prefix) >= AROUND[0]
        assert len(hole.suffix) >= AROUND[1]
        assert hole.first_line
        assert hole.language == "python"
        if hole.kind == "block":
            assert hole.middle.count("\n") >= 1


def test_kinds_in_turn() -> None:
    assert [hole.kind for hole in cut(8, seed=1)] == [*KINDS, *KINDS]
    assert {hole.kind for hole in cut(8, seed=1, kinds=("mid-word",))} == {"mid-word"}


def test_same_seed_same_holes() -> None:
    assert cut(6, seed=3) == cut(6, seed=3)
    assert cut(6, seed=3) != cut(6, seed=4)


def test_the_prompt_lacks_the_hole() -> None:
    for hole in cut(12, seed=2):
        snapshot = hole.snapshot()
        assert snapshot.text == hole.prefix + hole.suffix
        assert not snapshot.suffix.startswith(hole.middle)
        assert len(snapshot.text) == len(source(hole)) - len(hole.middle)
        earlier = hole.snapshot(8)
        assert earlier.prefix + hole.prefix[-8:] == hole.prefix
        assert earlier.suffix == hole.suffix
