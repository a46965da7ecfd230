"""Which keys write a text, and how soon after one another."""

from __future__ import annotations

import random
import statistics

import pytest

from midfill.eval.keys import GAP_S, gaps, keys_of, n_shared


def test_keys() -> None:
    assert keys_of("if x:\n        y\n\n    z") == ["i", "f", " ", "x", ":", "\n        ", "y", "\n\n    ", "z"]
    assert keys_of("a\n\t\tb") == ["a", "\n\t\t", "b"]
    assert "".join(keys_of("a\n  b")) == "a\n  b"


def test_gaps_are_human() -> None:
    keys = ["a", "b", "c", "\n    "] * 500
    found = gaps(keys, random.Random(1))
    assert gaps(keys, random.Random(1)) == found
    assert 0.8 * GAP_S < statistics.median(found) < 1.3 * GAP_S
    assert 0.02 < sum(gap > 0.6 for gap in found) / len(found) < 0.25
    assert min(found) > 0.02


@pytest.mark.parametrize(("a", "b", "n"), [
    ("", "a + b", 0),
    ("a", "a + b", 1),
    ("a + b", "a", 1),
    ("a - b", "a + b", 2),
    ("a + b", "a + b", 5),
])  # fmt: skip
def test_n_shared(a: str, b: str, n: int) -> None:
    assert n_shared(a, b) == n
