"""Each rule: where it must fire, and where it must not. ``‸`` is the cursor."""

from __future__ import annotations

import pytest

from midfill.postprocess import (
    drop_doubled_space,
    drop_invisible,
    drop_repeated_line,
    drop_suffix_overlap,
    ends_here,
    postprocess,
    trim_end,
    unit_end,
)
from tests.support import at


@pytest.mark.parametrize(
    ("buffer", "middle", "shown"),
    [
        ("total = add(‸)", "a, b)", "a, b"),
        ("total = add(‸", "a, b)", "a, b)"),
        ("x = f(‸))", "a)", "a"),
        ("print(‸) # note", "value) # note", "value"),
        ("x = ‸ + 1", "a", "a"),
        ("x = ‸ab", "a", "a"),  # a single letter that happens to begin the rest is no overlap
    ],
)
def test_suffix_overlap(buffer: str, middle: str, shown: str) -> None:
    assert drop_suffix_overlap(middle, at(buffer)) == shown


@pytest.mark.parametrize(
    ("buffer", "middle", "shown"),
    [
        ("x = ‸", "a\u202e\u2066b", "ab"),
        ("x = ‸", "a\u200bb\x1b[31m", "ab[31m"),
        ("x = '\u200b‸'", "a\u200b", "a\u200b"),  # already on the line
        ("x = ‸", "é + 漢字 😀\n\ty", "é + 漢字 😀\n\ty"),
    ],
)
def test_invisible(buffer: str, middle: str, shown: str) -> None:
    assert drop_invisible(middle, at(buffer)) == shown


@pytest.mark.parametrize(
    ("buffer", "middle", "shown"),
    [
        ("x = ‸", " 1", "1"),
        ("    ‸", "    return x", "return x"),
        ("x =‸", " 1", " 1"),
        ("‸", "    indented", "    indented"),
    ],
)
def test_doubled_space(buffer: str, middle: str, shown: str) -> None:
    assert drop_doubled_space(middle, at(buffer)) == shown


@pytest.mark.parametrize(
    ("buffer", "middle", "shown"),
    [
        ("import os\n‸", "import os", ""),
        ("‸", "aaaa()\naaaa()\naaaa()", "aaaa()"),
        ("import os\n‸", "import sys", "import sys"),
        ("‸", "}\n}\n}", "}\n}\n}"),  # closing lines may repeat
    ],
)
def test_repeated_line(buffer: str, middle: str, shown: str) -> None:
    assert drop_repeated_line(middle, at(buffer)) == shown


def test_trim() -> None:
    assert trim_end("  \n ", at("‸")) == ""
    assert trim_end("  a", at("‸")) == "  a"


@pytest.mark.parametrize(
    ("buffer", "middle", "unit"),
    [
        ("return ‸", "a + b\n\ndef", "a + b"),
        ("return ‸", "a + b", None),  # the line may go on
        ("f(‸)", "a,\n  b", "a,"),  # text to the right: this line only
        ("if ‸\n", "x:\n    y()\nz()\n", "x:\n    y()"),
        ("if ‸\n", "x:\n    y()\nelse:\n    z()\nw = 1\n", "x:\n    y()\nelse:\n    z()"),
        ("if (‸\n", "x) {\n  y();\n}\nz();\n", "x) {\n  y();\n}"),
        ("def f():\n    ‸\n", "a = 1\n    b = 2\n\n    c", "a = 1\n    b = 2"),
        ("def f():\n    ‸\n", "with x:\n        y()\n    return 1\n\n", "with x:\n        y()\n    return 1"),
        ("def f():\n    ‸\n", "return 1\n\ndef g", "return 1"),
        ("f() {\n  ‸\n}\n", "a();\n}\n", "a();"),
        ("    ‸\n    return x\n", "x = 1\n    return x\n", "x = 1"),  # what already follows
        ("def f():\n    ‸\n", "a = 1\n    b", None),
        ("x = 1‸\n", "\ny = 2", ""),  # a finished line: nothing to add to it
        ("def f():‸\n", "\n    return 1\n\nx = 1\n", "\n    return 1\n"),
    ],
)
def test_unit(buffer: str, middle: str, unit: str | None) -> None:
    snapshot = at(buffer)
    end = unit_end(middle, snapshot)
    assert (None if end is None else middle[:end]) == unit
    assert ends_here(middle, snapshot) is (unit is not None)


def test_a_middle_cut_short_loses_its_half_line() -> None:
    snapshot = at("def f():\n    ‸\n")
    assert postprocess("a = 1\n    b = a +", snapshot, cut_short=True) == "a = 1"
    assert postprocess("a = 1", snapshot, cut_short=True) == "a = 1"


@pytest.mark.parametrize("length", range(1, 40))
def test_growing_never_takes_back_a_decision(length: int) -> None:
    """Once the unit has ended, more text must not move its end."""
    snapshot, whole = at("def f():\n    ‸\n"), "with x:\n        y()\n    return 1\n\nz = 1\n"
    early, final = unit_end(whole[:length], snapshot), unit_end(whole, snapshot)
    assert early is None or early == final
