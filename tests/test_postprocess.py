"""Each rule: where it must fire, and where it must not. ``‸`` is the cursor."""

from __future__ import annotations

import math

import pytest

from midfill.postprocess import Place, PostProcessor, rules
from midfill.postprocess.boundary import stop_boundary
from midfill.postprocess.rules import (
    drop_doubled_space,
    drop_invisible,
    drop_repeated_line,
    drop_suffix_overlap,
    trim_end,
)
from tests.support import at


def place(buffer: str, language: str = "python") -> Place:
    return Place.of(at(buffer, language=language))


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
    assert drop_suffix_overlap(middle, place(buffer)) == shown


@pytest.mark.parametrize(
    ("buffer", "middle", "shown"),
    [
        ("x = ‸", "a\u202e\u2066b", "ab"),
        ("x = ‸", "a\u200bb\x1b[31m", "ab[31m"),
        ("x = '\u200b‸'", "a\u200b", "a\u200b"),  # already on the line
        ("x = ‸", "é + 漢字 😀\n\ty", "é + 漢字 😀\n\ty"),
        ("x = ‸", "a\u034fb\u115fc\u3164d\uffa0e\u2800f\u00adg", "abcdefg"),
        ("x\u3164 = ‸", "x\u3164 + y\uffa0", "x\u3164 + y"),
        ("x = ‸", "a\ufe0fb\ufe00\n\ufe0fc\U000e0100", "ab\nc"),  # nothing that they vary
        ("x = ‸", "'❤\ufe0f 1\ufe0f 葛\U000e0100 ❤\ufe0f\ufe0f'", "'❤\ufe0f 1\ufe0f 葛\U000e0100 ❤\ufe0f'"),
        ("x = ❤‸", "\ufe0f", "\ufe0f"),
        ("x =‸", "\u00a0a\u3000+\u202fb", " a + b"),
        ("x\u00a0=‸", "\u00a0a", "\u00a0a"),
        ("# 5‸", "\u00a0km", "\u00a0km"),
        ("x = 'a‸'", "\u00a0b", "\u00a0b"),
        ("x = ‸", "a\x0bb\nc\r", "ab\nc"),
        ("x = ‸", "a\ud83d", "a"),
    ],
)
def test_invisible(buffer: str, middle: str, shown: str) -> None:
    assert drop_invisible(middle, place(buffer)) == shown


# Default_Ignorable_Code_Point of Unicode 16, DerivedCoreProperties.txt.
IGNORABLE = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip


def test_what_unicode_calls_ignorable_is_dropped() -> None:
    for first, last in IGNORABLE:
        for code in range(first, last + 1):
            assert drop_invisible(f"a{chr(code)}b", place("x = ‸")) == "ab", hex(code)
            assert drop_invisible(f"a{chr(code)}b", place(f"x{chr(code)} = ‸")) == f"a{chr(code)}b", hex(code)


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
    assert drop_doubled_space(middle, place(buffer)) == shown


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
    assert drop_repeated_line(middle, place(buffer)) == shown


def test_trim() -> None:
    assert trim_end("  \n ", place("‸")) == ""
    assert trim_end("  a", place("‸")) == "  a"


@pytest.mark.parametrize(
    ("buffer", "middle", "unit"),
    [
        ("return ‸", "a + b\n\ndef", "a + b"),
        ("return ‸", "a + b", None),  # the line may go on
        ("f(‸)", "a,\n  b", "a,"),  # text to the right: this line only
        ("if ‸\n", "x:\n    y()\nz()\n", "x:\n    y()"),
        ("if ‸\n", "x:\n    y()\nelse:\n    z()\nw = 1\n", "x:\n    y()\nelse:\n    z()"),
        ("if (‸\n", "x) {\n  y();\n}\nz();\n", "x) {\n  y();\n}"),
        ("‸\n", "a = 1\nb = 2\n\nc", "a = 1\nb = 2"),
        ("def f():\n    ‸\n", "a = 1\n\n    return a\n\ndef g", "a = 1\n\n    return a"),  # a body goes on
        ("def f():\n    ‸\n", "with x:\n        y()\n    return 1\n\n", "with x:\n        y()\n    return 1"),
        ("def f():\n    ‸\n", "return 1\n\ndef g", "return 1"),
        ("f() {\n  ‸\n}\n", "a();\n}\n", "a();"),
        ("    ‸\n    return x\n", "x = 1\n    return x\n", "x = 1"),  # what already follows
        ("def f():\n    ‸\n", "a = 1\n    b", None),
        ("def f():\n‸\n        else:\n            c()\n", "    for a in b:\n        if a:\n", None),  # no body of it
        ("x = 1‸\n", "\ny = 2", ""),  # a finished line: nothing to add to it
        ("def f():‸\n", "\n    return 1\n\nx = 1\n", "\n    return 1"),
    ],
)
def test_unit(buffer: str, middle: str, unit: str | None) -> None:
    end = stop_boundary(middle, place(buffer))
    assert (None if end is None else middle[:end]) == unit


@pytest.mark.parametrize(
    ("buffer", "middle", "stop", "early"),
    [
        ("def f(a):\n‸\n    return b\n", "    c = a", 1.0, True),  # b is bound nowhere
        ("def f(a):\n‸\n    return b\n", "    b = a", 1.0, False),
        ("def f(a):\n    n = 0\n‸\n    return a\n", "    a += 1", 1.0, True),  # n is read nowhere
        ("def f(a):\n‸\n    return a\n", "    for b in a:", 1.0, True),  # a block without a body
        ("def f(a):\n‸\n        g(a)\n", "    if a:", 1.0, False),  # whose body stands below
        ("def f(a):\n‸\n    return a\n", "    a = g(", 1.0, True),  # something is open
        ("def f(a):\n‸\n    else:\n        b()\n", "    c()", 1.0, True),  # else belongs to nothing
        ("def f(a):\n‸\n    else:\n        a()\n", "    if a:\n        c()", 1.0, False),
        ("def f(a):\n‸\n    else:\n        a()\n", "    if a:  # why\n        c()", 1.0, False),
        ("def f(a):\n‸\n    else:\n        a()\n", "    if (a and\n            a):\n        c()", 1.0, False),
        ("def f(a):\n‸\n    else:\n        a()\n", "    elif a:\n        c()", 1.0, False),
        ("def f(a):\n‸\n        )\n", "    a = g(\n        a,", 1.0, False),  # and closed below
        ("def f(a):\n‸\n", "    b = a", 0.5, True),  # the model was not sure
        ("def f(a):\n‸\n", "    b = a", 0.95, False),
        ("def f(a):\n‸\n", "    return a", 0.5, False),  # nothing fits behind it
        ("x = f(‸\n", "a, b", 0.5, False),  # on a line that is begun its end ends it
    ],
)
def test_a_model_that_stopped_too_early(buffer: str, middle: str, stop: float, early: bool) -> None:
    assert PostProcessor(at(buffer)).stopped_early(middle, math.log(stop)) is early
    assert not PostProcessor(at(buffer), ("first_unit",)).stopped_early(middle, math.log(stop))


def test_a_middle_cut_short_loses_its_half_line() -> None:
    processor = PostProcessor(at("def f():\n    ‸\n"))
    assert processor.shown("a = 1\n    b = a +", cut_short=True) == "a = 1"
    assert [applied.rule for applied in processor.applied] == ["whole_lines"]
    assert processor.shown("a = 1", cut_short=True) == "a = 1"


@pytest.mark.parametrize("length", range(1, 40))
def test_growing_never_takes_back_a_decision(length: int) -> None:
    """Once the unit has ended, more text must not move its end."""
    here, whole = place("def f():\n    ‸\n"), "with x:\n        y()\n    return 1\n\nz = 1\n"
    early, final = stop_boundary(whole[:length], here), stop_boundary(whole, here)
    assert early is None or early == final


@pytest.mark.parametrize(
    ("rule", "buffer", "middle", "shown"),
    [
        (rules.drop_markup, "def f():\n‸", "```python\n    return 1\n```\nThis returns 1.", "    return 1"),
        (rules.drop_markup, "def f():\n‸", "    return 1\n```\n", "    return 1"),
        (rules.drop_markup, "def f():\n‸", "```\n```python\n    return 1\n```\nDone.", "    return 1"),  # opened twice
        (rules.drop_markup, "def f():\n‸", "Here is the completed function:\n    return 1", ""),
        (rules.drop_markup, "# note: ‸", "Here is why: ", "Here is why: "),  # prose belongs into a comment
        (rules.drop_markup, "def f():\n‸", "    text = '`x`'", "    text = '`x`'"),
        (rules.drop_repeated_prefix, "total = ‸", "total = a + b", " a + b"),
        (rules.drop_repeated_prefix, "total‸", "totaltotal = a", " = a"),  # more often than once
        (rules.drop_repeated_prefix, "total = ‸", "total = total = a", " a"),
        (rules.drop_repeated_prefix, "type‸", "type typeName = a", " typeName = a"),  # a word of its own
        (rules.drop_repeated_prefix, "  type‸", "  typeName = a", "Name = a"),
        (rules.drop_repeated_prefix, "x = ‸", "x = 1", "x = 1"),  # too short to be no accident
        (rules.drop_repeated_prefix, "    ‸", "    return", "    return"),
        (rules.drop_repeated_block, "‸", "a = 1111\nb = 2222\na = 1111\nb = 2222\na = 1", "a = 1111\nb = 2222"),
        (rules.drop_repeated_block, "‸", "a = 1111\nb = 2222\na = 1111\nc", "a = 1111\nb = 2222\na = 1111\nc"),
        (rules.own_indentation, "if a:\n\tb()\n\tif c:\n‸", "        d()\n", "\t\td()\n"),
        (rules.own_indentation, "if a:\n  b()\n‸", "\tif c:\n\t\td()", "  if c:\n    d()"),
        (rules.own_indentation, "if a:\n    b()\n‸", "    d('\t')", "    d('\t')"),
        (rules.own_indentation, "func f() {\n\t‸", "a()\n\tb()", "a()\n\tb()"),
        (rules.drop_suffix_overlap, "f(‸)", "g(a)", "g(a)"),  # it closes what it opened itself
        (rules.drop_suffix_overlap, "f(‸)", "g(a))", "g(a)"),
        (rules.drop_suffix_overlap, "print('‸')", "it')", "it"),
        (rules.drop_what_follows, "def f():\n    ‸\n    return total\n", "return total", ""),
        (rules.drop_what_follows, "f() {\n  ‸\n}\n", "a();\n}", "a();"),
        (rules.drop_what_follows, "f() {\n  ‸\n}\n", "a();\n}\n\n}", "a();"),
        (rules.drop_what_follows, "f() {\n  ‸\n}\n", "g() {\n}\n}", "g() {\n}"),  # the first closes its own
        (rules.drop_what_follows, "f() {\n  ‸\n}\n", "if (a) {\n  }\n  b();", "if (a) {\n  }\n  b();"),
        (rules.drop_what_follows, "x = ‸\ny = 1", "2", "2"),
        (rules.open_body, "function f(‸\n  return 1;\n}\n", "a)", "a) {"),
        (rules.open_body, "class A ‸\n  f() {\n  }\n}\n", "extends B", "extends B {"),
        (rules.open_body, "function f(‸\n  return 1;\n}\n", "a) {", "a) {"),
        (rules.open_body, "{\n  f(‸\n}\n", "a)", "a)"),  # nothing below lacks its beginning
        (rules.open_body, "x = f(‸\n    .then(g)\n", "a)", "a)"),
        (rules.balance, "f(a‸", "b))", "b)"),
        (rules.balance, "f(a‸", "[0], b)", "[0], b)"),
        (rules.balance, "# a ‸", "b)", "b)"),
        (rules.balance, "x = '‸'", "a)", "a)"),
    ],
)  # fmt: skip
def test_rules(rule: rules.Rule, buffer: str, middle: str, shown: str) -> None:
    language = "javascript" if rule is rules.open_body else "python"
    assert rule(middle, place(buffer, language)) == shown


@pytest.mark.parametrize("rule", rules.PIPELINE)
def test_each_rule_has_a_name_and_a_switch(rule: rules.Rule) -> None:
    processor = PostProcessor(at("total = ‸"), off=[rule.__name__])
    processor.shown("total = a + b  \n\u202e```\nx\nx\n")
    assert rule.__name__ not in {applied.rule for applied in processor.applied}


def test_what_was_applied_is_told() -> None:
    processor = PostProcessor(at("total = add(‸)"))
    assert processor.shown("a, b)  \nx") == "a, b"
    assert [applied.rule for applied in processor.applied] == ["first_unit"]


@pytest.mark.parametrize(
    ("language", "buffer", "middle", "unit"),
    [
        ("javascript", "function f(a) {\n  ‸\n}\n", "return a + 1;\n}\n\nfunction g() {", "return a + 1;"),
        (
            "javascript", "function f(a) {\n  const x = ‸\n  return x;\n}",
            "a.map(b => {\n    return b;\n  });\n  foo();\n", "a.map(b => {\n    return b;\n  });",
        ),
        ("javascript", "if (x) ‸\n", "{\n  y();\n}\nz();\n", "{\n  y();\n}"),
        ("typescript", "foo(‸);\n", "a, b);\nbar();\n", "a, b"),
        ("typescript", "foo(a => ‸);\n", "{\n  b(a);\n});\nbar();\n", "{\n  b(a);\n}"),
        ("typescript", "const a = {‸};\n", "\n  b: 1,\n  c: 2,\n};\nfoo", "\n  b: 1,\n  c: 2,\n"),
        (
            "go", "func f() error {\n\t‸\n}\n", "if err := g(); err != nil {\n\t\treturn err\n\t}\n\treturn nil\n}\n",
            "if err := g(); err != nil {\n\t\treturn err\n\t}\n\treturn nil",
        ),
        ("rust", "fn f() -> i32 {\n    let a = ‸\n    a\n}\n", "5;\n    a\n}\n", "5;"),
        ("rust", "fn f<'a>(x: &'a str) -> i32 {\n    ‸\n}\n", "x.len() as i32\n}\n", "x.len() as i32"),
        (
            "java", "int f(int[] xs) {\n    ‸\n    return total;\n}\n",
            "int n = xs.length;\n    int total = 0;\n    return total;\n", "int n = xs.length;\n    int total = 0;",
        ),
        ("python", "# TODO: ‸\nx = 1\n", "fix this\n# and that\n", "fix this"),
        ("python", 'print("‸")\n', 'hello")\nx = 1\n', 'hello"'),
        ("python", 'def f():\n    """‸\n    return 1\n', 'Return one."""\n    x', 'Return one."""'),
        ("python", "x = foo(\n    a,\n    ‸\n)\n", "b,\n    c,\n)\ny = 1\n", "b,\n    c,"),
        ("python", "x = foo(‸\n", "\n    a,\n    b,\n)\ny = 1\n", "\n    a,\n    b,\n)"),
        ("python", "‸\n    return n\n\nx = 1\n", "def f(n):\n    return n\n", "def f(n):"),
        (
            "python", "def f(xs):\n    ‸\n        total += x\n",
            "total = 0\n    for x in xs:\n        total", "total = 0\n    for x in xs:",
        ),
        (
            "python", "def f(xs):\n    total = 0\n    ‸\n    return total\n",
            "for x in xs:\n        total += x\n    print(1)\n", "for x in xs:\n        total += x",
        ),
        (
            "python", "def f(xs):\n    ‸\n    return total\n",
            "n = len(xs)\n    total = n * 2\n    print(1)\n", "n = len(xs)\n    total = n * 2",
        ),
        (
            "python", "def f(xs):\n    limit = 3\n    ‸\n    return xs\n",
            "xs = sorted(xs)\n    xs = xs[:limit]\n    y", "xs = sorted(xs)\n    xs = xs[:limit]",
        ),
        (
            "python", "def f(n):\n    if n == 0:\n        ‸\n",
            "return 0\n    return n\n\ndef g", "return 0\n    return n",
        ),
    ],
)  # fmt: skip
def test_unit_of_a_language(language: str, buffer: str, middle: str, unit: str) -> None:
    here = place(buffer, language)
    end = stop_boundary(middle, here)
    assert (None if end is None else middle[:end]) == unit
    for length in range(len(middle)):  # what is decided early is not taken back
        assert stop_boundary(middle[:length], here) in (None, end)
