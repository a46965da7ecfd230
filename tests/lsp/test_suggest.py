"""Suggestions from outside, with an engine that replays a script."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.lsp.made import AUTOMATIC, INLINE, INVOKED, POPUP, STREAMING, change, ready, span, values

from .client import Client, at
from .conftest import Launch

EMPTY: dict[str, Any] = {INLINE: None, STREAMING: {"items": []}, POPUP: {"isIncomplete": True, "items": []}}


@pytest.mark.parametrize(
    ("encoding", "character", "answered"),
    [("utf-16", 6, 6), ("utf-8", 8, 8), ("utf-32", 5, 5), ("utf-16", 99, 7), ("utf-16", 5, 4)],
)
def test_inline(launch: Launch, encoding: str, character: int, answered: int) -> None:
    client = ready(launch, {"chunks": ["a", " +\nb"]}, capabilities={"general": {"positionEncodings": [encoding]}})
    uri = client.open("x\r\ny = \U0001f600!\r\n")
    item = client.result(INLINE, at(uri, 1, character, context=INVOKED))["items"][0]
    assert item == {"insertText": "a +\r\nb", "range": span((1, answered), (1, answered))}


def test_selected_completion(launch: Launch) -> None:
    client = ready(launch, {"chunks": ["(x)"]})
    uri = client.open("pri")
    info = {"range": span((0, 0), (0, 3)), "text": "print"}
    context = {"triggerKind": 2, "selectedCompletionInfo": info}
    item = client.result(INLINE, at(uri, 0, 3, context=context))["items"][0]
    assert item["insertText"] == "print(x)"
    assert item["range"] == info["range"]


def test_streaming_values_replace_each_other(launch: Launch) -> None:
    client = ready(launch, {"chunks": ["a", "", " + b", "", " + c"], "delay_s": 0.03})
    uri = client.open("x = ")
    final = client.result(STREAMING, at(uri, 0, 4, context=AUTOMATIC, partialResultToken="t"))
    texts = [value["items"][0]["insertText"] for value in values(client, "t")]
    assert texts == ["a", "a + b", "a + b + c"]
    assert final == values(client, "t")[-1]


@pytest.mark.parametrize(
    ("formats", "documentation"),
    [
        (["markdown", "plaintext"], "```python\nprint(\n    x,\n)\n```"),
        (["plaintext"], "print(\n    x,\n)"),
        (None, "print(\n    x,\n)"),
    ],
)
def test_popup(launch: Launch, formats: list[str] | None, documentation: str) -> None:
    item = {"insertTextModeSupport": {"valueSet": [1]}, "documentationFormat": formats}
    client = ready(
        launch,
        {"chunks": ["nt(\n", "    x,\n", ")"], "delay_s": 0.02},
        capabilities={"textDocument": {"completion": {"completionItem": item}}},
    )
    uri = client.open("\U0001f600 = pri\n")
    result = client.result(POPUP, at(uri, 0, 8))
    assert result["isIncomplete"] is True
    (item,) = result["items"]
    assert item["label"] == "print( …"
    assert item["filterText"] == "print("
    assert item["textEdit"] == {"range": span((0, 5), (0, 8)), "newText": "print(\n    x,\n)"}
    assert item["insertTextMode"] == 1
    assert item["documentation"]["value"] == documentation


def test_popup_values_add_up(launch: Launch) -> None:
    client = ready(launch, {"chunks": ["nt(\n", "    x,\n", ")"], "delay_s": 0.02})
    uri = client.open("pri")
    result = client.result(POPUP, at(uri, 0, 3, partialResultToken=7))
    assert result == {"isIncomplete": True, "items": []}
    first, second = values(client, 7)
    assert [first["items"][0]["label"], second[0]["label"]] == ["print(", "print( …"]
    assert second[0]["textEdit"]["newText"] == "print(\n    x,\n)"


@pytest.mark.parametrize("method", [INLINE, STREAMING, POPUP])
def test_the_latest_wins(launch: Launch, method: str) -> None:
    client = ready(launch, {"chunks": ["a"] * 20, "delay_s": 0.05})
    uri = client.open("x = ")
    first = client.request(method, at(uri, 0, 3))
    time.sleep(0.1)
    start = time.monotonic()
    second = client.request(method, at(uri, 0, 4))
    assert client.response(first)["result"] == EMPTY[method]
    print(f"superseded answer after {(time.monotonic() - start) * 1000:.1f} ms")
    result = client.response(second)["result"]
    assert len(result["items"]) == 1
    assert len(client.answers(first)) == 1
    stats = client.result("midfill/stats")
    assert (stats["superseded"], stats["shown"], stats["engine"]) == (1, 1, {"n_open": 0})


def test_families_and_documents_do_not_compete(launch: Launch) -> None:
    client = ready(launch, {"chunks": ["a"] * 5, "delay_s": 0.05})
    one, two = client.open("x = "), client.open("x = ", uri="file:///w/b.py")
    asked = [
        client.request(INLINE, at(one, 0, 4)),
        client.request(POPUP, at(one, 0, 4)),
        client.request(INLINE, at(two, 0, 4)),
    ]
    assert all(client.response(msg_id)["result"]["items"] for msg_id in asked)


@pytest.mark.parametrize("method", [INLINE, STREAMING, POPUP])
def test_edits_and_closing_make_it_empty(launch: Launch, method: str) -> None:
    client = ready(launch, {"chunks": ["a"] * 5, "delay_s": 0.05})
    uri = client.open("x = ")
    asked = client.request(method, at(uri, 0, 4))
    change(client, uri, 2, "y")
    assert client.response(asked)["result"] == EMPTY[method]
    asked = client.request(method, at(uri, 0, 1))
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    assert client.response(asked)["result"] == EMPTY[method]
    assert client.result(method, at(uri, 0, 1)) == EMPTY[method]


def test_the_snapshot_is_the_text_at_the_request(launch: Launch) -> None:
    client = ready(launch, {"chunks": ["a"]})
    uri = client.open("one")
    asked = client.request("midfill/debugPrompt", {"uri": uri, "position": {"line": 0, "character": 3}})
    change(client, uri, 2, "two")
    assert client.response(asked)["result"] == {"text": "one‸", "controlCount": 3}


def test_stale_documents_and_unknown_ones_are_empty(launch: Launch) -> None:
    client = ready(launch, {"chunks": ["a"]})
    uri = client.open("x", version=5)
    change(client, uri, 4, "y", full=False)
    assert client.result(INLINE, at(uri, 0, 0, context=INVOKED)) is None
    change(client, uri, 8, "z")
    assert client.result(INLINE, at(uri, 0, 0, context=INVOKED))["items"]
    change(client, uri, 3, "old", full=False)
    assert client.result(INLINE, at(uri, 0, 0, context=INVOKED)) is None
    assert client.result(INLINE, at(f"file://{__file__}", 0, 0, context=INVOKED)) is None


def test_an_automatic_popup_does_not_wait_for_the_engine(launch: Launch) -> None:
    client = ready(launch, {"chunks": ["a"], "ready_s": -1})
    uri = client.open("x")
    start = time.monotonic()
    assert client.result(POPUP, at(uri, 0, 1, context=AUTOMATIC)) == EMPTY[POPUP]
    assert time.monotonic() - start < 2


def test_invoked_requests_wait_for_the_engine(launch: Launch) -> None:
    client = launch(script={"chunks": ["a"], "ready_s": 0.5})
    client.initialize()
    uri = client.open("x")
    assert client.result(INLINE, at(uri, 0, 1, context=INVOKED))["items"]


def test_the_deadline_answers_with_what_stands(launch: Launch) -> None:
    client = ready(
        launch, {"chunks": ["a"] * 100, "delay_s": 0.1}, initializationOptions={"midfill": {"firstAnswerS": 0.5}}
    )
    uri = client.open("x")
    (item,) = client.result(INLINE, at(uri, 0, 1, context=INVOKED))["items"]
    assert 1 <= len(item["insertText"]) < 50
    client.result(STREAMING, at(uri, 0, 1, context=INVOKED))
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    time.sleep(0.1)
    assert client.result("midfill/stats")["engine"] == {"n_open": 0}


@pytest.mark.parametrize("method", [INLINE, STREAMING, POPUP])
def test_engine_errors_are_empty_answers(launch: Launch, method: str) -> None:
    client = ready(launch, {"chunks": ["a", None], "delay_s": 0.01})
    uri = client.open("x")
    assert client.result(method, at(uri, 0, 1)) == EMPTY[method]
    assert not [m for m in client.log if m.get("method", "").startswith("window/")]


def test_a_request_without_a_value_says_who_would_have_answered(launch: Launch) -> None:
    client = ready(launch, {"chunks": [None]})
    uri = client.open("x")
    assert client.result(INLINE, at(uri, 0, 1)) is None
    trace = client.result("midfill/explain")["trace"]
    assert (trace["refused"], trace["model"], trace["line"]) == ("engine_error", "script", 1)


def test_switched_off(launch: Launch) -> None:
    client = ready(launch, {"chunks": ["a"]}, real=True, initializationOptions={"disabledLanguages": ["python"]})
    uri = client.open("x")
    assert client.result(INLINE, at(uri, 0, 1, context=AUTOMATIC)) is None
    assert client.result(INLINE, at(uri, 0, 1, context=INVOKED))["items"]
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": {"enabled": False}}})
    assert client.result(INLINE, at(uri, 0, 1, context=INVOKED)) is None
    assert client.result("midfill/status")["state"] == "off"
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": {"enabled": True}}})
    client.ready()
    assert client.result(INLINE, at(uri, 0, 1, context=INVOKED))["items"]


def typed(client: Client, uri: str, version: int, where: tuple[int, int], text: str) -> None:
    edit = {"text": text, "range": span(where, where)}
    document = {"uri": uri, "version": version}
    client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [edit]})


@pytest.mark.parametrize(
    ("settings", "buffer", "is_off"),
    [
        ({"disabledLanguages": ["python"]}, "x = ", True),
        ({"disabledLanguages": ["go"]}, "x = ", False),
        ({"disabledFiles": ["*.py"]}, "x = ", True),
        ({"disabledFiles": ["*.go"]}, "x = ", False),
        ({"disabledScopes": ["comment"]}, "# = ", True),
        ({"disabledScopes": ["comment"]}, "x = ", False),
        ({}, "x = ", False),
    ],
)
def test_a_popup_while_typing_obeys_what_is_off(
    launch: Launch, settings: dict[str, Any], buffer: str, is_off: bool
) -> None:
    """LSP has one kind for a popup that comes with the first letter of a word and for one asked for by hand."""
    client = ready(launch, {"chunks": ["a"]}, real=True, initializationOptions=settings)
    uri = client.open(buffer)

    def popup(character: int, kind: int = 1) -> bool:
        return bool(client.result(POPUP, at(uri, 0, character, context={"triggerKind": kind}))["items"])

    assert popup(4)  # nothing was typed: by hand
    typed(client, uri, 2, (0, 4), "b")
    assert popup(5) is not is_off
    assert popup(5)  # the same place once more: by hand
    typed(client, uri, 3, (0, 5), "c")
    assert popup(6, kind=3) is not is_off
    assert popup(6)
    typed(client, uri, 4, (0, 6), "\n")
    assert popup(6)  # elsewhere, and no letter
    change(client, uri, 5, buffer + "bcd\n")  # a client that sends whole texts
    assert popup(7) is not is_off
    assert popup(7)
    change(client, uri, 6, buffer + "e" * 40)  # pasted, or read again
    assert popup(44)


def test_lone_surrogates(launch: Launch) -> None:
    client = ready(launch, {"chunks": ["\ud83d"]})
    uri = client.open("x\udc00y")
    assert client.result("midfill/debugDocumentText", {"uri": uri}) == {"text": "x\udc00y"}
    item = client.result(INLINE, at(uri, 0, 2, context=INVOKED))["items"][0]
    assert item == {"insertText": "\ud83d", "range": span((0, 2), (0, 2))}


def test_notebook(launch: Launch) -> None:
    client = ready(launch, {"chunks": ["a"]})
    cells = [{"kind": 2, "document": "cell:1"}, {"kind": 1, "document": "cell:2"}, {"kind": 2, "document": "cell:3"}]
    texts = [
        {"uri": f"cell:{n}", "languageId": "markdown" if n == 2 else "python", "version": 1, "text": f"t{n}"}
        for n in (1, 2, 3)
    ]
    notebook = {"uri": "file:///w/n.ipynb", "notebookType": "jupyter-notebook", "version": 1, "cells": cells}
    client.notify("notebookDocument/didOpen", {"notebookDocument": notebook, "cellTextDocuments": texts})

    def prompt(cell: str) -> Any:
        result = client.result("midfill/debugPrompt", {"uri": cell, "position": {"line": 0, "character": 9}})
        return result and result["text"]

    assert prompt("cell:3") == "t1\n\nt3‸"
    change = {
        "cells": {
            "structure": {
                "array": {"start": 0, "deleteCount": 1, "cells": [{"kind": 2, "document": "cell:4"}]},
                "didOpen": [{"uri": "cell:4", "languageId": "python", "version": 1, "text": "t4"}],
                "didClose": [{"uri": "cell:1"}],
            },
            "textContent": [{"document": {"uri": "cell:3", "version": 2}, "changes": [{"text": "new"}]}],
        }
    }
    document = {"uri": "file:///w/n.ipynb", "version": 2}
    client.notify("notebookDocument/didChange", {"notebookDocument": document, "change": change})
    assert prompt("cell:3") == "t4\n\nnew‸"
    assert prompt("cell:1") is None
    client.notify("notebookDocument/didClose", {"notebookDocument": document, "cellTextDocuments": []})
    assert prompt("cell:3") is None
