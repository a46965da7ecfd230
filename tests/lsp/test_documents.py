"""The text store compared with a reference that is too simple to be wrong."""

from __future__ import annotations

import random
import re

import pytest

from midfill.lsp import documents
from midfill.lsp.documents import ContentChange, Document, Documents, Span
from midfill.lsp.notebooks import Cell
from midfill.lsp.positions import Encoding
from tests.lsp.made import URI, offset

ALPHABET = "ab \n\n\r\r\n\f\u2028\x85\u00e9\u4e2d\U0001f600\U00010000\t\u0301"


def random_text(rng: random.Random, longest: int) -> str:
    return "".join(rng.choice(ALPHABET) for _ in range(rng.randint(0, longest)))


def random_position(rng: random.Random, n_lines: int) -> tuple[int, int]:
    line = rng.randint(0, n_lines + 1)  # one past the last line, at its start, is the end
    return line, 0 if line > n_lines else rng.choice((0, 1, 2, 3, 4, 5, 9, 10**9))


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
            store.change(URI, version, [ContentChange(text)])
            continue
        n_lines = len(re.findall("\r\n|\r|\n", text))
        (start, end), new = (random_position(rng, n_lines), random_position(rng, n_lines)), random_text(rng, 6)
        if rng.random() < 0.7:  # mostly small edits, so that the text grows
            end = (start[0], start[1] + rng.randint(0, 2) if start[0] <= n_lines else 0)
        store.change(URI, version, [ContentChange(new, Span(*start, *end))])
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


INSERT = ContentChange("x", Span(0, 0, 0, 0))
FAR = ContentChange("x", Span(7, 0, 7, 0))


@pytest.mark.parametrize(
    ("version", "edits", "doubt"),
    [
        (2, [INSERT], ""),
        (3, [INSERT], ""),  # numbers need not be consecutive
        (900, [INSERT], ""),
        (1, [INSERT], ""),  # the number once more
        (None, [INSERT], ""),  # the client does not count
        (3, [INSERT, INSERT], ""),
        (2, [INSERT, INSERT], ""),
        (4, [INSERT, INSERT], ""),
        (0, [INSERT], documents.FELL),
        (-1, [INSERT], documents.FELL),
        (0, [INSERT, ContentChange("all")], ""),
        (3, [ContentChange("x")], ""),
        (2, None, documents.NOT_UNDERSTOOD),
        (1, None, documents.NOT_UNDERSTOOD),
        (2, [ContentChange("x", Span(0, 99, 0, 99))], ""),  # past the end of a line means its end
        (2, [ContentChange("x", Span(2, 0, 2, 0))], ""),  # one line past the last: the end
        (2, [ContentChange("x", Span(0, 0, 2, 0))], ""),  # a whole document, as many clients write it
        (2, [ContentChange("x", Span(0, 0, 2**31 - 1, 2**31 - 1))], ""),  # and as others do
        (2, [ContentChange("x", Span(2**31 - 1, 0, 2**31 - 1, 0))], ""),
        (2, [ContentChange("x", Span(2, 1, 2, 1))], documents.NO_SUCH_LINE),
        (2, [ContentChange("x", Span(0, 0, 3, 0))], documents.NO_SUCH_LINE),
        (2, [FAR], documents.NO_SUCH_LINE),
        (2, [ContentChange("x\n" * 9, Span(0, 0, 0, 0)), FAR], ""),  # a line that the edit before it has made
        (2, [ContentChange("", Span(0, 0, 1, 1)), ContentChange("x", Span(1, 0, 1, 0))], ""),
        (2, [ContentChange("", Span(0, 0, 1, 1)), ContentChange("x", Span(2, 0, 2, 0))], documents.NO_SUCH_LINE),
        (2, [FAR, INSERT], documents.NO_SUCH_LINE),
        (2, [FAR, ContentChange("all")], ""),
        (2, [FAR, ContentChange("all"), INSERT], ""),
    ],
)
@pytest.mark.parametrize("heal", ["change", "everything", "open", "once more"])
def test_what_shows_that_edits_were_lost(
    version: int | None, edits: list[ContentChange] | None, doubt: str, heal: str
) -> None:
    store = Documents()
    store.open(URI, "python", 1, "a\nb")
    store.change(URI, version, edits)
    document = store.get(URI)
    assert document is not None
    assert document.doubt == doubt
    assert (store.snapshot(URI, 0, 0) is not None) is (doubt == "")
    assert store.doubted == ([document] if doubt else [])
    if heal == "once more":  # what comes after it heals nothing
        store.change(URI, 901, [INSERT])
        assert (store.snapshot(URI, 0, 0) is not None) is (doubt == "")
        return
    if heal == "open":
        store.open(URI, "python", 1, "full")
    else:
        span = Span(0, 0, 2**31 - 1, 0) if heal == "everything" else None
        store.change(URI, 901, [ContentChange("full", span)])
    assert store.doubted == []
    snapshot = store.snapshot(URI, 0, 0)
    assert snapshot is not None
    assert snapshot.text == "full"


def test_an_answer_to_a_text_before_does_not_fit_though_its_number_is_the_same() -> None:
    store = Documents()
    store.open(URI, "python", 4, "a")
    snapshot, document = store.snapshot(URI, 0, 0), store.get(URI)
    assert snapshot is not None
    assert document is not None
    assert store.fits(document, snapshot.version)
    store.change(URI, 4, [INSERT])
    assert not store.fits(document, snapshot.version)
    store.open(URI, "python", 4, "a")
    assert not store.fits(document, snapshot.version)


def test_snapshot_normalises() -> None:
    store = Documents()
    store.folders = ("file:///w",)
    store.open("file:///w/sub%20dir/a.py", "python", 1, "\ufeffa\r\nb\rc\r\n")
    snapshot = store.snapshot("file:///w/sub%20dir/a.py", 1, 1)
    assert snapshot is not None
    assert (snapshot.prefix, snapshot.suffix, snapshot.eol) == ("a\nb", "\nc\n", "\r\n")
    assert snapshot.path == "sub dir/a.py"


@pytest.mark.parametrize(
    ("uri", "language", "path", "name"),
    [
        ("file:///elsewhere/b.py", "python", "b.py", "b.py"),
        ("file:///w/x/c%0Ad.py", "python", "x/c_d.py", "x/c_d.py"),
        ("file://[broken/x.py", "python", "x.py", "x.py"),
        ("file:///c%3A/w/x.rs", "rust", "x.rs", "x.rs"),
        ("vscode-remote://ssh/w/a.go", "go", "a.go", "a.go"),
        ("vscode-vfs://github/o/r/run", "shellscript", "run.sh", "run"),  # a file all the same
        ("untitled:Untitled-1", "python", "untitled.py", "Untitled-1"),
        ("untitled:Untitled-1", "rust", "untitled.rs", "Untitled-1"),
        ("untitled:Untitled-1", "sh", "untitled.sh", "Untitled-1"),
        ("untitled:Untitled-1", "plaintext", "untitled.txt", "Untitled-1"),
        ("untitled:/home/me/new.lua", "lua", "new.lua", "new.lua"),  # a file that is to be
        ("inmemory://model/1", "sql", "untitled.sql", "1"),
        ("inmemory://model/main.ts", "typescript", "main.ts", "main.ts"),
        ("vscode-scm:git/scm0/input?rootUri", "scminput", "COMMIT_EDITMSG", "input"),
        ("output:exthost", "log", "untitled", "exthost"),
        ("buffer:12", "ruby", "untitled.rb", "12"),
        ("file://", "lua", "untitled.lua", ""),  # an unnamed buffer of Neovim's
        ("", "python", "untitled.py", ""),
        ("jar:file:///x.jar!/a/B.java", "java", "B.java", "B.java"),
        ("file:///w/a.txt", "rust", "a.rs", "a.txt"),  # another language mode
        ("file:///w/tool", "python", "tool.py", "tool"),
        ("file:///w/tool", "", "tool.sh", "tool"),  # by its first line
        ("file:///w/x/a.h", "objc", "x/a.h", "x/a.h"),
        ("file:///w/n.ipynb", "python", "n.ipynb", "n.ipynb"),
    ],
)
def test_paths(uri: str, language: str, path: str, name: str) -> None:
    store = Documents()
    store.folders = ("file:///w", "file:///")[:1]
    store.open(uri, language, 1, "x\n" if language else "#!/bin/sh\n")
    snapshot = store.snapshot(uri, 0, 0)
    assert snapshot is not None
    assert (snapshot.path, snapshot.name) == (path, name)


def test_another_language_mode_takes_effect_at_once() -> None:
    store = Documents()
    for close in (False, True):
        for said, language, path in (("plaintext", "plaintext", "untitled.txt"), ("rs", "rust", "untitled.rs")):
            if close:
                store.close("untitled:Untitled-1")
            store.open("untitled:Untitled-1", said, 1, "fn main")
            snapshot = store.snapshot("untitled:Untitled-1", 0, 0)
            assert snapshot is not None
            assert (snapshot.language, snapshot.path) == (language, path)


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
