"""A cursor before code on its own line: the insertion leaves the document sound, or nothing is shown."""

from __future__ import annotations

import ast

import pytest

from midfill.postprocess import PostProcessor
from tests.postprocess.driven import shown, snapshot

FOR = "def f(xs):\n‸    for x in xs:\n        total += x\n    return total\n"
INDENTED = FOR.replace("‸    ", "    ‸")


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [
        ("python", FOR, "    total = 0", "    total = 0\n"),
        ("python", FOR, "    total = 0\n", "    total = 0\n"),
        ("python", FOR, "    total = 0\n    for x in xs:\n", "    total = 0\n"),
        ("python", FOR, "    total = 0\n    for x in xs:\n        total += x", "    total = 0\n"),
        ("python", FOR, "total = 0", ""),  # it would end the function
        ("python", FOR, "    if xs:", ""),  # its body would be missing
        ("python", INDENTED, "total = 0", "total = 0\n    "),
        ("python", INDENTED, "total = 0\n    for x in xs:\n", "total = 0\n    "),
        ("python", INDENTED, "async ", "async "),  # it goes on with the line
        ("python", "def f():\n‸        return 1\n", "    if a:", "    if a:\n"),
        ("python", "x = [\n    ‸b,\n]\n", "a,", "a,\n    "),
        ("python", "x = f(\n‸)\n", "    a,\n    b,\n)\n", "    a,\n    b,\n"),
        ("javascript", "async function f() {\n  ‸foo();\n}\n", "await ", "await "),
        ("javascript", "async function f() {\n  ‸foo();\n}\n", "await foo();\n", "await "),
        ("javascript", "function f() {\n  ‸foo();\n}\n", "const x = 1;\n  foo();", "const x = 1;\n  "),
        ("javascript", "function f() {\n‸}\n", "  return 1;\n}\n", "  return 1;\n"),
        ("javascript", "f(\n  ‸)\n", "a,", "a,\n  "),
        ("go", "func f() {\n\t‸return nil\n}\n", "defer g()\n\treturn nil", "defer g()\n\t"),
        ("yaml", "a:\n  ‸b: 1\n", "c: 2\n", "c: 2\n  "),
        ("html", "<ul>\n  ‸<li>b</li>\n</ul>\n", "<li>a</li>\n", "<li>a</li>\n  "),
        ("lua", "function f()\n  ‸return 1\nend\n", "local a = 1\n", "local a = 1\n  "),
        ("markdown", "‸brown fox\n", "The quick", "The quick"),  # in prose a line may go on
        ("markdown", "‸- pears\n", "- apples", "- apples\n"),
        # elsewhere on a line everything is as it was
        ("python", "x = ‸ + 1\n", "a\nb", "a"),
        ("python", "return ‸x\n", "not ", "not "),
        ("javascript", "f(‸)\n", "a, b)", "a, b"),
        ("clojure", "(defn f [x]\n  ‸)\n", "(inc x))\n", "(inc x)"),
    ],
)
def test_a_line_of_its_own(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text


@pytest.mark.parametrize("buffer", [FOR, INDENTED])
@pytest.mark.parametrize("said", ["total = 0", "if xs:", "for x in xs:", "total = 0\nfor", "@a", "x = [", "pass\n"])
@pytest.mark.parametrize("lead", ["", "    ", "        "])
def test_python_stays_sound(buffer: str, said: str, lead: str) -> None:
    text = shown("python", buffer, lead + said)
    ast.parse(buffer.replace("‸", text))


def test_nothing_of_it_is_shown_before_its_end_is_known() -> None:
    processor = PostProcessor(snapshot("python", FOR))
    assert processor.shown("    total") == ""
    assert processor.shown("    total = [", cut_short=True) == ""
    assert processor.shown("    total = 0", finished=True) == "    total = 0\n"
