"""What is taken out of a file, by kind, in languages with a grammar and without."""

from __future__ import annotations

import random

import pytest

from midfill import fim
from midfill.syntax import languages
from midfill.train.collect import SourceText
from midfill.train.examples import Maker
from midfill.train.rows import LineIndex
from midfill.train.spans import MAX_LINES, NOTHING_BELOW, WEIGHTS, FileSpans
from tests.tokenizers_made import make

RUST = """// Shapes.
use std::fmt;

fn area(width: u32, height: u32) -> u32 {
    let total = width * height;
    total
}

fn shown(shape: &Shape) -> String {
    let text = format(
        shape.name,
        shape.size,
    );
    text
}
"""
MAKE = "CC = gcc\n\napp: main.o list.o\n\t$(CC) -o $@ $^\n\tstrip $@\n\nclean:\n\trm -f app\n"
HTML = '<!doctype html>\n<ul class="names">\n  <li>one</li>\n  <li>two</li>\n</ul>\n<p>\n  Some words\n</p>\n'
YAML = "jobs:\n  build:\n    runs-on: linux\n    steps:\n      - run: make\n      - run: make test\n  last: true\n"
LUA = "local M = {}\n\nfunction M.sum(list)\n  local total = 0\n  return total\nend\n\nreturn M\n"
MARKDOWN = "# Shapes\n\nA word about shapes,\nand about lines.\n\n- one\n- two\n  - deeper\n- three\n"
SHELL = '#!/bin/sh\nset -e\nfor name in "$@"; do\n    echo "$name"\n    shift\ndone\nexit 0\n'
FILES = {
    "rust": RUST, "makefile": MAKE, "html": HTML, "yaml": YAML, "lua": LUA, "markdown": MARKDOWN, "shellscript": SHELL,
}  # fmt: skip


def middles(kind: str, language: str, n: int = 200) -> set[str]:
    text, rng = FILES[language], random.Random(1)
    found = set()
    for seed in range(8):
        spans = FileSpans(text, language, f"{seed}")
        for _ in range(n // 8):
            if (span := spans.draw(kind, rng)) is not None:
                found.add(text[slice(*span)])
    return found


@pytest.mark.parametrize(
    ("language", "kind", "wanted"),
    [
        ("rust", "body", "\n    let total = width * height;\n    total"),
        ("rust", "body", "let total = width * height;\n    total"),
        ("rust", "body", "\n        shape.name,\n        shape.size,"),
        ("lua", "body", "\n  local total = 0\n  return total"),
        ("html", "body", "\n  <li>one</li>\n  <li>two</li>"),
        ("yaml", "body", "\n      - run: make\n      - run: make test"),
        ("makefile", "body", "\n\t$(CC) -o $@ $^\n\tstrip $@"),
        ("shellscript", "body", '\n    echo "$name"\n    shift'),
        ("markdown", "body", "\n  - deeper"),
        ("rust", "opening", "format("),
        ("rust", "opening", "let text = format("),
        ("html", "opening", '<ul class="names">'),
        ("yaml", "opening", "steps:"),
        ("lua", "opening", "function M.sum(list)"),
        ("rust", "before-code", "    let total = width * height;\n"),
        ("rust", "before-code", "let total = width * height;\n    "),
        ("html", "before-code", "  <li>one</li>\n"),
        ("shellscript", "before-code", "set -e\n"),
        ("rust", "beginning", "// Shapes.\nuse std::fmt;"),
        ("rust", "beginning", "use std::fmt;"),
        ("makefile", "beginning", "CC = gcc"),
        ("markdown", "beginning", "# Shapes"),
        ("yaml", "beginning", YAML.rstrip()),
    ],
)
def test_a_kind_gives(language: str, kind: str, wanted: str) -> None:
    assert wanted in middles(kind, language), sorted(middles(kind, language))


@pytest.mark.parametrize(
    ("language", "kind", "never"),
    [
        ("rust", "body", "}"),  # what closes the body stays below
        ("lua", "body", "end"),
        ("html", "body", "</ul>"),
        ("rust", "opening", "shape.name"),  # the content stays below
        ("html", "opening", "<li>"),
    ],
)
def test_a_kind_never_holds(language: str, kind: str, never: str) -> None:
    assert middles(kind, language)
    assert not [middle for middle in middles(kind, language) if never in middle]


@pytest.mark.parametrize("language", FILES)
@pytest.mark.parametrize("kind", WEIGHTS)
def test_no_middle_is_long_or_empty(language: str, kind: str) -> None:
    for middle in middles(kind, language):
        assert middle.strip()
        assert middle.strip("\n").count("\n") <= MAX_LINES + 1


@pytest.mark.parametrize("language", FILES)
def test_code_stands_behind_a_cursor_before_code(language: str) -> None:
    text = FILES[language]
    spans, rng = FileSpans(text, language, "x"), random.Random(1)
    for _ in range(40):
        span = spans.draw("before-code", rng)
        assert span is not None
        start, end = span
        assert text[:start].rpartition("\n")[2].strip() == ""
        assert text[end : end + 1].strip() or text[end:].lstrip(" \t")[:1].strip()


def test_every_language_that_training_reads_gives_holes_of_several_lines() -> None:
    for language, text in FILES.items():
        assert languages.of(language).id == language
        assert any("\n" in middle.strip() for middle in middles("lines", language)), text


def test_a_file_that_just_begins_has_nothing_below() -> None:
    tokenizer = make("qwen2.5-coder")
    renderer = fim.FimRenderer(fim.detect(tokenizer), tokenizer, heal=True)
    maker = Maker([SourceText("p", "shapes.rs", "rust", RUST * 3)], renderer)
    suffix, middle = (tokenizer.id_of((f"<|fim_{name}|>",)) or -1 for name in ("suffix", "middle"))
    n_bare = n_all = 0
    for seed in range(400):
        example = maker.draw(random.Random(seed), 500)
        if example.kind == "beginning":
            n_all += 1
            n_bare += list(example.ids).index(middle) == list(example.ids).index(suffix) + 1
    assert n_all >= 10
    assert NOTHING_BELOW["beginning"] - 0.3 < n_bare / n_all < 1.0


def test_rows() -> None:
    rows = LineIndex("def f():\n    a = 1\n\n\tb = 2\n\nc = 3  \n")
    assert rows.opens(0)
    assert not rows.opens(3)
    assert rows.last_deeper(0, 10) == 3
    assert rows.last_deeper(0, 2) is None
    assert rows.last_deeper(5, 10) is None
    assert (rows.start(5), rows.end(5), rows.text_start(3)) == (28, 33, 21)
    assert rows.next(1) == 3
    assert rows.next(6) is None
