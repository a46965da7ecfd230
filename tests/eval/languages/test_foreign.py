"""Labelled snippets: text in the file's own language is never taken for another one, and text in another language is
found."""

from __future__ import annotations

import pytest

from midfill.eval.languages.foreign import wrong_language
from tests.eval.languages.made import RIGHT, WRONG


def test_there_are_enough() -> None:
    assert len(RIGHT) >= 100
    assert len(WRONG) >= 60


@pytest.mark.parametrize(("language", "prefix", "text"), RIGHT)
def test_the_right_language(language: str, prefix: str, text: str) -> None:
    assert wrong_language(language, prefix, text) == ""


@pytest.mark.parametrize(("language", "prefix", "text", "other"), WRONG)
def test_another_language(language: str, prefix: str, text: str, other: str) -> None:
    found = wrong_language(language, prefix, text)
    assert found != ""
    assert not other or found == other


@pytest.mark.parametrize(("language", "prefix"), [("python", ""), ("rust", "fn main() {"), ("nonsense", "x")])
def test_nothing_is_no_language(language: str, prefix: str) -> None:
    assert wrong_language(language, prefix, "  \n") == ""


def test_what_stood_there_is_not_held_against_the_answer() -> None:
    assert wrong_language("python", "const x = ", "3") == ""
