"""Workspaces made from a dict: path to text. ``‸`` is the cursor."""

from __future__ import annotations

import base64
import json
import random
import string
from pathlib import Path

from midfill.context.focus import Focus
from midfill.context.index import Index
from midfill.context.outline import source_file
from midfill.context.sources import SOURCES
from midfill.context.view import Edit, Found, Pick, View
from midfill.syntax import languages
from midfill.types import Snapshot


def index_of(files: dict[str, str]) -> Index:
    index = Index()
    for path, text in files.items():
        assert index.put(source_file(path, path, languages.indexed(path), text))
    return index


def focus_at(path: str, buffer: str) -> Focus:
    return Focus(path, path, languages.indexed(path), buffer.replace("‸", ""), buffer.index("‸"))


def view_of(files: dict[str, str], visited: tuple[str, ...] = (), edits: tuple[Edit, ...] = ()) -> View:
    return View(index_of(files), visited, edits)


def found_by(source: str, view: View, focus: Focus) -> list[Found]:
    """Return what one source finds, the best first."""
    return sorted(SOURCES[source](view, focus), key=lambda found: -found.score)


def names_of(found: list[Found]) -> list[str]:
    """Return the definitions, each once."""
    return list(dict.fromkeys(one.file.definitions[one.at].name for one in found if isinstance(one, Pick)))


def write(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


def snapshot_at(root: Path, path: str, buffer: str) -> Snapshot:
    uri = (root / path).as_uri()
    return Snapshot(uri, 1, languages.indexed(path), buffer.replace("‸", ""), buffer.index("‸"), path=path)


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


_rng = random.Random(14)
LETTERS = string.ascii_letters + string.digits


def drawn(n: int, chars: str = LETTERS) -> str:
    """Return ``n`` drawn characters, with a digit, a small and a capital letter as far as ``chars`` has them."""
    while True:
        value = "".join(_rng.choices(chars, k=n))
        if all(any(map(is_kind, value)) for is_kind in (str.isdigit, str.islower, str.isupper)) or chars != LETTERS:
            return value


def digest(n_bytes: int) -> str:
    """Return this many drawn bytes in hexadecimal."""
    return _rng.randbytes(n_bytes).hex()


KEY = "q7Rt2Zk9Wq4Xv7LpB3nTd6ZcFh1JsGt5EuKw0iR2"


def signed(body: bytes, **head: str) -> str:
    """Return a JSON web token with this body."""
    parts = (json.dumps({"alg": "RS256", **head}).encode(), body)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "." + drawn(43)


def token(algorithm: str, **claims: str | int) -> str:
    """Return a JSON web token with these claims."""
    return signed(json.dumps(claims).encode(), alg=algorithm)
