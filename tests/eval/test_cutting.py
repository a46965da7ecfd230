"""Where holes are cut, in several languages, and that nothing of a hole is left beside it or on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from midfill.eval.cutting import KINDS, Code, cross_file, member
from midfill.eval.repository import ALL_KINDS, MAX_FILE_BYTES, Cutter, copied, read
from midfill.types import MidfillError

PYTHON = '''"""A docstring that spells total = add(one, two)."""
from shapes import multiply

class Plan(Base):
    def area(self, width, height):
        """Text alone is no code."""
        total = multiply(width, height)  # a comment
        scaled = scale(total, (1, 2))
        other = total
        return scaled

text = """
inner = call(argument)
"""
'''
JAVASCRIPT = """import { multiply } from './shapes';
function area(width, height) {
  // a comment
  const total = multiply(width, height);
  return total;
}
"""
GO = """package shapes

func Area(width int, height int) int {
\ttotal := Multiply(width, height)
\treturn total
}
"""
RUBY = """def area(width, height)
  total = multiply(width, height)
  total
end
"""


@pytest.mark.parametrize(("language", "text", "kind", "has", "has_not"), [
    ("python", PYTHON, "rest-of-line", {"scale(total, (1, 2))", "width, height):"}, {"scaled = scale(total, (1, 2))"}),
    ("python", PYTHON, "line", {"other = total", "class Plan(Base):"}, {"from shapes import multiply"}),
    ("python", PYTHON, "call-arguments", {"total, (1, 2)"}, {"width, height", "argument", "one, two", "Base"}),
    ("python", PYTHON, "mid-word", {"led = scale(total, (1, 2))", "ale(total, (1, 2))", "her = total"}, {"pes import"}),
    ("javascript", JAVASCRIPT, "block", {"const total = multiply(width, height);\n  return total;"}, set()),
    ("javascript", JAVASCRIPT, "call-arguments", {"width, height"}, set()),
    ("javascript", JAVASCRIPT, "line", {"return total;"}, {"// a comment", "}"}),
    ("go", GO, "block", {"total := Multiply(width, height)\n\treturn total"}, set()),
    ("go", GO, "mid-word", {"iply(width, height)"}, {"pes"}),
    ("ruby", RUBY, "block", {"total = multiply(width, height)\n  total"}, set()),
    ("ruby", RUBY, "rest-of-line", {"multiply(width, height)"}, set()),
])  # fmt: skip
def test_kinds(language: str, text: str, kind: str, has: set[str], has_not: set[str]) -> None:
    code = Code.read(text, language)
    assert code is not None
    found = {text[start:end] for start, end in KINDS[kind](code)}
    assert has <= found
    assert not has_not & found
    assert not any("#" in middle or '"""' in middle or "//" in middle for middle in found)


def test_offsets_are_code_points() -> None:
    text = "naïve = '🐍'\ntotal = multiply(naïve, '🐍', width)\n"
    code = Code.read(text, "python")
    assert code is not None
    assert {text[start:end] for start, end in KINDS["call-arguments"](code)} == {"naïve, '🐍', width"}


@pytest.mark.parametrize(("text", "names"), [
    ("from shapes import multiply\n\nx = multiply(2)\n", ["multiply"]),
    ("import shapes\n\nx = shapes.multiply(2)\n", ["multiply"]),
    ("x = multiply(multiply(2))\n", []),  # the file says it twice
    ("def multiply(x): pass\n", []),  # it is this file's own
    ("# multiply\nx = 'multiply'\n", []),
    ("from shapes import multiply\n", []),
])  # fmt: skip
def test_cross_file(text: str, names: list[str]) -> None:
    code = Code.read(text, "python")
    assert code is not None
    found = list(cross_file(code, frozenset({"multiply"})))
    assert [name for _, name in found] == names
    assert all(text[start:end].startswith(name) for (start, end), name in found)


@pytest.mark.parametrize(("language", "text", "defined"), [
    ("python", "class Plan:\n    def area(self): pass\nLIMIT = 3\n", {"Plan", "area", "LIMIT"}),
    ("python", "def outer():\n    inner = 1\n", {"outer"}),
    ("javascript", "export function area() {}\nclass Plan { size() {} }\n", {"area", "Plan", "size"}),
    ("javascript", "const LIMIT = 3;\n", {"LIMIT"}),
    ("go", "package a\nfunc Area() {}\ntype Plan struct { Size int }\n", {"Area", "Plan"}),
    ("rust", "fn area() {}\nstruct Plan { size: i32 }\n", {"area", "Plan"}),
    ("java", "class Plan { int area() { return 1; } }\n", {"Plan", "area"}),
    ("c", "int area(int x) { return x; }\n", {"area"}),
])  # fmt: skip
def test_defined(language: str, text: str, defined: set[str]) -> None:
    code = Code.read(text, language)
    assert code is not None
    assert defined <= code.defined
    assert "inner" not in code.defined


def test_a_language_without_a_grammar() -> None:
    assert Code.read("x", "plaintext") is None


def test_deep_code() -> None:
    assert Code.read("(" * 20_000 + ")" * 20_000, "python") is not None


def repository(root: Path) -> Path:
    """A small one, with what must not be looked at."""
    body = "".join(
        f"def step_{n}(first, second):\n    total = first + second * {n}\n    return total\n\n\n" for n in range(12)
    )
    (root / "shop").mkdir(parents=True)
    (root / "shop" / "steps.py").write_text(body)
    using = "from shop import steps\n\n\n" + "".join(
        f"def use_{n}(value):\n    result = {receiver}.step_{n}(value, value)\n    return [result, {n}]\n\n\n"
        for n, receiver in enumerate(("steps", "value", "steps") * 4)
    )
    (root / "use.py").write_text(using)
    (root / "copy_of_use.py").write_text(using)
    (root / ".git").mkdir()
    (root / ".git" / "hidden.py").write_text("x = 1\n")
    (root / "node_modules").mkdir()
    (root / "node_modules" / "made.js").write_text("x = 1\n")
    (root / "large.py").write_text("x = 1\n" * MAX_FILE_BYTES)
    (root / "binary.py").write_bytes(b"\xff\xfe\x00")
    (root / "dos.py").write_bytes(b"x = 1\r\ny = 2\r\n")
    (root / "notes.txt").write_text("not code\n")
    (root.parent / "outside.py").write_text("secret = 1\n")
    (root / "link.py").symlink_to(root.parent / "outside.py")
    (root / "folder").symlink_to(root.parent)
    os.mkfifo(root / "pipe.py")
    return root


def test_what_is_read(tmp_path: Path) -> None:
    texts = read(repository(tmp_path / "r"))
    assert set(texts) == {"shop/steps.py", "copy_of_use.py", "dos.py"}  # of two that are alike, one
    assert texts["dos.py"] == "x = 1\ny = 2\n"


def test_holes_of_a_repository(tmp_path: Path) -> None:
    root = repository(tmp_path / "r")
    before = {path: path.read_bytes() for path in root.glob("**/*.py") if path.is_file() and not path.is_symlink()}
    with copied(root) as workspace:
        cutter = Cutter(workspace.texts)
        holes = cutter.cut(30, seed=1)
        assert holes == Cutter(workspace.texts).cut(30, seed=1)
        assert holes != cutter.cut(30, seed=2)
        assert cutter.cut(6, ["line"]) == cutter.cut(12, ["line"])[:6]
        assert {hole.kind for hole in holes} == set(ALL_KINDS)
        for hole in holes:
            snapshot = workspace.see(hole)
            assert hole.prefix + hole.middle + hole.suffix == workspace.texts[hole.path]
            on_disk = {path: (workspace.folder / path).read_text() for path in workspace.texts}
            assert on_disk[hole.path] == snapshot.text == hole.prefix + hole.suffix
            assert all(text == workspace.texts[path] for path, text in on_disk.items() if path != hole.path)
            assert snapshot.uri == (workspace.folder / hole.path).as_uri()
            if hole.kind == "cross-file":
                assert hole.name in hole.middle
                assert hole.name not in snapshot.text
                assert hole.name in on_disk["shop/steps.py"]
    assert not workspace.folder.exists()
    assert {path: path.read_bytes() for path in before} == before


def test_lines_that_stand_elsewhere_are_no_hole() -> None:
    body = "".join(f"def step_{n}(first):\n    return first + {n}\n\n\n" for n in range(20))
    texts = {"a.py": body, "b.py": body + "x = 1\n"}
    assert Cutter(texts).cut(5) == []
    assert len(Cutter({"a.py": body}).cut(5)) == 5


def test_a_minified_line_is_no_hole() -> None:
    long = "total = [" + ", ".join(f"item_{n}" for n in range(200)) + "]\n"
    body = "".join(f"first_{n} = second_{n}\n" for n in range(40))
    holes = Cutter({"a.py": body + long + body.replace("first", "third")}).cut(200)
    assert len(holes) > 20
    assert max(len(hole.middle) for hole in holes) < 600


@pytest.mark.parametrize("make", [lambda root: root / "missing", lambda root: root])
def test_no_repository(tmp_path: Path, make: object) -> None:
    with pytest.raises(MidfillError, match=r"not a folder|no source files"), copied(make(tmp_path)):  # type: ignore[operator]
        pass


@pytest.mark.parametrize(("line", "names"), [
    ("    x = shop.multiply(1)", ["multiply"]),
    ("    x = self.shop.multiply(1)", ["multiply"]),
    ("    x = multiply(1)", []),  # behind no dot
    ("    x = tools.multiply(1)", []),  # a module's
    ("    x = shop.multiply(shop.multiply(1))", []),  # said twice
    ('    x = "shop.multiply"', []),
])  # fmt: skip
def test_member(line: str, names: list[str]) -> None:
    code = Code.read(f"import tools\n\n\ndef f(shop):\n{line}\n", "python")
    assert code is not None
    found = list(member(code, frozenset({"multiply"})))
    assert [name for _, name in found] == names
    for (start, end), name in found:
        assert code.text[start:end].startswith(name)
        assert code.text[start - 1] == "."
        assert code.text[end] == "\n"
