"""A line of another language is not shown, and no line of the file's own is taken for one."""

from __future__ import annotations

import pytest

from midfill.postprocess import Place
from midfill.postprocess.other_language import drop_other_language
from midfill.postprocess.traits import traits
from midfill.syntax.telltales import told
from tests.eval.languages.made import RIGHT, WRONG
from tests.support import at

ZIG = 'const std = @import("std");\n\npub fn main() void {\n    println!("{}", .{1});\n}\n'


def ruled(language: str, buffer: str, middle: str) -> str:
    return drop_other_language(middle, Place.of(at(buffer, language=language)))


@pytest.mark.parametrize(("language", "prefix", "text"), RIGHT)
def test_right_code_stays(language: str, prefix: str, text: str) -> None:
    assert ruled(language, prefix + "‸", text) == text


TOLD = [
    (language, text)
    for language, prefix, text, _ in WRONG
    if not prefix and told(text.split("\n")[0], language) and traits(language).is_code
]


@pytest.mark.parametrize(("language", "text"), TOLD)
def test_a_line_of_another_language_is_the_end(language: str, text: str) -> None:
    assert ruled(language, "‸", text) == ""


def test_there_are_enough() -> None:
    assert len(TOLD) > 30


@pytest.mark.parametrize(
    ("language", "buffer", "middle", "shown"),
    [
        ("zig", "‸", ZIG, ZIG.partition("    println")[0][:-1]),
        ("javascript", "‸", "if a:)", ""),  # what is left when the closer goes
        ("rust", "fn main() {\n    ‸\n}\n", 'println!("hi");', 'println!("hi");'),
        (
            "zig",
            'pub fn a() void {\n    println!("x");\n    ‸\n}\n',
            'println!("y");',
            'println!("y");',
        ),  # so they do it
        ("python", 'SOURCE = """\n‸', "#include <stdio.h>\nint main() {}", "#include <stdio.h>\nint main() {}"),
        ("python", "x = ‸", '"""\n#include <stdio.h>\n"""', '"""\n#include <stdio.h>\n"""'),
        ("python", "# ‸", "function f() {", "function f() {"),
        ("nim", "‸", "echo 'hi'", "echo 'hi'"),  # the table does not know it
        ("markdown", "‸", "def main():\n    pass", "def main():\n    pass"),  # prose: fences hold everything
        ("makefile", "run:\n\t‸", "for f in *.c; do echo $$f; done", "for f in *.c; do echo $$f; done"),
        ("lua", "lo‸", "cal x = 1", "cal x = 1"),
        ("go", "pack‸", "age main", "age main"),
        ("go", "‸", "public class A {\n}", ""),
    ],
)
def test_what_is_shown(language: str, buffer: str, middle: str, shown: str) -> None:
    assert ruled(language, buffer, middle) == shown
