"""When an automatic request is worth an answer, and how long it waits. ``‸`` is the cursor."""

from __future__ import annotations

import pytest

from midfill.triggers import MAX_DOCUMENTS, Debounce, matches, out_of_place, switched_off
from tests.support import at


@pytest.mark.parametrize(
    ("buffer", "name"),
    [
        ("x = ‸", ""),
        ("x = ‸\nlong text on the next line does not matter", ""),
        ("print(‸)", ""),
        ("f('‸'), ];", ""),
        ("foo(a‸, b)", ""),
        ("na‸me = 1", "inside_word"),
        ("‸name = 1", "inside_word"),
        ("x‸_y", "inside_word"),
        ("ж‸ж", "inside_word"),
        ("f(‸, timeout=30)", "text_right"),
        ("x = ‸ + other_thing", "text_right"),
        ("x = ‸ + y", ""),
    ],
)
def test_places(buffer: str, name: str) -> None:
    refusal = out_of_place(at(buffer), (), lambda snapshot: "code")
    assert (refusal.name if refusal else "") == name


@pytest.mark.parametrize(
    ("scope", "off", "refused"),
    [
        ("comment", ("comment", "string"), True),
        ("string", ("comment", "string"), True),
        ("docstring", ("string",), False),
        ("code", ("comment",), False),
        ("", ("comment",), False),
        ("comment", (), False),
    ],
)
def test_scopes(scope: str, off: tuple[str, ...], refused: bool) -> None:
    refusal = out_of_place(at("# a ‸"), off, lambda _: scope)
    assert (refusal is not None) is refused
    if refusal is not None:
        assert refusal.name == "scope_off"
        assert scope in refusal.why


def test_the_scope_is_asked_for_only_where_it_matters() -> None:
    def never(_snapshot: object) -> str:
        raise AssertionError

    assert out_of_place(at("x = ‸"), (), never) is None
    assert out_of_place(at("x‸y"), ("comment",), never) is not None


@pytest.mark.parametrize(
    ("path", "glob", "fits"),
    [
        ("notes.md", "*.md", True),
        ("docs/notes.md", "*.md", True),
        ("docs/notes.mdx", "*.md", False),
        ("a/node_modules/b/c.js", "node_modules", True),
        ("secrets/a/b.py", "secrets/**", True),
        ("secrets/b.py", "secrets/**", True),
        ("x/secrets/b.py", "secrets/**", False),
        ("x/y/secrets/b.py", "**/secrets/*", True),
        ("secrets/b.py", "**/secrets/*", True),
        ("a/b/c/d.py", "a/**/d.py", True),
        ("a/d.py", "a/**/d.py", True),
        ("a/b/c/d.py", "a/*/d.py", False),
        ("a/b.py", "a/b.py", True),
        ("a/b.py", "/a/b.py", True),
        ("a\\b.py", "a/*.py", True),
        ("b.py", "a/b.py", False),
        ("a.py", "[!a].py", False),
        ("a.py", "", False),
        ("", "**", True),
    ],
)
def test_globs(path: str, glob: str, fits: bool) -> None:
    assert matches(path, glob) is fits


@pytest.mark.parametrize("glob", ["**/" * 60 + "x", "*a" * 90 + "b", "[" * 190, "**/*a*a*a*a*/" * 15 + "b"])
def test_a_hostile_glob_comes_to_an_end(glob: str) -> None:
    """One that backtracks would take years."""
    assert not matches("a" * 400 + "/" + "/".join("a" * 20 for _ in range(28)), glob)


@pytest.mark.parametrize(
    ("language", "path", "name"),
    [("markdown", "a.py", "language_off"), ("python", "gen/a.py", "file_off"), ("python", "a.py", "")],
)
def test_switches(language: str, path: str, name: str) -> None:
    refusal = switched_off(at("‸", path=path, language=language), ("markdown",), ("gen/**",))
    assert (refusal.name if refusal else "") == name


@pytest.mark.parametrize(
    ("keys_s", "answer_s", "longest_s", "pause_s"),
    [
        ([0.0], 0.0, 0.25, 0.0),  # nothing is known of the rhythm
        ([0.0, 0.1, 0.2], 0.0, 0.25, 0.15),
        ([0.0, 0.1, 0.2], 0.04, 0.25, 0.11),  # less what the answer takes
        ([0.0, 0.1, 0.2], 0.3, 0.25, 0.0),
        ([0.0, 0.1, 0.2], 0.14, 0.25, 0.0),  # too short to matter
        ([0.0, 0.5, 1.0], 0.0, 0.25, 0.25),  # bounded
        ([0.0, 0.5, 1.0], 0.0, 0.0, 0.0),  # switched off
        ([0.0, 0.1, 0.2, 9.0], 0.0, 0.25, 0.0),  # a pause: the first key of a burst does not wait
        ([0.0, 0.1, 0.2, 9.0, 9.1], 0.0, 0.25, 0.15),
        ([0.0, 0.001, 0.1, 0.101, 0.2, 0.201], 0.0, 0.25, 0.15),  # a popup and a ghost text for each key
        ([5.0, 4.0, 4.1], 0.0, 0.25, 0.15),  # a clock that jumps back
    ],
)
def test_debounce(keys_s: list[float], answer_s: float, longest_s: float, pause_s: float) -> None:
    debounce = Debounce()
    for key_s in keys_s:
        debounce.key("a", key_s)
    if answer_s:
        debounce.answered(answer_s)
    assert debounce.pause("a", longest_s) == pytest.approx(pause_s)
    assert debounce.pause("b", longest_s) == 0.0


def test_only_the_last_documents_are_remembered() -> None:
    debounce = Debounce()
    for n in range(MAX_DOCUMENTS + 50):
        debounce.key(str(n), n)
    assert len(debounce._gaps) == len(debounce._last) == MAX_DOCUMENTS
