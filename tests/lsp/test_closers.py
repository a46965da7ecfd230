"""Closers that the editor inserted: midfill knows them from its edits, leaves them out of prompts, and replaces them
instead of doubling them."""

from __future__ import annotations

from typing import Any

import pytest

from midfill.lsp.closers import Closers, n_covered, steady
from tests.lsp.made import AUTOMATIC, INLINE, POPUP, change, ready

from .client import at
from .conftest import Launch

# (from, to, text) in line 3, whose text is "f(a, g())  # ‸" with the inner pair just closed by the editor.
BEFORE = Closers(3, 7, "))")


@pytest.mark.parametrize(
    ("known", "start", "end", "text", "expected"),
    [
        (Closers(), (0, 4), (0, 4), "()", Closers(0, 5, ")")),
        (Closers(), (0, 4), (0, 4), '""', Closers(0, 5, '"')),
        (Closers(), (0, 4), (0, 4), "(", Closers()),
        (Closers(), (0, 4), (0, 6), "()", Closers()),  # in the place of something: pasted
        (Closers(), (0, 4), (0, 4), "<>", Closers()),
        (BEFORE, (3, 7), (3, 7), "[]", Closers(3, 8, "]))")),
        (BEFORE, (3, 2), (3, 2), "[]", Closers(3, 3, "]")),
        (BEFORE, (3, 7), (3, 7), "x", Closers(3, 8, "))")),
        (BEFORE, (3, 6), (3, 7), "", Closers(3, 6, "))")),
        (BEFORE, (3, 0), (3, 4), "hello", Closers(3, 8, "))")),
        (BEFORE, (3, 7), (3, 8), ")", Closers(3, 8, ")")),  # typed over
        (Closers(3, 7, ")"), (3, 7), (3, 8), ")", Closers(3, 8, "")),
        (BEFORE, (3, 7), (3, 8), "]", Closers()),
        (BEFORE, (3, 6), (3, 8), "", Closers()),  # the pair was deleted
        (BEFORE, (3, 9), (3, 9), "x", Closers()),
        (BEFORE, (3, 7), (3, 7), "\n", Closers()),
        (BEFORE, (1, 0), (1, 0), "x", Closers()),
        (BEFORE, (2, 0), (3, 0), "", Closers()),
    ],
)
def test_edits(known: Closers, start: Any, end: Any, text: str, expected: Closers) -> None:
    assert known.edited(start, end, text) == expected


@pytest.mark.parametrize(
    ("middle", "closers", "language", "n"),
    [
        ("a, b):\n    return a + b", ")", "python", 1),
        ("a, b", ")", "python", 0),
        ("g(1), h(2)", ")", "python", 0),
        ("g(1))", ")", "python", 1),
        ("x)", "))", "python", 1),
        ("x))", "))", "python", 2),
        ("x])", "])", "python", 2),
        ("x)", "])", "python", 0),  # it closes something else
        ('hello")', '")', "python", 2),
        ("hello) + 1", '")', "python", 0),
        ('say \\"so\\"")', '")', "python", 2),
        ('hello\nnext"', '"', "python", 0),
        (") # )", ")", "python", 1),
        ("# )\n", ")", "python", 0),
        ("", ")", "python", 0),
    ],
)
def test_what_a_middle_writes_itself(middle: str, closers: str, language: str, n: int) -> None:
    assert n_covered(middle, closers, language) == n


@pytest.mark.parametrize(
    ("middle", "closers", "language", "text"),
    [
        ("'row'}>\n  <b>{a}</b>", "}", "typescriptreact", "'row'}>\n  <b>{a"),
        ("a, b):\n    return f(a, b)", ")", "python", "a, b):\n    return f(a, b"),
        ("a, b):\n    return a + b", ")", "python", "a, b):\n    return a + b"),
        ("g(1), h(2)", ")", "python", "g(1), h(2)"),  # none is covered
        ('x") + "y', '")', "python", 'x") +'),
        ("f(1))\n", ")", "python", "f(1))"),
        ("a, b):\n    return f(a)", "", "python", "a, b):\n    return f(a)"),
        ("", ")", "python", ""),
    ],
)
def test_while_it_grows_a_covered_closer_stands_once(middle: str, closers: str, language: str, text: str) -> None:
    assert steady(middle, closers, language) == text


ADD = {"chunks": ["a, b", "):", "\n    return a + b", "\n"]}
OPTIONS = {"ahead": False, "disabledRules": ["confidence"]}
HERE = {"line": 0, "character": 8}


def typed(client: Any, uri: str) -> None:
    edit = {"range": {"start": {"line": 0, "character": 7}, "end": {"line": 0, "character": 7}}, "text": "()"}
    client.notify("textDocument/didChange", {"textDocument": {"uri": uri, "version": 2}, "contentChanges": [edit]})


def test_an_item_takes_their_place(launch: Launch) -> None:
    client = ready(launch, ADD, real=True, initializationOptions=OPTIONS)
    uri = client.open("def add")
    typed(client, uri)
    (item,) = client.result(INLINE, at(uri, 0, 8, context=AUTOMATIC))["items"]
    assert item["insertText"] == "a, b):\n    return a + b"
    assert item["range"] == {"start": HERE, "end": {"line": 0, "character": 9}}
    prompt = client.result("midfill/debugPrompt", {"uri": uri, "position": HERE})
    assert ")" not in prompt["text"]
    (entry,) = client.result(POPUP, at(uri, 0, 8, context={"triggerKind": 1}))["items"]
    assert entry["textEdit"]["newText"] == "a, b"  # a popup's text stays inside the brackets


@pytest.mark.parametrize("opened", [True, False])
def test_brackets_that_somebody_wrote_stay(launch: Launch, opened: bool) -> None:
    client = ready(launch, ADD, real=True, initializationOptions=OPTIONS)
    uri = client.open("def add()")
    if not opened:
        change(client, uri, 2, "def add()")
    (item,) = client.result(INLINE, at(uri, 0, 8, context=AUTOMATIC))["items"]
    assert (item["insertText"], item["range"]) == ("a, b", {"start": HERE, "end": HERE})


def test_typing_along_and_over_them_needs_the_model_once(launch: Launch) -> None:
    client = ready(launch, ADD, real=True, initializationOptions=OPTIONS)
    uri = client.open("def add")
    typed(client, uri)
    asked, text, n = "a, b", "a, b):\n    return a + b", 8
    client.result(INLINE, at(uri, 0, n, context=AUTOMATIC))
    for version, char in enumerate(asked + ")", 3):
        end = n + (char == ")")
        span = {"start": {"line": 0, "character": n}, "end": {"line": 0, "character": end}}
        document = {"uri": uri, "version": version}
        edit = {"range": span, "text": char}
        client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [edit]})
        n, text = n + 1, text[1:]
        (item,) = client.result(INLINE, at(uri, 0, n, context=AUTOMATIC))["items"]
        assert item["insertText"] == text
    assert client.result("midfill/stats")["engine"]["totals"]["n_requests"] == 1
