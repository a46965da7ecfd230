"""The table of languages: ids that clients use, names of files, grammars."""

from __future__ import annotations

from collections import Counter

import pytest

from midfill.syntax import languages
from midfill.syntax.parsers import language_for


@pytest.mark.parametrize(
    ("said", "path", "language"),
    [
        ("js", "a.js", "javascript"),
        ("JavaScript", "", "javascript"),
        ("javascript.jsx", "", "javascriptreact"),
        ("tsx", "", "typescriptreact"),
        ("c++", "a.h", "cpp"),
        ("sh", "", "shellscript"),
        ("bash", "", "shellscript"),
        ("jsonc", "", "jsonc"),
        ("objective-c", "", "objective-c"),
        ("objc", "", "objective-c"),
        ("golang", "", "go"),
        ("C#", "", "csharp"),
        ("make", "", "makefile"),
        ("gitcommit", "", "git-commit"),
        ("plaintext", "notes.txt", "plaintext"),
        ("plaintext", "src/lib.rs", "rust"),  # the client knows no Rust
        ("unheard-of", "src/lib.rs", "rust"),
        ("unheard-of", "data.bin", "unheard-of"),
        ("", "Makefile", "makefile"),
        ("", "docker/Dockerfile.dev", "dockerfile"),
        ("c", "a.cpp", "c"),  # what the client says of a language that is known counts
    ],
)
def test_a_client_s_word_for_a_language(said: str, path: str, language: str) -> None:
    assert languages.canonical(said, path) == language


@pytest.mark.parametrize(
    ("first_line", "language"),
    [
        ("#!/bin/bash", "shellscript"),
        ("#!/usr/bin/env python3", "python"),
        ("#!/usr/bin/env -S node --no-warnings", "javascript"),
        ("#!/usr/bin/ruby2.7", "ruby"),
        ("#!", ""),
        ("print", ""),
    ],
)
def test_a_script_says_what_runs_it(first_line: str, language: str) -> None:
    assert languages.canonical("", "bin/tool", first_line) == language


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("a/b.py", "python"), ("X.TSX", "typescriptreact"), ("Makefile", "makefile"), ("a.py/b", ""), ("", ""),
        ("C:\\x\\q.sql", "sql"), ("CMakeLists.txt", "cmake"), ("x.vue", "vue"),
    ],
)  # fmt: skip
def test_the_language_of_a_name(path: str, language: str) -> None:
    assert languages.of_path(path) == language


def test_only_indexed_languages_are_read_for_context() -> None:
    assert languages.indexed("a.py") == "python"
    assert languages.indexed("a.css") == languages.indexed("README.md") == ""


@pytest.mark.parametrize(("language", "name"), [
    ("rust", "untitled.rs"), ("makefile", "untitled.mk"), ("dockerfile", "untitled.dockerfile"),
    ("nginx", "nginx.conf"), ("unheard-of", "untitled"),
])  # fmt: skip
def test_a_name_for_a_document_without_one(language: str, name: str) -> None:
    assert languages.file_name(language) == name
    assert languages.of_path(name) in (language, "")


def test_no_name_means_two_languages() -> None:
    rows = languages.LANGUAGES.values()
    for said in ("endings", "files", "aliases"):
        counted = Counter(name for row in rows for name in getattr(row, said))
        assert [name for name, n in counted.items() if n > 1] == []
    assert not {alias for row in rows for alias in row.aliases} & set(languages.LANGUAGES)


def test_every_grammar_is_there() -> None:
    assert [row.id for row in languages.LANGUAGES.values() if row.grammar and language_for(row.id) is None] == []
