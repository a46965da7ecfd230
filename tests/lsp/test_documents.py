"""The text store against a model that is too simple to be wrong."""

from __future__ import annotations

import random
import re

import pytest

from midfill.lsp import documents
from midfill.lsp.documents import Document, Documents, Edit, Span
from midfill.lsp.notebooks import Cell
from midfill.lsp.positions import Encoding

URI = "file:///w/a.py"
ALPHABET = "ab \n\n\r\r\n\f\u2028\x85\u00e9\u4e2d\U0001f600\U00010000\t\u0301"
BYTES = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}


def offset(text: str, line: int, character: int, encoding: Encoding) -> int:
    """A position as a code point of the text, counted the long way."""
    starts = [0] + [match.end() for match in re.finditer("\r\n|\r|\n", text)]
    if line >= len(starts):
        return len(text)
    at = starts[line]
    codec, unit = BYTES[encoding]
    for _ in range(len(text)):
        if at == len(text) or text[at] in "\r\n":
            break
        character -= len(text[at].encode(codec, "surrogatepass")) // unit
        if character < 0:
            break
        at += 1
    return at


def random_text(rng: random.Random, longest: int) -> str:
    return "".join(rng.choice(ALPHABET) for _ in range(rng.randint(0, longest)))


def random_position(rng: random.Random, n_lines: int) -> tuple[int, int]:
    return rng.randint(0, n_lines + 2), rng.choice((0, 1, 2, 3, 4, 5, 9, 10**9))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_random_edits_equal_the_model(encoding: Encoding, seed: int) -> None:
    rng = random.Random(f"{encoding} {seed}")
    text = random_text(rng, 60)
    store = Documents()
    store.encoding = encoding
    store.open(URI, "python", 0, text)
    for version in range(1, 5001):
        if len(text) > 300 or rng.random() < 0.002:
            text = random_text(rng, 60)
            store.change(URI, version, [Edit(text)])
            continue
        n_lines = len(re.findall("\r\n|\r|\n", text))
        (start, end), new = (random_position(rng, n_lines), random_position(rng, n_lines)), random_text(rng, 6)
        if rng.random() < 0.7:  # mostly small edits, so that the text grows
            end = (start[0], start[1] + rng.randint(0, 2))
        store.change(URI, version, [Edit(new, Span(*start, *end))])
        low, high = sorted((offset(text, *start, encoding), offset(text, *end, encoding)))
        text = text[:low] + new + text[high:]
        document = store.get(URI)
        assert document is not None
        assert document.text == text
        if version % 50 == 0:
            assert document.lines == Document(URI, "", 0, text).lines
            assert document.n_chars == len(text)


@pytest.mark.parametrize(
    ("text", "span", "new", "expected"),
    [
        ("a\rb", Span(0, 1, 0, 1), "\n", "a\n\rb"),  # before the terminator
        ("a\rb", Span(1, 0, 1, 0), "\n", "a\r\nb"),  # \r and \n meet
        ("a\r\nb", Span(0, 9, 1, 0), "", "ab"),
        ("a\fb\u2028c\x85d", Span(0, 6, 0, 99), "!", "a\fb\u2028c\x85!"),
        ("x", Span(7, 7, 9, 9), "y", "xy"),  # past the end
        ("abc", Span(0, 2, 0, 1), "-", "a-c"),  # swapped
        ("\U0001f600", Span(0, 1, 0, 1), "a", "a\U0001f600"),  # inside a pair: rounded down
        ("\ud83d", Span(0, 1, 0, 1), "\ude00", "\U0001f600"),  # two halves
        ("\ud800x", Span(0, 1, 0, 2), "y", "\ud800y"),  # a lone surrogate is one unit
    ],
)
def test_edges(text: str, span: Span, new: str, expected: str) -> None:
    document = Document(URI, "python", 1, text)
    document.edit(new, span)
    assert document.text == expected


@pytest.mark.parametrize(
    ("version", "edits", "known"),
    [
        (2, [Edit("x", Span(0, 0, 0, 0))], True),
        (None, [Edit("x", Span(0, 0, 0, 0))], True),
        (1, [Edit("x", Span(0, 0, 0, 0))], False),
        (0, [Edit("x", Span(0, 0, 0, 0))], False),
        (3, [Edit("x", Span(0, 0, 0, 0))], False),
        (3, [Edit("x")], True),
        (3, [Edit("x", Span(0, 0, 0, 0)), Edit("y", Span(0, 0, 0, 0))], True),
        (2, [Edit("x", Span(0, 0, 0, 0)), Edit("y", Span(0, 0, 0, 0))], True),
        (4, [Edit("x", Span(0, 0, 0, 0)), Edit("y", Span(0, 0, 0, 0))], False),
        (2, None, False),
        (1, [Edit("x", Span(0, 0, 0, 0)), Edit("all")], True),
    ],
)
def test_versions(version: int | None, edits: list[Edit] | None, known: bool) -> None:
    store = Documents()
    store.open(URI, "python", 1, "a")
    store.change(URI, version, edits)
    assert (store.snapshot(URI, 0, 0) is not None) is known
    store.change(URI, 9, [Edit("full")])
    assert store.snapshot(URI, 0, 0) is not None


def test_gaps_are_allowed_where_the_editor_makes_them() -> None:
    store = Documents()
    store.gaps_allowed = True
    store.open(URI, "python", 1, "a")
    store.change(URI, 7, [Edit("b", Span(0, 0, 0, 0))])
    assert store.snapshot(URI, 0, 0) is not None
    store.change(URI, 7, [Edit("b", Span(0, 0, 0, 0))])
    assert store.snapshot(URI, 0, 0) is None


def test_snapshot_normalises() -> None:
    store = Documents()
    store.folders = ("file:///w",)
    store.open("file:///w/sub%20dir/a.py", "python", 1, "\ufeffa\r\nb\rc\r\n")
    snapshot = store.snapshot("file:///w/sub%20dir/a.py", 1, 1)
    assert snapshot is not None
    assert (snapshot.prefix, snapshot.suffix, snapshot.eol) == ("a\nb", "\nc\n", "\r\n")
    assert snapshot.path == "sub dir/a.py"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///elsewhere/b.py", "b.py"),
        ("file:///w/x/c%0Ad.py", "x/c_d.py"),
        ("untitled:Untitled-1", "Untitled-1"),
        ("file://[broken/x.py", "x.py"),
        ("", ""),
    ],
)
def test_paths(uri: str, path: str) -> None:
    store = Documents()
    store.folders = ("file:///w", "file:///")[:1]
    store.open(uri, "python", 1, "")
    snapshot = store.snapshot(uri, 0, 0)
    assert snapshot is not None
    assert snapshot.path == path


def test_selected_text_is_applied() -> None:
    store = Documents()
    store.open(URI, "python", 1, "x = pri\ny")
    snapshot = store.snapshot(URI, 0, 7, (Span(0, 4, 0, 7), "print"))
    assert snapshot is not None
    assert (snapshot.prefix, snapshot.suffix) == ("x = print", "\ny")


def test_unknown_documents_have_no_snapshot(tmp_path: object) -> None:
    assert Documents().snapshot(f"file://{__file__}", 0, 0) is None


def test_a_large_document_shows_a_window() -> None:
    store = Documents()
    line = "x" * 99 + "\n"
    store.open(URI, "python", 1, line * 300_000)
    snapshot = store.snapshot(URI, 150_000, 3)
    assert snapshot is not None
    assert len(snapshot.text) < 10 * documents.WINDOW
    assert len(snapshot.prefix) >= documents.WINDOW
    assert snapshot.prefix.endswith("\nxxx")
    store.open(URI, "python", 1, "y" * 3_000_000)
    snapshot = store.snapshot(URI, 0, 1_500_000)
    assert snapshot is not None
    assert len(snapshot.text) < 10 * documents.WINDOW


def test_a_20k_line_file_is_edited_cheaply() -> None:
    document = Document(URI, "python", 1, "some code here\n" * 20_000)
    for n in range(2000):
        document.edit("x\n", Span(10_000 + n, 3, 10_000 + n, 4))
    assert len(document.lines) == 22_001


def test_notebook_cells_join_in_the_notebooks_order() -> None:
    store = Documents()
    for name, language, text in (
        ("c1", "python", "a = 1"),
        ("c2", "markdown", "# t"),
        ("c3", "python", "b"),
        ("c4", "python", "c"),
    ):
        store.open(name, language, 1, text)
    store.notebooks.open("file:///w/n.ipynb", [Cell("c1", True), Cell("c2", False), Cell("c3", True), Cell("c4", True)])
    snapshot = store.snapshot("c3", 0, 1)
    assert snapshot is not None
    assert (snapshot.prefix, snapshot.suffix, snapshot.path) == ("a = 1\n\nb", "\n\nc", "n.ipynb")
    store.notebooks.splice("file:///w/n.ipynb", 3, 1, [])
    store.notebooks.splice("file:///w/n.ipynb", 0, 0, [Cell("c4", True)])
    snapshot = store.snapshot("c3", 0, 1)
    assert snapshot is not None
    assert (snapshot.prefix, snapshot.suffix) == ("c\n\na = 1\n\nb", "")
