"""Calls and their arguments in broken code. ``‸`` is the cursor."""

from __future__ import annotations

import pytest

from midfill.syntax.calls import arguments, given, given_after, kind_of, opened


def innermost(buffer: str, language: str = "python") -> tuple[str, int, set[str], str] | None:
    stack = opened(buffer, language)
    if not stack:
        return None
    has = given(stack[-1], language)
    return stack[-1].callee, has.n_positions, set(has.names), stack[-1].begun


@pytest.mark.parametrize(("language", "buffer", "expected"), [
    ("python", "x = f(", ("f", 0, set(), "")),
    ("python", "x = self.a.f(1, b=2, ", ("self.a.f", 1, {"b"}, " ")),
    ("python", "f(a == 1, b <= 2, c", ("f", 2, set(), " c")),
    ("python", "f(g(1, 2), h=[1, 2], ", ("f", 1, {"h"}, " ")),
    ("python", "f('a, b)', {1: 2, 3: 4}, # c, d\n  e", ("f", 2, set(), "       \n  e")),
    ("python", "f(lambda a, b: a, ", ("f", 1, set(), " ")),
    ("python", "f([lambda a, b: a, ", ("", 1, set(), " ")),
    ("python", "f(n for n, (a, b), ", ("f", 0, set(), "n for n, (a, b), ")),
    ("python", "f(form, n for n, m in x if n, ", ("f", 2, set(), " ")),
    ("python", "def f(a, ", ("", 1, set(), " ")),
    ("python", "class A(B, ", ("", 1, set(), " ")),
    ("python", "if (a, ", ("", 1, set(), " ")),
    ("python", "a().b(c, ", ("", 1, set(), " ")),  # whose method it is cannot be told
    ("python", "f(*a, **b, ", ("f", 0, set(), " ")),
    ("python", "f(x := 3, ", ("f", 1, set(), " ")),
    ("python", "f(1)", None),
    ("kotlin", "f(a = 1, ", ("f", 0, {"a"}, " ")),
    ("csharp", "F(a: 1, x ? b : c, ", ("F", 1, {"a"}, " ")),
    ("ruby", "f(a: 1, B::C, ", ("f", 1, {"a"}, " ")),
    ("go", "x := pkg.F(a, xs..., ", ("pkg.F", 1, set(), " ")),
    ("go", "func (s *Store) F(a int, ", ("", 1, set(), " ")),
    ("typescript", "  async load(a, ", ("", 1, set(), " ")),
    ("typescript", "  return load(a, ", ("load", 1, set(), " ")),
    ("typescript", "  load(a, ", ("", 1, set(), " ")),  # may be a method that is defined here
    ("typescript", "  o.load(a, ", ("o.load", 1, set(), " ")),
    ("typescript", "  const a = new Map<K, V>(b, ", ("", 1, set(), " ")),
    ("typescript", "  new Store(a, ", ("new Store", 1, set(), " ")),
    ("javascript", "x = f(", None),  # surplus arguments are no error there
])  # fmt: skip
def test_what_is_open(language: str, buffer: str, expected: tuple[str, int, set[str], str] | None) -> None:
    assert innermost(buffer, language) == expected


@pytest.mark.parametrize(("language", "text", "kind"), [
    ("python", " a=1", "named"), ("python", "a=", "word"), ("python", "a==1", "other"), ("python", "a", "word"),
    ("python", "a.b", "other"), ("python", "*a", "spread"), ("python", " ", ""), ("python", "a = b", "named"),
    ("csharp", "a: 1", "named"), ("csharp", "a ? b : c", "other"), ("ruby", "a:", "word"), ("ruby", "A::B", "other"),
    ("go", "a...", "spread"), ("go", "a == b", "other"), ("typescript", "...a", "spread"),
])  # fmt: skip
def test_kinds_of_arguments(language: str, text: str, kind: str) -> None:
    assert kind_of(text, language)[0] == kind


def test_types_with_commas_make_a_call_unsure() -> None:
    (call,) = opened("f(a < b, c > (d), ", "go")
    assert not given(call, "go").is_sure
    (call,) = opened("f(a < b, ", "python")
    assert given(call, "python").is_sure


@pytest.mark.parametrize(("suffix", "names"), [
    (", b=2, c=3)\nd(e=1)", {"b", "c"}), (")", set()), ("", set()), ("x, g(y=1), z=2)", {"z"}),
])  # fmt: skip
def test_what_is_given_after_the_cursor(suffix: str, names: set[str]) -> None:
    assert given_after(suffix, "python") == names


def test_arguments_of_a_text_that_goes_on() -> None:
    """Where each would be cut, in a call that was open before and in one of the text itself."""
    before = opened("f(1, ", "python")
    found = arguments("a, g(b, c), d", "python", before=before, head="f(1, ")
    assert [(one.call.callee, one.text.strip(), one.cut, one.is_whole) for one in found] == [
        ("f", "a", 0, True), ("g", "b", 5, True), ("g", "c", 6, True), ("f", "g(b, c)", 1, True), ("f", "d", 10, False),
    ]  # fmt: skip
    assert [one.call.callee for one in arguments("oo(a", "python", head="x = f")] == ["foo"]


@pytest.mark.parametrize("text", ["(" * 20_000, "f(lambda " * 3000, "f(a, " * 4000, ")" * 20_000, "f(" + "a.b," * 5000])
def test_hostile_texts_are_read_in_one_pass(text: str) -> None:
    for language in ("python", "go"):
        opened(text, language)
        arguments(text, language)
