"""What callees take, by the labels of signature help as pyright, TypeScript's server and others write them."""

from __future__ import annotations

from typing import Any

import pytest

from midfill.context.knowledge.labels import MAX_PARAMETERS, MAX_SIGNATURES, signature_in
from midfill.syntax.calls import Signature


def help_of(label: str, *parameters: Any) -> dict[str, Any]:
    return {"label": label, "parameters": [{"label": one} for one in parameters]}


def shape(found: Signature | None) -> str:
    """Return ``a b|b key`` for what is given by position and by name; ``*`` and ``**`` for any number of them."""
    assert found is not None
    by_position = [one.name for one in found.parameters if one.by_position] + ["*"] * found.any_position
    by_name = [one.name for one in found.parameters if one.by_name] + ["**"] * found.any_name
    return f"{' '.join(by_position)}|{' '.join(by_name)}"


@pytest.mark.parametrize(("language", "label", "parameters", "expected"), [
    # pyright: every part is a parameter
    ("python", '(a: int, /, b: int = 3, *, key: str = ", ", f=lambda x, y: 0) -> None',
     ["a: int", "/", "b: int = 3", "*", 'key: str = ", "', "f=lambda x, y: 0"], "a b|b key f"),
    ("python", "(f: (...) -> int, *values: object, end: str | None = None, **kw: Any) -> None",
     ["f: (...) -> int", "*values: object", "end: str | None = None", "**kw: Any"], "f *|f end **"),
    ("python", "(...) -> int", ["..."], "*|**"),
    ("python", "(a, b: int = ..., ..., key: str = ...) -> None", ["a", "b: int = ...", "...", "key: str = ..."],
     "a b key *|a b key **"),
    ("python", "(**P@gen) -> R@gen", ["**P@gen"], "*|**"),
    ("python", "(__x: int, y) -> None", ["__x: int", "y"], "__x y|y **"),
    ("python", "(_path: Path, name: str) -> Version", ["_path: Path", "name: str"], "_path name|_path name **"),
    ("python", "() -> None", [], "|"),
    # jedi: ``/`` and ``*`` are only in the head
    ("python", "load(a, /, mode='r', *, strict=False)", ["a", "mode='r'", "strict=False"], "a mode|mode strict"),
    ("python", "load(path, mode, /)", ["path", "mode"], "path mode|"),
    ("python", "load(*, strict)", ["strict"], "|strict"),
    ("python", "é𝄞(a, é)", [[4, 5], [7, 8]], "a é|a é"),
    ("typescript", "f<T extends () => void>(a: string, cb: (x: number, y: string) => void, ...more: T[]): void",
     ["a: string", "cb: (x: number, y: string) => void", "...more: T[]"], "a cb *|"),
    ("typescript", "g({ a, b }: { a: number; b: string; }, c?: Map<string, number[]>): void",
     ["{ a, b }: { a: number; b: string; }", "c?: Map<string, number[]>"], "b c|"),
    ("typescript", "n<T extends () => number>(cb: () => T): void", ["cb: () => T"], "cb|"),
    ("go", "Open(path string, a int, more ...any) error", ["path string", "a int", "more ...any"], "path a *|"),
    ("go", "Each(f func(a int, b int) error)", ["f func(a int, b int) error"], "f|"),
    ("csharp", "void A.Open(string path, int mode = 3)", ["string path", "int mode = 3"], "path mode|path mode"),
    ("kotlin", "open(path: String, mode: Int)", ["path: String", "mode: Int"], "path mode|path mode"),
])  # fmt: skip
def test_one_head(language: str, label: str, parameters: list[Any], expected: str) -> None:
    found = signature_in([help_of(label, *parameters)], "f", language)
    assert shape(found) == expected
    assert found is not None
    assert found.is_complete == (language in ("python", "typescript", "go"))
    assert (found.callee, found.source) == ("f", "client")


@pytest.mark.parametrize(("label", "parameters"), [
    ("load(*args, b)", ["args", "b"]),  # names alone, as pylsp gives them
    ("load(a, b)", ["a"]),
    ("load(a, b)", ["b", "a"]),
    ("load(a[, b])", ["a", "b"]),
    ("load(cb: () => void)", []),
    ("load(a, b)", [[5, 6], [8, 99]]),
    ("load(a, b)", [[5, 6], [True, 9]]),
    ("load(a, b)", [[5, 6], [-2, 9]]),
    ("load(a, b)", [[5, 6], []]),
    ("load(a, b)", ["a", ""]),
    ("load(a, b)", ["a", None]),
    ("load(a, {b})", ["a", "{b}"]),
    ("load", []),
    ("load(" + "a" * 5000 + ")", ["a" * 5000]),
    (f"load({', '.join(['a'] * (MAX_PARAMETERS + 1))})", ["a"] * (MAX_PARAMETERS + 1)),
])  # fmt: skip
def test_what_cannot_be_read_for_sure_says_nothing(label: str, parameters: list[Any]) -> None:
    assert signature_in([help_of(label, *parameters)], "load", "python") is None
    assert signature_in([help_of("load(a)", "a"), help_of(label, *parameters)], "load", "python") is None


@pytest.mark.parametrize("told", [
    [], [None], [{"label": "f(a)"}], [{"label": 3, "parameters": []}], [{"label": "f(a)", "parameters": [3]}],
    [{"label": "f(a)", "parameters": {"label": "a"}}],
])  # fmt: skip
def test_what_is_no_signature(told: list[Any]) -> None:
    assert signature_in(told, "f", "python") is None


def test_overloads_take_what_any_of_them_takes() -> None:
    told = [help_of("(a: int, *, key: str) -> int", "a: int", "*", "key: str"), help_of("(b, c) -> str", "b", "c")]
    found = signature_in(told, "over", "python")
    assert shape(found) == "b c|a key b c"
    assert found is not None
    assert found.is_complete


def test_more_overloads_than_are_read_are_not_all() -> None:
    found = signature_in([help_of("f(a)", "a")] * (MAX_SIGNATURES + 1), "f", "python")
    assert found is not None
    assert not found.is_complete


def test_a_language_whose_labels_are_not_read() -> None:
    assert signature_in([help_of("f(at: Int)", "at: Int")], "f", "swift") is None
