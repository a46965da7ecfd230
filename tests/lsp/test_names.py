"""midfill/names and midfill/signatures: what the editor's other language servers know keeps the model to names that
exist, and to arguments that a callee takes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from midfill.context.knowledge.store import SETTLE_S

from .client import Client, at
from .conftest import Launch

TEXT = "function f(order) {\n  order.\n  const x = \n}\n"
SAID = "order.prise + 1"
URI = "file:///w/a.cs"  # not TypeScript's: what its server says at first is not all


@pytest.fixture
def says(environment: dict[str, str]) -> None:
    """The real completer on an engine that says SAID."""
    script = {"chunks": ["order", ".", "prise", " + 1"]}
    Path(environment["MIDFILL_SCRIPT"]).write_text(json.dumps(script), encoding="utf-8")


@pytest.fixture
def client(says: None, launch: Launch) -> Client:
    client = launch()
    client.initialize()
    client.ready()
    return client


def tell(client: Client, uri: str, names: Any, *, version: int = 1, complete: Any = True, line: int = 1) -> None:
    place = at(uri, line, 8, names=names, complete=complete)
    place["textDocument"]["version"] = version
    client.notify("midfill/names", place)


def suggestion(client: Client, uri: str) -> str:
    answer = client.result("textDocument/inlineCompletion", at(uri, 2, 12, context={"triggerKind": 1}))
    return "".join(item["insertText"] for item in answer["items"][:1])


@pytest.mark.parametrize(("names", "options", "expected"), [
    (["price", "lines"], {}, "order."),
    (["prise", "lines"], {}, SAID),
    ([{"label": "price(amount)", "kind": 2}, {"label": "lines"}], {}, "order."),
    ([{"label": "prise()", "kind": 2}], {}, SAID),
    ([{"label": "prise", "filterText": ".prise", "kind": 2}], {}, SAID),  # as TypeScript's server says it
    ([{"label": "price", "filterText": ".price"}, "?.lines"], {}, "order."),
    ([{"label": "price", "kind": 5}, *[{"label": "if", "kind": 14}] * 6], {}, SAID),  # what is in scope
    (["price"], {"complete": False}, SAID),  # there may be others
    (["price"], {"complete": "yes"}, SAID),
    (["price"], {"version": 7}, SAID),  # of another text
    (["price"], {"line": 99}, SAID),  # of no place
    ([], {}, SAID),
    ([None, 3, "x" * 500, {"label": []}, "two words"], {}, SAID),
    ("price", {}, SAID),
    ([f"n{i}" for i in range(6000)], {}, SAID),  # too many to be all
])  # fmt: skip
def test_a_list(client: Client, names: Any, options: dict[str, Any], expected: str) -> None:
    uri = client.open(TEXT, URI, "csharp")
    tell(client, uri, names, **options)
    assert suggestion(client, uri) == expected


def test_switched_off(says: None, launch: Launch) -> None:
    client = launch()
    client.initialize(initializationOptions={"disabled_knowledge": ["client"]})
    client.ready()
    uri = client.open(TEXT, "file:///w/a.ts", "typescript")
    tell(client, uri, ["price"])
    assert suggestion(client, uri) == SAID


@pytest.mark.parametrize("params", [
    {}, {"textDocument": 3}, {"textDocument": {"uri": "file:///w/a.ts", "version": 1}, "names": ["a"]},
    {"textDocument": {"uri": "file:///w/none.ts", "version": 1}, "position": {"line": 0, "character": 0}, "names": []},
])  # fmt: skip
def test_what_is_no_list_costs_nothing(client: Client, params: dict[str, Any]) -> None:
    uri = client.open(TEXT, "file:///w/a.ts", "typescript")
    client.notify("midfill/names", params)
    assert suggestion(client, uri) == SAID


def test_an_answer_from_before_the_list_is_not_shown_again(client: Client) -> None:
    uri = client.open(TEXT, URI, "csharp")
    assert suggestion(client, uri) == SAID
    assert suggestion(client, uri) == SAID  # from the cache
    tell(client, uri, ["price"])
    assert suggestion(client, uri) == "order."


def test_what_typescripts_server_says_at_first_is_not_all(client: Client) -> None:
    """It answers from the open document alone until it has read the project."""
    uri = client.open(TEXT.replace("order.\n", "order.prize;\n"), "file:///w/a.ts", "typescript")
    tell(client, uri, ["price", "prize"])
    assert suggestion(client, uri) == SAID
    assert places(client, uri, 2, 12) == [(1, 8)]  # so it is asked again
    time.sleep(SETTLE_S)
    tell(client, uri, ["price", "prize"])
    assert places(client, uri, 2, 12) == []
    assert suggestion(client, uri) == "order."


TWO = "function f(order) {\n  return this.é + '𝄞' + order.price +\n    \n}\n"


def places(client: Client, uri: str, line: int, character: int, version: int = 1) -> list[tuple[int, int]]:
    params = at(uri, line, character)
    params["textDocument"]["version"] = version
    answer = client.result("midfill/places", params)
    assert answer["call"] is None
    assert answer["names"] == []  # by default nothing is asked of definitions
    return [(place["line"], place["character"]) for place in answer["places"]]


@pytest.mark.parametrize(("text", "line", "character", "version", "expected"), [
    (TWO, 2, 4, 1, [(1, 14), (1, 31)]),
    (TWO, 2, 4, 2, []),  # of another text
    (TWO.replace("    ", "    order."), 2, 10, 1, [(2, 10), (1, 14)]),
    ("\n", 0, 0, 1, []),
    (TWO, 99, 0, 1, []),
])  # fmt: skip
def test_where_a_client_asks(
    client: Client, text: str, line: int, character: int, version: int, expected: list[tuple[int, int]]
) -> None:
    uri = client.open(text, "file:///w/a.ts", "typescript")
    assert places(client, uri, line, character, version) == expected


def test_nowhere_while_it_is_off(says: None, launch: Launch) -> None:
    client = launch()
    client.initialize(initializationOptions={"disabled_knowledge": ["client"]})
    client.ready()
    assert places(client, client.open(TWO, "file:///w/a.ts", "typescript"), 2, 4) == []


def test_a_document_that_is_not_open(client: Client) -> None:
    assert places(client, "file:///w/none.ts", 0, 0) == []


CALL = "function f(order, é) {\n  é.find(1, [\n\n}\n"
ONE = {"label": "find(at: number): void", "parameters": [{"label": "at: number"}]}
TWO_NUMBERS = {"label": "find(a: number, b: number): void", "parameters": [{"label": [5, 14]}, {"label": "b: number"}]}


def tell_call(client: Client, uri: str, signatures: Any, *, version: int = 1, line: int = 1) -> None:
    params = at(uri, line, 11, signatures=signatures)
    params["textDocument"]["version"] = version
    client.notify("midfill/signatures", params)


def arguments_of_find(client: Client, uri: str) -> str:
    answer = client.result("textDocument/inlineCompletion", at(uri, 1, 11, context={"triggerKind": 1}))
    return "".join(item["insertText"] for item in answer["items"][:1])


@pytest.fixture
def calls(environment: dict[str, str], launch: Launch) -> Client:
    """A client of the real completer on an engine that gives a call of ``find`` two arguments."""
    script = {"chunks": ["1", ", 2", ")"]}
    Path(environment["MIDFILL_SCRIPT"]).write_text(json.dumps(script), encoding="utf-8")
    client = launch()
    client.initialize()
    client.ready()
    return client


def wanted_call(client: Client, uri: str, line: int, character: int) -> dict[str, int] | None:
    answer = client.result("midfill/places", {**at(uri, line, character), "textDocument": {"uri": uri, "version": 1}})
    call: dict[str, int] | None = answer["call"]
    return call


@pytest.mark.parametrize(("signatures", "options", "expected"), [
    ([ONE], {}, "1"),
    ([TWO_NUMBERS], {}, "1, 2)"),
    ([ONE, TWO_NUMBERS], {}, "1, 2)"),
    ([ONE], {"version": 7}, "1, 2)"),  # of another text
    ([ONE], {"line": 99}, "1, 2)"),  # of no call
    ([{"label": "find(at)", "parameters": [{"label": "elsewhere"}]}], {}, "1, 2)"),
    ([ONE, None], {}, "1, 2)"),
    ([], {}, "1, 2)"),
    ("find(at)", {}, "1, 2)"),
    ([ONE] * 50_000, {}, "1, 2)"),  # too many to be all
])  # fmt: skip
def test_what_a_callee_takes(calls: Client, signatures: Any, options: dict[str, Any], expected: str) -> None:
    uri = calls.open("function f(o) {\n    o.find(\n}\n", "file:///w/a.ts", "typescript")
    tell_call(calls, uri, signatures, **options)
    assert arguments_of_find(calls, uri) == expected


@pytest.mark.parametrize("params", [
    {}, {"textDocument": 3}, {"textDocument": {"uri": "file:///w/a.ts", "version": 1}, "signatures": [ONE]},
    {"textDocument": {"uri": "file:///w/none.ts", "version": 1}, "position": {"line": 0, "character": 0},
     "signatures": []},
])  # fmt: skip
def test_what_is_no_signature_costs_nothing(client: Client, params: dict[str, Any]) -> None:
    uri = client.open(TEXT, "file:///w/a.ts", "typescript")
    client.notify("midfill/signatures", params)
    assert suggestion(client, uri) == SAID


@pytest.mark.parametrize(("character", "expected"), [(13, {"line": 1, "character": 9}), (4, None)])
def test_in_which_call_a_client_asks(client: Client, character: int, expected: dict[str, int] | None) -> None:
    uri = client.open(CALL, "file:///w/a.ts", "typescript")
    assert wanted_call(client, uri, 1, character) == expected


def test_a_call_is_asked_about_once(client: Client) -> None:
    uri = client.open(CALL, "file:///w/a.ts", "typescript")
    params = at(uri, 1, 13, signatures=[ONE])
    params["textDocument"]["version"] = 1
    client.notify("midfill/signatures", params)
    assert wanted_call(client, uri, 1, 13) is None


def test_in_no_call_while_it_is_off(says: None, launch: Launch) -> None:
    client = launch()
    client.initialize(initializationOptions={"disabled_knowledge": ["client"]})
    client.ready()
    assert wanted_call(client, client.open(CALL, "file:///w/a.ts", "typescript"), 1, 13) is None
