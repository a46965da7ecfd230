"""Marked files, and that the projects of the drive are well formed."""

from __future__ import annotations

import ast
import itertools

import pytest
from scripts.drive.script import LANGUAGES, File, Mark, Region, parse, read


def test_marks_are_taken_out() -> None:
    pieces = parse("a = 1\n⟦2b = ‸‹typo:x›2\nc‸‹word› = ‹undo:9›3⟧\nd = 4\n")
    region = pieces[1]
    assert isinstance(region, Region)
    assert (region.number, region.text) == (2, "b = 2\nc = 3")
    assert region.marks == (
        Mark(4, "look", "whole"),
        Mark(4, "typo", "x"),
        Mark(7, "look", "word"),
        Mark(10, "undo", "9"),
    )
    file = File("a.py", pieces)
    assert file.text(()) == "a = 1\n\nd = 4\n"
    assert file.text({2}) == "a = 1\nb = 2\nc = 3\nd = 4\n"
    assert file.around(region, ()) == ("a = 1\n", "\nd = 4\n")


@pytest.mark.parametrize("name", LANGUAGES)
def test_projects(name: str) -> None:
    project = read(name)
    numbers = [region.number for _, region in project.tasks()]
    assert numbers == list(range(1, len(numbers) + 1))
    looks = [mark for _, region in project.tasks() for mark in region.marks if mark.kind == "look"]
    assert len(looks) >= 30
    kinds = {mark.kind for _, region in project.tasks() for mark in region.marks}
    assert kinds == {"look", "typo", "undo"}
    assert {mark.how for mark in looks} >= {"whole", "word", "escape"}
    switches = [file.name for file, _ in project.tasks()]
    assert sum(a != b for a, b in itertools.pairwise(switches)) >= 3
    for file in project.files:
        for done in ((), numbers):
            text = file.text(done)
            assert text.isascii()
            assert not set("⟦⟧‸‹›") & set(text)
            assert all(line == line.rstrip() for line in text.split("\n"))
            if file.name.endswith(".py"):
                ast.parse(text)
