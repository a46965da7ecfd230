"""Places where text that looks like a secret is more likely an example. `‸` is the place in question."""

from __future__ import annotations

import pytest

from midfill.context.example import Surroundings, is_example


@pytest.mark.parametrize(
    "path",
    [
        "tests/a.py", "a/test/b.go", "src/test/java/A.java", "pkg/a_test.go", "test_a.py", "conftest.py", "a.spec.ts",
        "a/__tests__/b.js", "spec/a_spec.rb", "fixtures/a.json", "examples/a.rs", "Core.Tests/A.cs", "AppTests/A.swift",
        "t/01_ntlm.t", "t/lib/A.pm", "xt/pod.t", "a/b.t",
        "src/UserTest.java", "README.md", "docs/usage.rst", "a/__mocks__/b.ts", "test-utils/a.ts",
    ],
)  # fmt: skip
def test_files_of_examples(path: str) -> None:
    assert is_example(path)


@pytest.mark.parametrize(
    "path",
    [
        "a.py", "contest.py", "latest/a.go", "src/attestation.rs", "protest.rb", "src/inspector.ts", "greatest_a.py",
        "testament.py", "specification/a.c", "src/Fastest.java", "documents.py", "", "lib/t.pm",
        "t/a.py", "at/a.pm",
    ],
)  # fmt: skip
def test_other_files(path: str) -> None:
    assert not is_example(path)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("code", "a = ‸1\n"),
        ("code", "# one\na = ‸1\n"),
        ("code", "a = 1  # ‸key\n"),
        ("code", "# one\n# ‸two\na = 1\n"),  # two lines are as likely code that was put out of use
        ("example", "# one\n# ‸two\n# three\n"),
        ("example", "\t// one\n\t// two\n\t// ‸three"),
        ("code", "#define A\n#define B ‸1\n#include <c>\n"),
        ("code", "#[a]\n#[b]\n#[c(‸)]\n"),
        ("code", "run \\\n  --user a \\\n  --password ‸b \\\n  --now c\n"),
        ("example", "-- one\n-- ‸two\n-- three\n"),
        ("documentation", "/* a\n ‸b */\nc\n"),
        ("code", "/* a\n b */\n‸c\n"),
        ("code", "paths('a/*', ‸key, 'b/*')\n/* c */\n"),
        ("code", "/* never closed\n‸\n"),
        ("documentation", "/// ‸a\nfn b() {}\n"),
        ("documentation", "//! ‸a\nfn b() {}\n"),
        ("documentation", 'def f():\n    """A.\n\n    ‸b\n    """\n'),
        ("documentation", '"""A‸."""\nb = 1\n'),
        ("documentation", "class A:\n    r'''‸B'''\n"),
        ("code", 'a = """\n‸b\n"""\n'),
        ("code", 'a = """\nb\n"""\n‸c = 1\nd = """\ne\n"""\n'),
        ("code", '    end of what begins above.\n    """\n    ‸a = 1\n\ndef f():\n    """B."""\n'),  # part of a file
        ("code", '"""\n‸a = 1\n\ndef f():\n    """B."""\n'),
        ("documentation", "<!-- ‸a -->\n<p>b</p>\n"),
        ("documentation", "=begin\n‸a\n=end\n"),
        ("documentation", "1;\n=head1 NAME\n\n‸a\n"),  # it may end with the file
        ("code", "=begin\n‸a\n"),
        ("documentation", ">>> ‸a\n"),
        ("code", "> ‸a\n"),
        ("example", "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    ‸\n}\n"),
        ("code", "fn a() {‸}\n\n#[cfg(test)]\nmod tests {\n}\n"),
        ("code", "#[cfg(test)]\nuse a;\nfn b() {‸}\n"),
        ("code", "#[cfg(test)]\nmod tests;\nfn b() {‸}\n"),
    ],
)
def test_surroundings(place: str, text: str) -> None:
    assert Surroundings(text.replace("‸", ""), "a").at(text.index("‸")) == place


def test_a_file_of_tests() -> None:
    assert Surroundings("a = 1\n", "tests/a.py").at(2) == "example"
    assert Surroundings("/* a */\n", "tests/a.c").at(3) == "documentation"
