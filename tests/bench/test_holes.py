"""Where holes are cut, and that nothing of a hole is left beside it."""

from __future__ import annotations

import pytest

from midfill.bench.holes import BLOCK_LINES, KINDS, Code, cut, read_module

CODE = '''"""A docstring that spells total = add(one, two)."""

def area(width, height):
    """Text alone is no code."""
    total = multiply(width, height)  # a comment
    scaled = scale(total, (1, 2))
    other = total
    return scaled
text = """
inner = call(argument)
"""
'''


def middles(kind: str) -> set[str]:
    code = Code.read(CODE)
    return {CODE[start:end] for start, end in KINDS[kind](code)}


@pytest.mark.parametrize(("kind", "has", "has_not"), [
    ("rest of line", {"scale(total, (1, 2))", "(width, height):", "scaled"}, {"scaled = scale(total, (1, 2))"}),
    ("call arguments", {"total, (1, 2)"}, {"width, height", "argument", "one, two"}),
    ("mid-word", {"led = scale(total, (1, 2))", "ale(total, (1, 2))", "her = total"}, {"urn scaled"}),
    ("block", {"scaled = scale(total, (1, 2))\n    other = total\n    return scaled"}, {"other = total"}),
])  # fmt: skip
def test_kinds(kind: str, has: set[str], has_not: set[str]) -> None:
    found = middles(kind)
    assert has <= found
    assert not has_not & found
    assert not any("#" in middle or '"""' in middle for middle in found)


def test_cut() -> None:
    holes = cut(30, seed=1)
    assert len(holes) == 30
    assert {hole.kind for hole in holes} == set(KINDS)
    assert len({(hole.source, len(hole.prefix)) for hole in holes}) == 30
    assert len({hole.source for hole in holes}) > 8
    for hole in holes:
        assert hole.prefix + hole.middle + hole.suffix == read_module(hole.source)
        assert len(hole.prefix) >= 4000
        assert len(hole.suffix) >= 1500
        assert hole.first_line
        if hole.kind == "block":
            assert hole.middle.count("\n") == BLOCK_LINES - 1


def test_same_seed_same_holes() -> None:
    assert cut(6, seed=3) == cut(6, seed=3)
    assert cut(6, seed=3) != cut(6, seed=4)


def test_the_prompt_lacks_the_hole() -> None:
    for hole in cut(12, seed=2):
        snapshot = hole.snapshot()
        assert snapshot.text == hole.prefix + hole.suffix
        assert not snapshot.suffix.startswith(hole.middle)
        assert len(snapshot.text) == len(read_module(hole.source)) - len(hole.middle)
        earlier = hole.snapshot(8)
        assert earlier.prefix + hole.prefix[-8:] == hole.prefix
        assert earlier.suffix == hole.suffix
