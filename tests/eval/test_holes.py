"""What a hole is: free of leaks, always in the same split, drawn by a seed."""

from __future__ import annotations

import pytest

from midfill.eval.holes import Hole, chosen, first_line, is_leak_free, split_of


@pytest.mark.parametrize(("prefix", "middle", "suffix", "is_one"), [
    ("x = ", "first + second", "\n", True),
    ("x = ", "a", "\n", False),  # too short to mean anything
    ("f(", "width, height", ")\n", True),
    ("f(", "width, height", "\n  width, height)", False),
    ("width, height ", "width, height", "\n", False),
])  # fmt: skip
def test_leaks(prefix: str, middle: str, suffix: str, is_one: bool) -> None:
    assert is_leak_free(prefix, middle, suffix) is is_one


@pytest.mark.parametrize(("hole", "suffix", "said", "is_right"), [
    ("a + b", "\n", "a + b", True),
    ("a + b", "\n", "a + b  \nreturn c", True),
    ("a + b", "\n", "a + bc", False),
    ("a, b", ")\n", "a, b", True),
    ("a, b", ")\n", "a, b)\n", True),
    ("a, b", ")\n", "a, b, c)", False),
    ("a\nb", ")\n", "a)", False),  # what follows is not on the first line
])  # fmt: skip
def test_first_line_match(hole: str, suffix: str, said: str, is_right: bool) -> None:
    assert Hole("m", "block", "x = f(", hole, suffix).is_answered_by(said) is is_right


def test_first_line() -> None:
    assert first_line("a = 1  \nb = 2") == "a = 1"


SOURCES = [f"HumanEval/{n}" for n in range(164)]
HOLES = [Hole(source, "single", "a = ", "b", "\n", id=f"{source}/L{n}") for source in SOURCES for n in range(3)]


def test_splits_share_no_source() -> None:
    dev, test = ({hole.source for hole in chosen(HOLES, split=split)} for split in ("dev", "test"))
    assert not dev & test
    assert dev | test == set(SOURCES)
    assert 60 < len(dev) < 104


@pytest.mark.parametrize(
    ("source", "split"), [("HumanEval/0", "dev"), ("HumanEval/1", "test"), ("HumanEval/153", "dev")]
)
def test_a_split_never_changes(source: str, split: str) -> None:
    assert split_of(source) == split


def test_a_smaller_limit_is_the_beginning() -> None:
    ten, five = (chosen(HOLES, split="dev", limit=n, seed=3) for n in (10, 5))
    assert ten[:5] == five
    assert chosen(HOLES, split="dev", limit=10, seed=4) != ten
    assert len(chosen(HOLES)) == len(HOLES)
