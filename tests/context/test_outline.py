"""Definitions and their signatures, language by language."""

from __future__ import annotations

import pytest

from midfill.context import signatures
from midfill.context.kinds import KINDS
from midfill.context.outline import MAX_DEFINITIONS, outline
from midfill.syntax import languages
from midfill.syntax.parsers import parser_for

# (language, text, [(name, owner, signature)])
ROWS = [
    (
        "python",
        'class A(B):\n    """About."""\n    x: int = 1\n    def __init__(self, y):\n'
        "        self.y = y\n        self.x = 2\n"
        "    @property\n    def p(self) -> str:\n        return ''\n"
        "    async def f(self, a: int,\n          b=2,\n    ) -> str:\n"
        "        return 1\nLIMIT = 3\nif 1:\n    def k(): pass\n",
        [
            ("A", "", "class A(B)"), ("x", "A", "x: int = 1"), ("__init__", "A", "def __init__(self, y)"),
            ("y", "A", "self.y = y"), ("p", "A", "p: str"), ("f", "A", "async def f(self, a: int, b=2) -> str"),
            ("LIMIT", "", "LIMIT = 3"), ("k", "", "def k()"),
        ],
    ),
    (
        "javascript",
        "exports.f = function (a) { return 1 };\nA.prototype.g = (x) => x;\nconst o = require('./x');\n"
        "function k() {}\nclass Z extends Y { m(a) {} }\nexport const N = freeze({ is(n) { return 1 }, });\n",
        [
            ("f", "", "exports.f = function (a)"), ("g", "", "A.prototype.g = (x) =>"), ("k", "", "function k()"),
            ("Z", "", "class Z extends Y"), ("m", "Z", "m(a)"),
            ("N", "", "export const N = freeze"), ("is", "N", "is(n)"),
        ],
    ),
    (
        "typescript",
        "export class A extends B {\n  x: number = 1;\n  f(a: number): string { return 1 }\n}\n"
        "export interface I { a: string; }\nexport const g = async (a: number) => { };\nexport type T = string;\n"
        "namespace N { export function z(): void {} }\n",
        [
            ("A", "", "export class A extends B"), ("x", "A", "x: number = 1"), ("f", "A", "f(a: number): string"),
            ("I", "", "export interface I { a: string; }"), ("g", "", "export const g = async (a: number) =>"),
            ("T", "", "export type T = string;"), ("z", "", "export function z(): void"),
        ],
    ),
    ("typescriptreact", "export const V = (p: P) => <div/>;\n", [("V", "", "export const V = (p: P) =>")]),
    (
        "java",
        "package a.b;\npublic class A<T> extends B {\n  private final int x = 1;\n  public A(int a) { }\n"
        "  public String f(int a) throws E { return 1; }\n  enum E { P }\n}\nrecord R(int a) {}\n",
        [
            ("A", "", "public class A<T> extends B"), ("x", "A", "private final int x = 1"),
            ("A", "A", "public A(int a)"), ("f", "A", "public String f(int a) throws E"), ("E", "A", "enum E"),
            ("P", "E", "P"), ("R", "", "record R(int a)"),
        ],
    ),
    (
        "go",
        "package a\ntype T struct {\n\tX int\n}\nfunc (t *T) F(a int) string { return 1 }\nfunc G() {}\n"
        "const (\n\tA = 1\n)\n",
        [
            ("T", "", "type T struct {\nX int\n}"), ("F", "T", "func (t *T) F(a int) string"), ("G", "", "func G()"),
            ("A", "", "A = 1"),
        ],
    ),
    (
        "rust",
        "pub struct S { pub x: i32 }\nimpl S {\n pub fn f(&self, a: i32) -> String { 1 }\n}\npub trait Tr { fn g(); }\n"
        "const C: i32 = 1;\nmod x { fn h() {} }\n",
        [
            ("S", "", "pub struct S { pub x: i32 }"), ("S", "", "impl S"),
            ("f", "S", "pub fn f(&self, a: i32) -> String"),
            ("Tr", "", "pub trait Tr"), ("g", "Tr", "fn g()"), ("C", "", "const C: i32 = 1"), ("h", "", "fn h()"),
        ],
    ),
    (
        "c",
        "typedef struct { int a; } T;\nstatic int f(T *t) { return 1; }\nint *g(void);\nint var = 1;\n#define X 1\n",
        [("T", "", "typedef struct { int a; } T;"), ("f", "", "static int f(T *t)"), ("g", "", "int *g(void)"),
         ("X", "", "#define X 1")],
    ),
    (
        "cpp",
        "namespace n {\ntemplate <class T> class A : public B {\n public:\n  int f(int a) const;\n  int x;\n};\n}\n"
        "int A::g(int a) const { return 1; }\n",
        [
            ("A", "", "template <class T> class A : public B"), ("f", "A", "int f(int a) const"), ("x", "A", "int x"),
            ("g", "A", "int A::g(int a) const"),
        ],
    ),
    (
        "csharp",
        "namespace A.B {\n public class C : D {\n  public int X { get; set; }\n  private int y;\n"
        "  public string F(int a) { return 1; }\n }\n}\n",
        [("C", "", "public class C : D"), ("X", "C", "public int X { get; set; }"), ("y", "C", "private int y"),
         ("F", "C", "public string F(int a)")],
    ),
    (
        "ruby",
        "module M\n class A < B\n  X = 1\n  def f(a, b)\n    1\n  end\n end\nend\n",
        [("A", "", "class A < B"), ("X", "A", "X = 1"), ("f", "A", "def f(a, b)")],
    ),
    (
        "php",
        "<?php\nclass C extends D {\n  const X = 1;\n  private $y = 1;\n"
        "  public function f(int $a): string { return 1; }\n}\nfunction g($x) { }\n",
        [("C", "", "class C extends D"), ("X", "C", "const X = 1"), ("y", "C", "private $y = 1"),
         ("f", "C", "public function f(int $a): string"), ("g", "", "function g($x)")],
    ),
    (
        "kotlin",
        "class A(val x: Int) : B() {\n  val y: Int = 1\n  fun f(a: Int): String { return 1 }\n}\nobject O { }\n",
        [("A", "", "class A(val x: Int) : B()"), ("y", "A", "val y: Int = 1"), ("f", "A", "fun f(a: Int): String"),
         ("O", "", "object O")],
    ),
]  # fmt: skip


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
