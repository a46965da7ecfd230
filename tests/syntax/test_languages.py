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


@pytest.mark.parametrize(
    ("path", "language", "shown"),
    [
        ("a.rs", "rust", "a.rs"),
        ("a.txt", "rust", "a.rs"),  # the language mode was switched
        ("src/a.js", "typescript", "src/a.ts"),
        ("a.c", "cpp", "a.cpp"),
        ("a.js.txt", "python", "a.js.py"),
        ("script", "python", "script.py"),
        ("bin/run-1.2", "shellscript", "bin/run-1.2.sh"),
        ("data.unheard", "python", "data.unheard.py"),
        ("app.py.in", "python", "app.py.in"),
        ("app.py.in", "rust", "app.py.in.rs"),
        ("", "rust", "untitled.rs"),
        ("", "", "untitled"),
        ("/", "go", "untitled.go"),
        ("..", "go", "...go"),
        ("a\\b.txt", "go", "a/b.go"),
        ("Makefile", "makefile", "Makefile"),
        ("Dockerfile.dev", "dockerfile", "Dockerfile.dev"),
        ("build", "dockerfile", "build.dockerfile"),
        ("sites/default", "nginx", "sites/nginx.conf"),
        ("sites/api.conf", "nginx", "sites/api.conf"),
        *[("a.h", language, "a.h") for language in ("c", "cpp", "objective-c", "objective-cpp", "cuda-cpp")],
        ("a.h", "python", "a.py"),
        ("a.js", "javascriptreact", "a.js"),
        ("a.jsx", "javascript", "a.jsx"),
        ("a.ts", "typescriptreact", "a.tsx"),  # JSX is an error in a .ts file
        ("tsconfig.json", "jsonc", "tsconfig.json"),
        ("n.ipynb", "python", "n.ipynb"),
        ("notes", "plaintext", "notes"),
        ("notes.txt", "markdown", "notes.md"),
        ("a.weird", "unheard-of", "a.weird"),
        ("a.pl", "prolog", "a.pl"),  # nothing is known of it
    ],
)
def test_the_name_that_a_model_is_shown(path: str, language: str, shown: str) -> None:
    assert languages.shown_path(path, language) == shown


def test_every_language_has_a_name_that_says_it() -> None:
    for row in languages.LANGUAGES.values():
        for path in ("", "x", "x.unheard", "d/x.py", "x.rs"):
            shown = languages.shown_path(path, row.id)
            assert row.id == "plaintext" or languages.of_path(shown) == row.id, (path, row.id, shown)
            assert languages.shown_path(shown, row.id) == shown


def test_no_name_means_two_languages() -> None:
    rows = languages.LANGUAGES.values()
    for said in ("endings", "files", "aliases"):
        counted = Counter(name for row in rows for name in getattr(row, said))
        assert [name for name, n in counted.items() if n > 1] == []
    assert not {alias for row in rows for alias in row.aliases} & set(languages.LANGUAGES)


def test_every_grammar_is_there() -> None:
    assert [row.id for row in languages.LANGUAGES.values() if row.grammar and language_for(row.id) is None] == []
