"""Definitions and their signatures, language by language."""

from __future__ import annotations

import pytest

from midfill.context import signatures
from midfill.context.kinds import KINDS
from midfill.context.outline import MAX_DEFINITIONS, outline
from midfill.syntax import languages
from midfill.syntax.parsers import parser_for
from tests.context.made import ROWS


@pytest.mark.parametrize(("language", "text", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_definitions(language: str, text: str, expected: list[tuple[str, str, str]]) -> None:
    assert [(one.name, one.owner, one.signature) for one in outline(text, language)] == expected


def test_every_language_has_a_row_and_a_grammar() -> None:
    assert {row[0] for row in ROWS} | {"javascriptreact"} == set(KINDS)
    assert set(KINDS) <= {language.id for language in languages.LANGUAGES.values() if language.indexed}
    assert all(parser_for(language) is not None for language in KINDS)


@pytest.mark.parametrize(
    ("language", "text", "doc"),
    [
        ("python", 'def f():\n    """Add. \n\n    More."""\n', "Add."),
        ("python", "def f():\n    x = 1\n", ""),
        ("java", "class A {\n  /** Adds. */\n  int f() { return 1; }\n}", "Adds."),
        ("go", "// F adds.\nfunc F() {}\n", "F adds."),
        ("go", "// Of something else.\n\nfunc F() {}\n", ""),
    ],
)
def test_the_first_line_of_documentation(language: str, text: str, doc: str) -> None:
    assert outline(text, language)[-1].doc == doc


@pytest.mark.parametrize(
    ("head", "shown"),
    [
        ("def f(\n    a: int,\n    b: str,\n) -> None:", "def f(a: int, b: str) -> None"),
        ("class A(\n  B,\n):", "class A(B)"),
        (
            "def f(self, *, parent: dict[str, int] | None = None, call: Callable[[int, str], None], n=1, *args: Any,"
            " **options: Unpack[Everything]) -> Result",
            "def f(self, *, parent=..., call, n=..., *args, **options) -> Result",
        ),
        ("void f(" + "int a, " * 60 + "int b)", None),
    ],
)
def test_a_signature_is_one_line_of_bounded_length(head: str, shown: str | None) -> None:
    said = signatures.call(head)
    assert len(said) <= signatures.MAX
    assert "\n" not in said
    assert shown is None or said == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x: int = 3", "x: int = 3"),
        ("x: list[int] = field(default_factory=list)", "x: list[int]"),
        ("X = (\n 1,\n 2)", "X = ..."),
        ("NAME = 'a'", "NAME = 'a'"),
        ("self.a: B = B(1)", "self.a: B"),
        ("x == y", "x == y"),
    ],
)
def test_a_value(text: str, shown: str) -> None:
    assert signatures.value(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "def f(:\n  ((((",
        "class " * 5000,
        "(" * 20_000,
        "x = [" * 3000,
        "\ufffd\x00\x01",
        "def " + "a" * 50_000 + "():\n pass",
        "\n".join(f"def f{n}(): pass" for n in range(MAX_DEFINITIONS + 500)),
        "".join("    " * n + f"class A{n}:\n" for n in range(60)),
    ],
)
@pytest.mark.parametrize("language", ["python", "typescript", "cpp"])
def test_what_is_broken_or_endless_is_read_within_bounds(language: str, text: str) -> None:
    found = outline(text, language)
    assert len(found) <= MAX_DEFINITIONS
    assert all(len(one.name) <= 100 and len(one.signature) < 3000 for one in found)


@pytest.mark.parametrize(
    ("name", "signature", "shown"),
    [
        ("send", "def send(self, data: bytes) -> int", "send(data: bytes) -> int"),
        ("make", "def make(cls)", "make()"),
        ("size", "self.size: int", "size: int"),
        ("f", "public String f(int a) throws E", "f(int a) throws E"),
        ("x", "private final int x = 1", "x = 1"),
        ("f", "pub fn f(&self, a: i32) -> String", "f(a: i32) -> String"),
        ("F", "func (t *T) F(a int) string", "F(a int) string"),
    ],
)
def test_a_member_as_it_is_used(name: str, signature: str, shown: str) -> None:
    assert signatures.use(name, signature) == shown
