"""midfill/names: what the editor's other language servers say holds the model to what exists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .client import Client, at
from .conftest import Launch

TEXT = "function f(order) {\n  order.\n  const x = \n}\n"
SAID = "order.prise + 1"


@pytest.fixture
def says(environment: dict[str, str]) -> None:
    """The real completer over an engine that says SAID."""
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
    uri = client.open(TEXT, "file:///w/a.ts", "typescript")
    tell(client, uri, names, **options)
    assert suggestion(client, uri) == expected


def test_switched_off(says: None, launch: Launch) -> None:
    client = launch()
    client.initialize(initializationOptions={"knowledge_off": ["client"]})
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
    uri = client.open(TEXT, "file:///w/a.ts", "typescript")
    assert suggestion(client, uri) == SAID
    assert suggestion(client, uri) == SAID  # from the cache
    tell(client, uri, ["price"])
    assert suggestion(client, uri) == "order."
