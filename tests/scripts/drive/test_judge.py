"""The rules by which a drive is judged, one case per row."""

from __future__ import annotations

import pytest
from scripts.drive.judge import judge, next_word


@pytest.mark.parametrize(
    ("shown", "follows", "verdict"),
    [
        ("", "a + b\n", "nothing"),
        ("  \n", "a + b\n", "nothing"),
        ("a + b", "a + b\n", "useful"),
        ("a  +  b", "a + b\n", "useful"),  # white space counts as one space
        ("a + b\nprint(c)", "a + b\n", "useful"),  # the first line is right
        ("a + c\nb", "a + b\n", "half right"),
        ("total + c", "total + b\n", "half right"),
        ("self", "self.names()\n", "useful"),  # a word's end
        ("self.na", "self.names()\n", "half right"),  # inside one
        ("sel", "self.names()\n", "half right"),
        ("se", "self.names()\n", "half right"),  # right as far as it goes, and short
        ("so", "self.names()\n", "annoying"),
        (")", ") -> int:\n", "half right"),
        ("):", "):\n", "useful"),
        ("x", "\n    x = 1", "annoying"),  # on this line, where a new one follows
        ("\n    x", "\n    x = 1", "useful"),
        ("\n\n    x", "\n    x = 1", "useful"),
        ("\n    x", "x = 1", "annoying"),
        ("item.label", "item.name", "half right"),
        ("items.label", "item.name", "half right"),
        ("[item]", "[other]", "annoying"),
        ("é + 1", "é + 1\n", "useful"),
        ("entry.day, 0) + 1", "entry.day, 0) + entry.pieces", "half right"),
    ],
)
def test_verdict(shown: str, follows: str, verdict: str) -> None:
    assert judge(shown, follows).verdict == verdict


def test_whole_and_read() -> None:
    found = judge("a + b\nwrong = 1", "a + b\nright = 2")
    assert (found.verdict, found.whole, found.n_read) == ("useful", False, 5)
    assert judge("a + b\nright", "a + b\nright = 2").whole
    assert judge("zap(1)\nmore", "a + b").n_read == 6


@pytest.mark.parametrize(
    ("shown", "follows", "word"),
    [
        ("self.names()", "self.other()", "self"),
        (".names", ".other", "."),
        ("other", "names", ""),
        ("nam", "names", ""),
        ("\n    x = 1", "\n    x = 2", "\n    x"),
        ("x", "\n    x", ""),
        ("(", "(): pass", "("),
        ("", "names", ""),
    ],
)
def test_next_word(shown: str, follows: str, word: str) -> None:
    assert next_word(shown, follows) == word
