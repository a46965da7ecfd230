"""The basis of an estimate: words that prompts lack and other files have, and lines that repeat."""

from __future__ import annotations

import pytest

from midfill.train.estimate import Estimate, Words


def words(*texts: str) -> Words:
    found = Words()
    for text in texts:
        found.add(text)
    return found


def test_words_that_the_prompt_has_do_not_count() -> None:
    known = words("def warehouse(): ...", "shelf = 1").known
    assert known([("shelf", "shelf + warehouse + unheard")]) == pytest.approx(1 / 2)
    assert known([("", "warehouse shelf")]) == 1
    assert known([("warehouse shelf", "warehouse")]) == 0  # nothing is missing
    assert known([]) == 0


def test_lines_that_repeat() -> None:
    subject = words("import logging_of_ours\n\nx = 1\n", "raise NotFound(name)")
    assert subject.repeated(["    raise NotFound(name)\nraise Other(name)\nx = 1\n"]) == pytest.approx(1 / 2)
    assert subject.repeated([""]) == 0


@pytest.mark.parametrize(
    ("n_files", "known", "word"),
    [(20, 0.95, "hard to tell"), (200, 0.95, "likely"), (200, 0.83, "may"), (200, 0.3, "unlikely")],
)
def test_the_verdict(n_files: int, known: float, word: str) -> None:
    found = Estimate(n_files, 10, 100, 3.0, 1.0, 1.0, known, 0.3, 1, 2)
    assert found.verdict.startswith(word)
    assert found.minutes == pytest.approx(5)
