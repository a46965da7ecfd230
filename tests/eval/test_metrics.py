"""What each metric says about an answer. ``‸`` is between prefix, middle and suffix."""

from __future__ import annotations

import pytest

from midfill.eval import metrics
from midfill.eval.holes import Hole


def hole(text: str, name: str = "") -> Hole:
    prefix, middle, suffix = text.split("‸")
    return Hole("a.py", "line", prefix, middle, suffix, name=name)


@pytest.mark.parametrize(("a", "b", "distance"), [
    ("", "", 0), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("kitten", "sitting", 3), ("ab", "ba", 2),
    ("intention", "execution", 5), ("flaw", "lawn", 2),
])  # fmt: skip
def test_edit_distance(a: str, b: str, distance: int) -> None:
    assert metrics.edit_distance(a, b) == distance


@pytest.mark.parametrize(("text", "answer", "first", "whole", "similarity"), [
    ("x = ‸a + b‸\n", "a + b", 1, 1, 1.0),
    ("x = ‸a + b‸\n", "a + b  \n", 1, 1, 1.0),
    ("x = ‸a + b‸\n", "a + b\ny = 1", 1, 0, 5 / 11),
    ("x = ‸a + b‸\n", "", 0, 0, 0.0),
    ("f(‸a, b‸)\n", "a, b)", 1, 0, 4 / 5),  # what follows on the line may be said again
    ("if x:‸\n    a = 1\n    b = 2‸\n", "\n    a = 1\n    b = 3", 1, 0, 19 / 20),
    ("if x:‸\n    a = 1\n    b = 2‸\n", "\n    a = 1  \n    b = 2\n", 1, 1, 1.0),
])  # fmt: skip
def test_matches(text: str, answer: str, first: int, whole: int, similarity: float) -> None:
    found = metrics.judged(hole(text), answer)
    assert (found["first_line"], found["whole"]) == (first, whole)
    assert found["similarity"] == pytest.approx(similarity)


@pytest.mark.parametrize(("text", "answer", "repeats"), [
    ("x = ‸1‸\nreturn x\n", "1\nreturn x", True),
    ("x = ‸1‸\n\n    return x\n", "1\n  return x\n", True),
    ("x = ‸1‸\nreturn x\n", "1\nreturn xy", False),
    ("x = ‸1‸\n)\n", "1\n)", False),  # too little to be called repeated
    ("x = ‸1\nreturn x‸\nreturn x\n", "1\nreturn x", False),  # so does what stood there
    ("f(‸a‸)\n", "a)", True),
    ("f(‸a‸)\n", "a", False),
    ("f(‸a‸)\n", "g(a)", False),  # it closes what the answer opened
    ("f(‸a‸)\n", "g(a))", True),
    ("f(‸a‸, b)\n", "c, b)", True),
    ("x = ‸1‸", "1\n\n", False),
])  # fmt: skip
def test_repeats_suffix(text: str, answer: str, repeats: bool) -> None:
    assert metrics.repeats_suffix(hole(text), answer) is repeats


@pytest.mark.parametrize(("text", "answer", "has"), [
    ("x = ‸1‸\n", "1<|fim_suffix|>", True),
    ("x = ‸1‸\n", "1<|endoftext|>", True),
    ("x = ‸1‸\n", "<fim_middle>", True),
    ("x = ‸1‸\n", "<file_sep>a.py", True),
    ("x = ‸1‸\n", "<｜fim▁end｜>", True),
    ("x = ‸1‸\n", "[SUFFIX]", True),
    ("x = ‸1‸\n", "a <| b |> c <file>", False),
    ("x = ‸1‸  # <|fim_suffix|>\n", "<|fim_suffix|>", False),  # the file's own text
    ("x = ‸1‸\n", "a < b | c > d", False),
])  # fmt: skip
def test_control_tokens(text: str, answer: str, has: bool) -> None:
    assert metrics.has_control(hole(text), answer) is has


@pytest.mark.parametrize(("answer", "has"), [
    ("total(x)", True), ("self.total", True), ("subtotal(x)", False), ("total_of(x)", False), ("", False),
])  # fmt: skip
def test_names(answer: str, has: bool) -> None:
    subject = hole("x = ‸total(y)‸\n", name="total")
    assert metrics.judged(subject, answer)["names"] == has
    assert "names" not in metrics.judged(hole("x = ‸total(y)‸\n"), answer)


@pytest.mark.parametrize(("answer", "shown"), [("", 0), (" \n\t", 0), ("a", 1)])
def test_shown(answer: str, shown: int) -> None:
    assert metrics.judged(hole("x = ‸1‸\n"), answer)["shown"] == shown
