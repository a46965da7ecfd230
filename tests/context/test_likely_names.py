"""Which names are probably about to be written."""

from __future__ import annotations

import pytest

from midfill.context.knowledge.names import Known, KnownNames
from midfill.context.likely_names import MAX_MEMBERS, MAX_UNUSED, likely_names
from midfill.types import Snippet
from tests.support import at

STUB = Snippet(
    "q.py", "class Queue:\n    def __init__(self): ...\n    def get(self): ...\n    size = 3\n    name: str\n"
)
MANY = ", ".join(f"name{i}" for i in range(MAX_UNUSED + 1))


@pytest.mark.parametrize(
    ("language", "buffer", "names"),
    [
        ("python", "from a import load, save\nload()\nx = ‸\n", ("save",)),
        ("python", "from a import load, save\nload()\n‸\n", ("save",)),
        ("python", "from a import save\nfrom b import ‸\n", ()),
        ("python", "from a import save\nsave()\nx = ‸\n", ()),
        ("python", f"from a import {MANY}\nx = ‸\n", ()),
        ("javascript", "import { load, save } from './a.js';\nload();\nreturn ‸\n", ("save",)),
        ("python", "q.put(1)\nq.‸\n", ("put", "get", "size", "name")),
        ("python", "f().‸\n", ()),  # nothing is known of what it is
        ("plaintext", "from a import save\nx = ‸\n", ()),
    ],
)  # fmt: skip
def test_unused_imports(language: str, buffer: str, names: tuple[str, ...]) -> None:
    assert likely_names(at(buffer, language=language), [STUB]) == (names, False)


LIST = ("append", "clear", "count", "_cache", "__len__")


@pytest.mark.parametrize(
    ("buffer", "names", "is_complete", "expected"),
    [
        ("q.‸\n", LIST, True, (("append", "clear", "count", "_cache"), True)),
        ("q.‸\n", LIST, False, (("append", "clear", "count", "_cache"), False)),
        ("q.count()\nq.‸\n", LIST, True, (("count", "append", "clear", "_cache"), True)),  # what the file uses first
        ("q.c‸\n", LIST, True, (("clear", "count"), True)),
        ("q.__‸\n", LIST, True, (("__len__",), True)),
        ("q.push‸\n", LIST, True, ((), False)),  # a member that is being made up by a person
        ("q.‸\n", tuple(f"n{i}" for i in range(400)), True, (tuple(f"n{i}" for i in range(MAX_MEMBERS)), False)),
    ],
)
def test_known_members(
    buffer: str, names: tuple[str, ...], is_complete: bool, expected: tuple[tuple[str, ...], bool]
) -> None:
    known = Known(KnownNames("q", names, is_complete, "jedi"))
    assert likely_names(at(buffer, language="python"), [STUB], known) == expected
