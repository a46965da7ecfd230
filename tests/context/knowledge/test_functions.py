"""What functions take, by the workspace's own files. ``‸`` is the cursor."""

from __future__ import annotations

import pytest

from midfill.context.knowledge.functions import signatures_at
from midfill.context.knowledge.homes import Sight
from midfill.syntax.calls import Signature
from tests.context.made import focus_at, index_of

GO = {
    "go.mod": "module example.com/depot\n",
    "store/store.go": "package store\n\nfunc Open(path string, flags, mode int) error { return nil }\n\n"
    "func Log(text string, more ...any) {}\n\nfunc (s *Store) Find(a int) {}\n",
    "main.go": "package main\n\nfunc helper(a int) {}\n",
    "a_linux.go": "package main\n\nfunc system(a int) {}\n",
    "a_darwin.go": "package main\n\nfunc system(a, b int) {}\n",
}
SCRIPT = {
    "store.ts": "export function open(path: string, mode?: number, f = (a: number, b: number) => a): void {}\n"
    "export function log(text: string, ...more: unknown[]) {}\n"
    "export function over(a: string): void;\nexport function over(a: string, b: number): void;\n"
    "export function over(a: any, b?: any) {}\nexport function bound(this: Window, a: string) {}\n",
}
GUESSED = {
    "a.kt": "fun open(path: String, mode: Int = 3, vararg rest: String): Int = 1\nfun twice(a: Int) {}\n",
    "b.kt": "fun twice(a: Int, b: Int) {}\n",
    "a.cs": "class A { public void Open(string path, int mode = 3, params int[] rest) { } }\n",
    "a.rb": "def open(path, mode = 3, strict: false, **more)\nend\n",
    "a.php": "<?php\nfunction open(string $path, ?int $mode = null) { }\n",
}
IMPORTS = "import { open, log, over, bound } from './store.js';\n"


def found(files: dict[str, str], path: str, buffer: str) -> dict[str, Signature]:
    index = index_of({**files, path: buffer.replace("‸", "")})
    return signatures_at(Sight(index, go_folder=lambda _key, name: name.rpartition("/")[2]), focus_at(path, buffer))


def shape(signature: Signature) -> tuple[list[str], bool]:
    return [one.name for one in signature.parameters], signature.any_position


MAIN = 'package main\n\nimport "example.com/depot/store"\n\nfunc f() {{\n{}\tx := store.Open(‸\n}}\n'


def test_go() -> None:
    known = found(GO, "other.go", MAIN.format(""))
    assert {callee: shape(one) for callee, one in known.items()} == {
        "store.Open": (["path", "flags", "mode"], False), "store.Log": (["text"], True), "helper": (["a"], False),
        "f": ([], False),
    }  # fmt: skip
    assert all(one.is_complete and not one.names for one in known.values())


@pytest.mark.parametrize("line", ["\thelper := 3\n", "\tvar helper func(a, b int)\n"])
def test_a_variable_of_the_name_hides_a_function(line: str) -> None:
    assert "helper" not in found(GO, "other.go", MAIN.format(line))


def test_typescript() -> None:
    known = found(SCRIPT, "main.ts", f"{IMPORTS}\nfunction g(a: number) {{}}\nconst x = open(‸\n")
    assert {callee: shape(one) for callee, one in known.items()} == {
        "open": (["path", "mode", "f"], False), "log": (["text"], True), "bound": (["a"], False), "g": (["a"], False),
    }  # fmt: skip
    assert all(one.is_complete and not one.names for one in known.values())


@pytest.mark.parametrize("line", [
    "function h(open: () => void) {", "const open = 3;", "rows.map((a, open) => {", "rows.map(open => {",
    "const { open } = other;",
])  # fmt: skip
def test_a_second_meaning_anywhere_in_the_file_hides_a_function(line: str) -> None:
    assert "open" not in found(SCRIPT, "main.ts", f"{IMPORTS}{line}\nconst x = log(‸\n")


def test_scripts_take_any_number() -> None:
    assert (
        found({"store.js": "export function open(a) {}\n"}, "main.js", "import { open } from './store.js';\nopen(‸")
        == {}
    )


@pytest.mark.parametrize(("path", "buffer", "expected"), [
    ("m.kt", "fun main() { open(‸", (["path", "mode"], True)),
    ("m.cs", "class B { void F(A a) { a.Open(‸", (["path", "mode"], True)),
    ("m.rb", "open(‸", (["path", "mode", "strict"], True)),
    ("m.php", "<?php\n$x = open(‸", (["path", "mode"], False)),
    ("m.kt", "fun main() { twice(‸", None),  # two of that name
    ("m.kt", "fun main() { other(‸", None),
])  # fmt: skip
def test_the_only_function_of_a_name_is_a_guess(
    path: str, buffer: str, expected: tuple[list[str], bool] | None
) -> None:
    known = found(GUESSED, path, buffer)
    assert [shape(one) for one in known.values()] == ([expected] if expected is not None else [])
    assert not any(one.is_complete for one in known.values())


def test_a_head_that_is_not_whole_says_nothing() -> None:
    long = ", ".join(f"parameter_{n}: string" for n in range(40))
    files = {"store.ts": f"export function open({long}) {{}}\n"}
    assert "open" not in found(files, "main.ts", "import { open } from './store.js';\nconst x = open(‸\n")
