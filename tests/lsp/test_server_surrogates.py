"""Halves of characters anywhere in a message end nothing: the server answers, and its threads go on."""

from __future__ import annotations

import contextlib
import copy
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .client import TIMEOUT_S, Client, at
from .conftest import Launch

HALF = "\ud800x\udc00"
RANGE = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 1}}
URI = "file:///w/a.py"
ITEM = {"uri": URI, "languageId": "python", "version": 1, "text": "x = 1\n"}
SHOWN = {"item": {"insertText": "a", "command": {"title": "t", "command": "c", "arguments": ["id", 0]}}}
NOTEBOOK = {"uri": "file:///w/n.ipynb", "notebookType": "jupyter-notebook", "version": 1,
            "cells": [{"kind": 2, "document": "cell:1"}]}  # fmt: skip

REQUESTS: dict[str, Any] = {
    "textDocument/inlineCompletion": at(URI, 0, 3, context={"triggerKind": 1, "selectedCompletionInfo": {
        "range": RANGE, "text": "abc"}}, partialResultToken="p", workDoneToken="w"),
    "textDocument/completion": at(URI, 0, 3, context={"triggerKind": 2, "triggerCharacter": "."}),
    "midfill/inlineCompletion": at(URI, 0, 3, partialResultToken="p"),
    "midfill/status": {"a": "b"},
    "midfill/stats": {"a": "b"},
    "midfill/explain": {"id": "some", "uri": URI},
    "midfill/debugPrompt": at(URI, 0, 3),
    "workspace/executeCommand": {"command": "midfill.accepted", "arguments": [{"id": "some"}, 0]},
    "no/such": {"a": "b"},
}  # fmt: skip
NOTIFICATIONS: dict[str, Any] = {
    "textDocument/didOpen": {"textDocument": ITEM},
    "textDocument/didChange": {"textDocument": {"uri": URI, "version": 2}, "contentChanges": [
        {"range": RANGE, "text": "y"}]},
    "textDocument/didSave": {"textDocument": {"uri": URI}},
    "textDocument/didShowCompletion": SHOWN,
    "textDocument/didPartiallyAcceptCompletion": {**SHOWN, "acceptedLength": 1},
    "midfill/dismissed": at(URI, 0, 3, text="abc"),
    "textDocument/didClose": {"textDocument": {"uri": URI}},
    "notebookDocument/didOpen": {"notebookDocument": NOTEBOOK, "cellTextDocuments": [{**ITEM, "uri": "cell:1"}]},
    "notebookDocument/didChange": {"notebookDocument": {"uri": NOTEBOOK["uri"], "version": 2}, "change": {"cells": {
        "textContent": [{"document": {"uri": "cell:1", "version": 2}, "changes": [{"text": "z"}]}]}}},
    "notebookDocument/didClose": {
        "notebookDocument": {"uri": NOTEBOOK["uri"]}, "cellTextDocuments": [{"uri": "cell:1"}]},
    "workspace/didChangeWorkspaceFolders": {"event": {"added": [{"uri": "file:///w", "name": "w"}], "removed": []}},
    "workspace/didChangeConfiguration": {"settings": {"midfill": {
        "disabledLanguages": ["cobol"], "disabledFiles": ["*.x"], "disabledContext": [],
        "logLevel": "info", "model": "auto"}}},
    "$/setTrace": {"value": "off"},
    "$/cancelRequest": {"id": "some"},
    "no/such": {"a": "b"},
}  # fmt: skip


def halved(value: Any) -> Iterator[Any]:
    """Yield ``value`` with one of its strings after the other ending in halves of characters."""
    if isinstance(value, str):
        yield value + HALF
        yield HALF
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: one} for one in halved(inner))
            yield {**value, name + HALF: inner}
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from ([*value[:n], one, *value[n + 1 :]] for one in halved(inner))


def rows(folder: Path) -> list[str]:
    with contextlib.suppress(sqlite3.Error), sqlite3.connect(folder / "STATE" / "records.sqlite3") as connection:
        return [row[0] for row in connection.execute("SELECT id FROM suggestions")]
    return []


def is_recording(client: Client, folder: Path) -> bool:
    """Return whether one more suggestion is recorded."""
    n_before = len(rows(folder))
    uri = client.open("value = ", f"file:///w/{time.monotonic_ns()}.py")
    assert client.result("textDocument/inlineCompletion", at(uri, 0, 8, context={"triggerKind": 1}))["items"]
    deadline = time.monotonic() + TIMEOUT_S
    while len(rows(folder)) == n_before and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(rows(folder)) > n_before


def test_in_every_string_of_every_message(launch: Launch, tmp_path: Path) -> None:
    client = launch()
    client.initialize(initializationOptions={"midfill": {"logLevel": "debug"}})
    client.ready()
    client.open("x = 1\n")
    n_sent = 0
    for method, params in NOTIFICATIONS.items():
        for one in halved(copy.deepcopy(params)):
            if method == "workspace/didChangeConfiguration" and "midfill" in (one.get("settings") or {}):
                one["settings"]["midfill"].setdefault("enabled", True)
            client.notify(method, one)
            n_sent += 1
        client.notify(method + HALF, params)
        assert client.result("midfill/status"), method
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": {"enabled": True, "model": "auto"}}})
    client.ready()
    client.open("x = 1\n")
    for method, params in REQUESTS.items():
        for one in halved(params):
            answer = client.call(method, one)
            assert ("result" in answer) != ("error" in answer), (method, one)
            n_sent += 1
        client.request(method, params, id=method + HALF)
        assert client.response(method + HALF)["id"] == method + HALF
        assert "error" in client.call(method + HALF, params)
    assert n_sent > 150
    assert is_recording(client, tmp_path)
    log = (tmp_path / "STATE" / "log" / "lsp.log").read_text(encoding="utf-8")
    assert "records are not kept" not in log
    assert "Traceback" not in log


@pytest.mark.parametrize("where", ["rootUri", "rootPath", "locale", "clientInfo", "folder", "settings"])
def test_in_the_handshake(launch: Launch, tmp_path: Path, where: str) -> None:
    places: dict[str, dict[str, Any]] = {
        "rootUri": {"rootUri": (tmp_path / "a").as_uri() + HALF},
        "rootPath": {"rootPath": str(tmp_path) + HALF},
        "locale": {"locale": HALF},
        "clientInfo": {"clientInfo": {"name": HALF, "version": HALF}},
        "folder": {"workspaceFolders": [{"uri": "file:///w" + HALF, "name": HALF}]},
        "settings": {
            "initializationOptions": {"midfill": {"disabledLanguages": [HALF], "disabledFiles": [HALF + "*"]}}
        },
    }
    client = launch()
    client.initialize(**places[where])
    client.ready()
    assert is_recording(client, tmp_path)
