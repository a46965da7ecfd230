"""What becomes of suggestions, and the answer to "why nothing?", with a real completer on a scripted engine."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from midfill import records
from midfill.client.scripted import ScriptedLink
from midfill.config import Config
from midfill.lsp.explain import Traces
from midfill.lsp.server import MidfillServer
from midfill.records import kept_share
from midfill.trace import REPLACED, Trace
from tests.lsp.made import AUTOMATIC, INLINE, INVOKED, POPUP, STREAMING, Sent, ask, change, notify, ready, span

from .client import Client, at
from .conftest import Launch

SHOW, PARTLY = "textDocument/didShowCompletion", "textDocument/didPartiallyAcceptCompletion"


def kept_rows(tmp_path: Path) -> list[dict[str, Any]]:
    """Return the records that the server's process has written so far."""
    file = tmp_path / "STATE" / "records.sqlite3"
    if not file.exists():
        return []
    connection = sqlite3.connect(file)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute("SELECT * FROM suggestions ORDER BY rowid")]
    except sqlite3.OperationalError:  # it is being made
        return []
    finally:
        connection.close()


def settled(client: Client, tmp_path: Path, n: int) -> list[dict[str, Any]]:
    """Return the records after the server has left; it writes all of them first."""
    client.result("shutdown")
    deadline = time.monotonic() + 20
    while len(rows := kept_rows(tmp_path)) < n and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.1)
    return kept_rows(tmp_path) or rows


def test_items_tell_when_they_are_taken(launch: Launch, tmp_path: Path) -> None:
    client = ready(launch, {"chunks": ["add(", "1)"]}, real=True)
    uri = client.open("x = \n")
    (item,) = client.result(INLINE, at(uri, 0, 4, context=AUTOMATIC))["items"]
    assert item["command"]["command"] == "midfill.accepted"
    assert client.result("workspace/executeCommand", item["command"]) is None
    (row,) = settled(client, tmp_path, 1)
    assert (row["id"], row["outcome"], row["n_accepted"]) == (item["command"]["arguments"][0], "accepted", 6)
    assert (row["method"], row["language"], row["trigger"], row["model"]) == (
        "inline",
        "python",
        "automatic",
        "scripted",
    )
    assert (row["n_chars"], row["n_lines"], row["n_candidates"], row["seen"]) == (6, 1, 1, 1)
    assert row["latency_s"] > 0
    assert row["n_decoded"] == 2
    assert row["scope"] == "code"


def test_records_know_the_kind_of_place(launch: Launch, tmp_path: Path) -> None:
    client = ready(launch, {"chunks": ["add"]}, real=True, initializationOptions={"ahead": False})
    uri = client.open("# sum \nx = 'a \n")
    for line, column in ((0, 6), (1, 7)):
        client.result(INLINE, at(uri, line, column, context=INVOKED))
    assert [row["scope"] for row in settled(client, tmp_path, 2)] == ["comment", "string"]


def test_typing_along_is_the_same_suggestion(launch: Launch, tmp_path: Path) -> None:
    client = ready(launch, {"chunks": ["add(", "1)"]}, real=True, initializationOptions={"ahead": False})
    uri = client.open("x = \n")
    ids = []
    for n in range(3):
        change(client, uri, n + 2, "x = " + "add"[:n] + "\n")
        (item,) = client.result(STREAMING, at(uri, 0, 4 + n, context=AUTOMATIC))["items"]
        ids.append(item["command"]["arguments"][0])
    assert len(set(ids)) == 1
    assert client.result("midfill/stats")["engine"]["totals"]["n_requests"] == 1
    (row,) = settled(client, tmp_path, 1)
    assert (row["outcome"], row["n_chars"]) == ("", 6)


@pytest.mark.parametrize(("buffer", "outcome"), [("x = add(1)", "typed"), ("x = sub", "rejected")])
def test_what_stands_when_the_next_one_comes(launch: Launch, tmp_path: Path, buffer: str, outcome: str) -> None:
    client = ready(launch, {"chunks": ["add(", "1)"]}, real=True, initializationOptions={"ahead": False})
    uri = client.open("x = ")
    client.result(INLINE, at(uri, 0, 4, context=AUTOMATIC))
    change(client, uri, 2, buffer + "\ny = ")
    client.result(INLINE, at(uri, 1, 4, context=AUTOMATIC))
    first, second = settled(client, tmp_path, 2)
    assert (first["outcome"], second["outcome"]) == (outcome, "")


def test_closing_a_document_rejects(launch: Launch, tmp_path: Path) -> None:
    client = ready(launch, {"chunks": ["add"]}, real=True)
    uri = client.open("x = ")
    client.result(INLINE, at(uri, 0, 4, context=AUTOMATIC))
    client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    (row,) = settled(client, tmp_path, 1)
    assert row["outcome"] == "rejected"


def test_a_client_that_tells_what_it_shows(launch: Launch, tmp_path: Path) -> None:
    client = ready(launch, {"chunks": ["add"]}, real=True, initializationOptions={"ahead": False})
    uri = client.open("x = \ny = \nz = ")
    items = []
    for line in range(3):
        (item,) = client.result(INLINE, at(uri, line, 4, context=AUTOMATIC))["items"]
        items.append(item)
        if line != 1:
            client.notify(SHOW, {"item": item})
    client.notify(PARTLY, {"item": items[2], "acceptedLength": 2})
    rows = settled(client, tmp_path, 3)
    assert [(row["seen"], row["outcome"], row["n_accepted"]) for row in rows] == [
        (1, "rejected", 0),
        (1, "rejected", 0),  # an outcome: it must have been seen
        (1, "partial", 2),
    ]


@pytest.mark.parametrize(
    "params",
    [
        None, {}, {"item": None}, {"item": {"command": 5}}, {"item": {"command": {"arguments": []}}}, {"id": 7},
        {"item": {"command": {"arguments": [{"id": "unknown"}]}}, "acceptedLength": "x"}, {"id": "x" * 999},
        {"id": "unknown", "acceptedLength": -1},
    ],
)  # fmt: skip
def test_absurd_notifications_do_nothing(shared: Client, params: Any) -> None:
    for method in (SHOW, PARTLY):
        shared.notify(method, params)
    assert shared.result("midfill/status")["state"] in ("ready", "generating")


@pytest.mark.parametrize(
    ("params", "answer"),
    [
        ({"command": "midfill.accepted"}, None),
        ({"command": "midfill.accepted", "arguments": None}, None),
        ({"command": "midfill.accepted", "arguments": [[]]}, None),
        ({"command": "midfill.accepted", "arguments": ["unknown", -5]}, None),
        ({"command": "rm"}, -32602),
        ({}, -32602),
    ],
)
def test_commands(shared: Client, params: Any, answer: int | None) -> None:
    said = shared.call("workspace/executeCommand", params)
    assert said.get("error", {}).get("code") == answer


def test_switched_off_nothing_is_kept(launch: Launch, tmp_path: Path) -> None:
    client = ready(launch, {"chunks": ["add"]}, real=True, initializationOptions={"records": False})
    uri = client.open("x = ")
    (item,) = client.result(INLINE, at(uri, 0, 4, context=AUTOMATIC))["items"]
    client.notify(SHOW, {"item": item})
    client.result("workspace/executeCommand", item["command"])
    client.result("shutdown")
    time.sleep(0.3)
    assert [path.name for path in (tmp_path / "STATE").rglob("*") if "log" not in str(path)] == []


def test_no_source_text_is_kept(launch: Launch, tmp_path: Path) -> None:
    client = ready(launch, {"chunks": ["canary_said = 1"]}, real=True)
    uri = client.open("canary_before = \n# canary_after\n", uri="file:///w/canary_name.py")
    (item,) = client.result(INLINE, at(uri, 0, 16, context=AUTOMATIC))["items"]
    client.result("workspace/executeCommand", item["command"])
    settled(client, tmp_path, 1)
    files = [path for path in (tmp_path / "STATE").rglob("*") if path.is_file()]
    assert {"records.sqlite3", "last-trace.json"} <= {path.name for path in files}
    assert not any(b"canary" in path.read_bytes() for path in files)


# ---- kept ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "lines", "share"),
    [
        ("add(1)", ["x = add(1)\n"], 1.0),
        ("add(1)", ["x = add(2)\n"], 0.0),
        ("a\n    bcd", ["x = a", "\tbcd"], 1.0),
        ("a\n    bcd", ["x = a", "\tefg"], 0.25),
        ("", [], 1.0),
        ("\n\n", [], 1.0),
    ],
)
def test_kept_share(text: str, lines: list[str], share: float) -> None:
    assert kept_share(text, lines) == share


async def test_what_was_accepted_is_looked_at_again(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('{"chunks": ["add(1)"]}')
    server = MidfillServer(
        Config(ahead=False),
        lambda config, on_status, sources: ScriptedLink(config, on_status, script, sources),
    )
    sender = server.protocol.sender = Sent()
    ask(server, 0, "initialize", {"capabilities": {}})
    item = {"uri": "file:///a.py", "languageId": "python", "version": 1, "text": "x = "}
    notify(server, "textDocument/didOpen", {"textDocument": item})
    ask(server, 1, INLINE, at("file:///a.py", 0, 4, context=AUTOMATIC))
    async with asyncio.timeout(60):
        while not (answered := [m for m in sender.messages if m.get("id") == 1]):
            await asyncio.sleep(0.01)
    answer = answered[0]["result"]["items"][0]
    change = {"text": "add(1)", "range": span((0, 4), (0, 4))}
    document = {"uri": "file:///a.py", "version": 2}
    notify(server, "textDocument/didChange", {"textDocument": document, "contentChanges": [change]})
    ask(server, 2, "workspace/executeCommand", answer["command"])
    early, late = sorted(server.session.outcomes._checks, key=lambda timer: timer.when())
    assert late.when() - early.when() == pytest.approx(270, abs=1)
    early._run()
    document = {"uri": "file:///a.py", "version": 3}
    notify(server, "textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": "gone"}]})
    late._run()
    server.session.outcomes.stop().close()
    server.stopping()
    (row,) = records.rows()
    assert (row["outcome"], row["kept_30"], row["kept_300"]) == ("accepted", 1.0, 0.0)


# ---- candidates ------------------------------------------------------------------------------------------------------

SEVERAL = {"chunks": ["add"], "others": [["sub"], ["add"]]}


def test_invoked_requests_give_several_items(launch: Launch, tmp_path: Path) -> None:
    client = ready(launch, SEVERAL, real=True, initializationOptions={"ahead": False})
    uri = client.open("x = ")
    items = client.result(INLINE, at(uri, 0, 4, context=INVOKED))["items"]
    assert [item["insertText"] for item in items] == ["add", "sub"]
    assert [item["command"]["arguments"][1] for item in items] == [0, 1]
    client.result("workspace/executeCommand", items[1]["command"])
    (row,) = settled(client, tmp_path, 1)
    assert (row["n_candidates"], row["outcome"], row["n_accepted"]) == (2, "accepted", 3)


@pytest.mark.parametrize(("options", "n_items"), [({}, 2), ({"candidates": 1}, 1)])
def test_the_popup_too(launch: Launch, options: dict[str, Any], n_items: int) -> None:
    client = ready(launch, SEVERAL, real=True, initializationOptions=options)
    uri = client.open("x = ")
    items = client.result(POPUP, at(uri, 0, 4, context=INVOKED))["items"]
    assert [item["label"] for item in items] == ["add", "sub"][:n_items]
    assert [item["sortText"] for item in items] == ["midfill-1", "midfill-2"][:n_items]
    assert all(item["command"]["command"] == "midfill.accepted" for item in items)


def test_automatic_requests_give_one(launch: Launch) -> None:
    client = ready(launch, SEVERAL, real=True)
    uri = client.open("x = ")
    assert len(client.result(INLINE, at(uri, 0, 4, context=AUTOMATIC))["items"]) == 1


def test_every_item_extends_the_selected_completion(launch: Launch) -> None:
    client = ready(launch, SEVERAL, real=True)
    uri = client.open("\U0001f600 = pri)")
    info = {"range": span((0, 5), (0, 8)), "text": "print"}
    context = {"triggerKind": 1, "selectedCompletionInfo": info}
    items = client.result(INLINE, at(uri, 0, 8, context=context))["items"]
    assert [item["insertText"] for item in items] == ["printadd", "printsub"]
    assert all(item["range"] == info["range"] for item in items)
    prompt = client.result("midfill/debugPrompt", {"uri": uri, "position": {"line": 0, "character": 8}})
    assert "pri" in prompt["text"]


# ---- explain ---------------------------------------------------------------------------------------------------------


def test_explain(launch: Launch) -> None:
    client = ready(launch, {"chunks": ["add(", "1)"]}, real=True)
    assert client.result("midfill/explain", {}) is None
    one, two = client.open("x = "), client.open("na me", uri="file:///w/b.py")
    (item,) = client.result(INLINE, at(one, 0, 4, context=AUTOMATIC))["items"]
    assert client.result(INLINE, at(two, 0, 1, context=AUTOMATIC)) is None
    last = client.result("midfill/explain", {})
    assert last["story"].startswith("Nothing was shown: the cursor is inside a word")
    assert (last["trace"]["refused"], last["trace"]["line"], last["trace"]["column"]) == ("inside_word", 1, 2)
    for params in ({"id": item["command"]["arguments"][0]}, {"textDocument": {"uri": one}}):
        found = client.result("midfill/explain", params)
        assert found["story"].startswith("Shown: 6 characters, from the model, after ")
        assert found["trace"]["raw"] == "add(1)"
        assert found["trace"]["stats"]["n_decoded"] == 2
    assert client.result("midfill/explain", {"id": "unknown"}) is None
    assert client.result("midfill/explain", {"id": 5, "textDocument": 5}) is not None


def test_a_request_that_was_replaced_is_explained_only_if_there_is_no_other() -> None:
    mine, traces, other = "file:///w/a.py", Traces(), Trace(uri="file:///w/b.py", refused=REPLACED)
    answered, replaced = Trace(id="1", uri=mine), Trace(uri=mine, refused=REPLACED)
    for trace in (other, answered, replaced):
        traces.add(trace)
    assert traces.find(None, None) is traces.find(None, mine) is answered
    assert traces.find(None, other.uri) is other


@pytest.mark.parametrize(
    ("options", "what", "refused"),
    [
        ({}, "another document", "unknown_document"),
        ({"disabledFiles": ["*.py"]}, "", "file_off"),
        ({}, "edit", "outdated"),
        ({}, "cancel", "cancelled"),
        ({}, "close", "superseded"),
    ],
)
def test_why_nothing(launch: Launch, options: dict[str, Any], what: str, refused: str) -> None:
    client = ready(launch, {"chunks": ["a"] * 20, "delay_s": 0.02}, real=True, initializationOptions=options)
    uri = client.open("x = ")
    place = at("file:///w/other.py" if what == "another document" else uri, 0, 4, context=AUTOMATIC)
    asked = client.request(INLINE, place)
    if what == "edit":
        change(client, uri, 2, "y")
    elif what == "cancel":
        client.notify("$/cancelRequest", {"id": asked})
    elif what == "close":
        client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
    client.response(asked)
    deadline = time.monotonic() + 10
    while not (found := client.result("midfill/explain", {})["trace"]["refused"]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found == refused


@pytest.mark.parametrize(("options", "refused"), [({"enabled": False}, "disabled"), ({}, "no_engine")])
def test_why_nothing_without_an_engine(launch: Launch, options: dict[str, Any], refused: str) -> None:
    client = launch(script={"chunks": ["a"], "ready_s": -1})
    client.initialize(initializationOptions=options)
    uri = client.open("x = ")
    client.request(INLINE, at(uri, 0, 4, context=AUTOMATIC))  # it may wait for the engine
    assert client.result("midfill/explain", {})["trace"]["refused"] == refused
