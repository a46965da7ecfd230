"""Nothing is added after a statement that is finished. ``‸`` is the cursor."""

from __future__ import annotations

import pytest

from midfill.postprocess import PostProcessor, is_whole_sentence
from tests.dictated import Request, scripted
from tests.support import at


@pytest.mark.parametrize(
    ("buffer", "language", "whole"),
    [
        ("# Read the files.‸\n", "python", True),
        ("# Read the files‸\n", "python", False),
        ("# Read the files. ‸\n", "python", False),  # a space: another sentence is to come
        ("x = 1  # Read the files.‸\n", "python", True),
        ("x = 1.‸\n", "python", False),
        ("# Read files, e.g.‸\n", "python", False),
        ("# Read files etc.‸\n", "python", False),
        ("# and so on ...‸\n", "python", False),
        ("# 1.‸\n", "python", False),
        ("# Version 1.2.‸\n", "python", False),
        ("# Done.‸\n", "python", False),  # one word is no sentence
        ("# Is it there?‸\n", "python", True),
        ('# He said "read it."‸\n', "python", True),
        ("# Read the files (all of them).‸\n", "python", True),
        ("# Read the files:‸\n", "python", False),
        ("# Uses a.b.‸\n", "python", False),
        ('def f():\n    """Return the sum.‸\n    """\n', "python", True),
        ('def f():\n    """Return the sum.‸"""\n', "python", True),
        ('def f():\n    """Return the sum‸"""\n', "python", False),
        ("// Count the items.‸\n", "go", True),
        ("// Count the items‸\n", "go", False),
        ("/* Count the items.‸ */\n", "c", True),
        ("/**\n * Count the items.‸\n */\n", "typescript", True),
        ("-- Count the items.‸\n", "lua", True),
        ("; Count the items.‸\n", "clojure", True),
        ("% Count the items.‸\n", "latex", True),
        ("# Count the items.‸\n", "shellscript", True),
        ("// Count the items. 数える。‸\n", "rust", True),
        ('s = "Count the items.‸"\n', "python", False),  # a string is data
        ("Count the items.‸\n", "markdown", False),
    ],
)
def test_whole_sentences(buffer: str, language: str, whole: bool) -> None:
    assert is_whole_sentence(at(buffer, language=language)) is whole


@pytest.mark.parametrize(("trigger", "shown"), [("automatic", ""), ("invoked", " and count them")])
async def test_by_hand_something_may_come(trigger: str, shown: str) -> None:
    subject, engine = scripted(" and count them", disabled_rules=("confidence",))
    request = Request(subject, "# Read the files.‸\n", trigger)  # type: ignore[arg-type]
    assert (await request.end()).text == shown
    assert engine.n_requests == bool(shown)
    assert request.trace.refused == ("" if shown else "whole_sentence")


@pytest.mark.parametrize(
    ("buffer", "language", "middle", "shown"),
    [
        ("def f(a):‸\n", "python", " ...", ""),
        ("def f(a):‸\n", "python", "\n    return a\n", "\n    return a"),  # the body, on its own lines
        ("def f(a)‸\n", "python", ": ...", ": ..."),
        ("class A:‸\n", "python", " pass", ""),
        ("async def f():‸\n", "python", " pass", ""),
        ("else:‸\n", "python", " pass", ""),
        ("def f(a): ...\ndef g(a):‸\n", "python", " ...", " ..."),  # as this file does it
        ("x = {'a':‸\n", "python", " 1}", " 1}"),
        ("x:‸\n", "python", " int = 1", " int = 1"),
        ("f = lambda a:‸\n", "python", " a + 1", " a + 1"),
        ("# class A:‸\n", "python", " of them", " of them"),
        ("key:‸\n", "yaml", " value", " value"),
        ("items.each do |item|‸\n", "ruby", " puts item", ""),
        ("if a then‸\n", "lua", " return end", ""),
        ("let x = 1;‸\n", "javascript", " // one", ""),
        ("int x = 1;‸\n", "c", " int y = 2;", ""),
        ("f();‸\n", "java", "\ng();", ""),  # the unit is what belongs to the line
        ("for (int i = 0;‸\n", "c", " i < n; i++) {", " i < n; i++) {"),
        ("a { color: red;‸\n", "css", " margin: 0; }", ""),
        ("x := 1;‸\n", "go", " y := 2", ""),
        ("a;‸\n", "python", " b", " b"),  # no end of a statement there, but a way to go on
        ("s = 'a;‸\n", "javascript", "b'", "b'"),
        ("let x = 1; ‸\n", "javascript", "let y = 2;", "let y = 2;"),  # a space: more is to come
    ],
)
def test_finished_lines(buffer: str, language: str, middle: str, shown: str) -> None:
    assert PostProcessor(at(buffer, language=language)).shown(middle, finished=True) == shown
