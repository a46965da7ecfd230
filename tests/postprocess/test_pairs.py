"""Where all brackets pair around the cursor, they pair with the suggestion too; where they do not, it may mend them."""

from __future__ import annotations

import pytest

from midfill.postprocess import Place, rules
from tests.postprocess.driven import shown, snapshot


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [
        ("php", "<?php\nf(function ($v) {‸\n});\n", " return $v !== null; });", " return $v !== null;"),
        ("typescript", "import {‸\n} from './a';\n", " A, B } from './b';", " A, B"),
        (
            "cpp",
            "void f(int a,\n       ‸\n       long c);\n",
            "int b,\n       long d) noexcept;",
            "int b,\n       long d",
        ),
        ("css", "a {\n  to {‸\n  }\n}\n", "}", ""),
        ("go", "x := f(‸\n)\n", "1, 2)", "1, 2"),
        ("rust", "let a = [\n    1,\n    ‸\n];\n", "2,\n    3,\n];\nlet b = 4;", "2,\n    3,"),
        ("java", "f(a, ‸\n);\n", "b);\n}", "b"),
        # What it closes it opens again.
        ("javascript", "if (a) {\n  f();\n‸\n}\n", "} else {\n  g();", "} else {\n  g();"),
        ("java", "f(a, ‸\n);\n", "b); g(c", "b); g(c"),
        ("kotlin", "if (a) { f() ‸ }\n", "} else { g()", "} else { g()"),
        # Nothing below closes it.
        ("php", "<?php\nf(function ($v) {‸\n", " return $v; });", " return $v; });"),
        ("go", "x := f(‸\n", "1, 2)", "1, 2)"),
        ("typescript", "import {‸\n", " A } from './a';", " A } from './a';"),
        # In a string and in a comment brackets are text, and a character is one too.
        ("python", "x = [\n    ‸\n]\n", "':)', ']',", "':)', ']',"),
        ("c", "char x[] = {‸\n};\n", " '}', ')'", " '}', ')'"),
        ("javascript", "f({\n  ‸\n});\n", "a: 1, // :)\n  b: 2,", "a: 1, // :)\n  b: 2,"),
        # A bracket may be closed there that was never opened.
        ("shellscript", 'case "$1" in\n  a) (b\n  ‸\n  )\nesac\n', "stop) halt;;", "stop) halt;;"),
    ],
)
def test_what_is_closed_below_is_not_closed_twice(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [
        (
            "typescript", "for (const a of b) {\n  ‸\n}\n",
            "if (f(a)) {\n    g(a);\n    continue;", "if (f(a)) {\n    g(a);\n    continue;\n  }",
        ),
        ("ruby", "a = {\n  ‸\n}\n", "b: lambda { |c| c + 1", "b: lambda { |c| c + 1 }"),
        ("python", "x = f(\n    ‸\n)\n", "a, g(b", "a, g(b)"),
        ("kotlin", "g(‸\n)\n", "A(\n    b", "A(\n    b\n)"),
        # Whoever goes on writes the content.
        ("go", "func f() {\n\t‸\n}\n", "if a {", "if a {"),
        ("ruby", "a = {\n  ‸\n}\n", "b: lambda { |c|", "b: lambda { |c|"),
        # The text below closes it, or more is open than that closes.
        ("go", "func f() {\n\t‸\n\t}\n}\n", "if a {\n\t\tb()", "if a {\n\t\tb()"),
        ("python", "x = f(\n    ‸\n", "a, g(b", "a, g(b"),
        ("yaml", "a: [\n  ‸\n]\n", "b, (c", "b, (c"),
    ],
)  # fmt: skip
def test_what_it_opened_is_closed(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [
        ("rust", "let a = ‸\nf(a);\n", 'r#"one', 'r#"one"#'),
        ("python", "x = 1\n‸\nz = 3\n", 'y = "two', 'y = "two"'),
        ("python", "def f():\n    ‸\n    return 1\n", '"""Say one.', '"""Say one."""'),
        ("javascript", "const a = ‸;\n", "`one ${two} three", "`one ${two} three`"),
        # One that is whole, a lifetime, an apostrophe, a type's variable.
        ("python", "x = ‸\nz = 3\n", '"it\'s"', '"it\'s"'),
        ("rust", "fn f<‸\n>() {}\n", "'a", "'a"),
        ("python", "x = 1  ‸\n", "# it's one", "# it's one"),
        # Nobody knows where it was to end.
        ("rust", "let a: &str =‸\nf(a);\n", ' r#"\n<p>one', ' r#"\n<p>one'),
        ("javascript", "const a = ‸;\n", "`one ${two", "`one ${two"),
        ("typescriptreact", "return (\n  ‸\n);\n", '<div className="', '<div className="'),
        # In one that is open already, the text below tells where it ends.
        ("python", 'x = """\n‸\n"""\n', "it's \"one", "it's \"one"),
        ("markdown", "one\n‸\n", "it's `two", "it's `two"),
    ],
)
def test_no_string_stays_open(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text


@pytest.mark.parametrize(
    ("language", "buffer", "middle", "text"),
    [
        ("dockerfile", "RUN a && \\‸\n", "\\\n    b", "\n    b"),
        ("shellscript", "run --a \\‸\n", " \\\n  --b", "\n  --b"),
        ("c", "#define A(x) \\‸\n", "\\\n  f(x)", "\n  f(x)"),
        ("python", "x = a + \\‸\n", "\n    b", "\n    b"),
        ("python", "x = '\\\\‸\n", "\\n'", "\\n'"),
        ("latex", "a \\\\‸\n", "\n  b", "\n  b"),
    ],
)
def test_the_mark_that_a_line_goes_on_stands_once(language: str, buffer: str, middle: str, text: str) -> None:
    assert rules.drop_repeated_prefix(middle, Place.of(snapshot(language, buffer))) == text
