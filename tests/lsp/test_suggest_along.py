"""Typing along a suggestion that still grows, accepting it, debounce: a session over stdio, with a scripted engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.lsp.made import AUTOMATIC, INLINE, POPUP, STREAMING, change, ready, values

from .client import Client, at
from .conftest import Launch

SLOW = {"chunks": ["add(", "1, ", "2, ", "3)"], "delay_s": 0.15}
GROWS = {"ahead": False, "disabledRules": ["confidence"]}  # a script's probabilities are made up: it shows what it says


def totals(client: Client) -> dict[str, int]:
    return dict(client.result("midfill/stats")["engine"]["totals"])


def wait_for(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def grows(client: Client, token: str) -> bool:
    """Return whether a part of it was shown."""
    return bool(values(client, token))


@pytest.mark.parametrize("how", ["cancelled before", "cancelled after", "not cancelled"])
@pytest.mark.parametrize("method", [INLINE, STREAMING, POPUP])
def test_the_next_key_goes_on_with_what_grows(launch: Launch, method: str, how: str) -> None:
    """As VS Code types (it cancels first), and as Neovim does (it never cancels)."""
    client = ready(launch, SLOW, real=True, initializationOptions=GROWS)
    uri = client.open("x = \n")
    first = client.request(STREAMING, at(uri, 0, 4, context=AUTOMATIC, partialResultToken="first"))
    wait_for(lambda: client.ping() and grows(client, "first"))
    change(client, uri, 2, "x = ad\n")
    if how == "cancelled before":
        client.notify("$/cancelRequest", {"id": first})
    second = client.request(method, at(uri, 0, 6, context=AUTOMATIC))
    if how == "cancelled after":
        client.notify("$/cancelRequest", {"id": first})
    (item,) = client.response(second)["result"]["items"]
    text = item["textEdit"]["newText"] if method == POPUP else item["insertText"]
    assert text.endswith("d(1, 2, 3)")
    assert (totals(client)["n_requests"], totals(client)["n_cancelled"]) == (1, 0)
    trace = client.result("midfill/explain")["trace"]
    assert trace["hit"] == "growing"


def test_an_edit_elsewhere_stops_it_before_the_next_request(launch: Launch) -> None:
    client = ready(launch, {**SLOW, "chunks": ["a"] * 200}, real=True, initializationOptions=GROWS)
    uri = client.open("x = \n")
    asked = client.request(STREAMING, at(uri, 0, 4, context=AUTOMATIC, partialResultToken="first"))
    wait_for(lambda: client.ping() and grows(client, "first"))
    change(client, uri, 2, "x = b\n")
    assert client.response(asked)["result"] == {"items": []}
    assert totals(client)["n_cancelled"] == 1
    assert client.result("midfill/explain")["trace"]["refused"] == "outdated"


def test_what_stands_is_shown_at_once(launch: Launch) -> None:
    client = ready(launch, SLOW, real=True, initializationOptions=GROWS)
    uri = client.open("x = \n")
    client.request(STREAMING, at(uri, 0, 4, context=AUTOMATIC, partialResultToken="first"))
    wait_for(lambda: client.ping() and grows(client, "first"))
    change(client, uri, 2, "x = a\n")
    second = client.request(STREAMING, at(uri, 0, 5, context=AUTOMATIC, partialResultToken="second"))
    client.response(second)
    texts = [value["items"][0]["insertText"] for value in values(client, "second")]
    assert texts[0] in ("dd(", "dd(1,", "dd(1, 2,")
    assert len(texts) >= 2
    assert texts[-1] == "dd(1, 2, 3)"


def test_another_key_ends_it_and_backspace_brings_a_finished_one_back(launch: Launch) -> None:
    client = ready(launch, {"chunks": ["add(1)"]}, real=True, initializationOptions={"ahead": False, "maxDebounceS": 0})
    uri = client.open("x = \n")
    for version, typed, n_requests in ((2, "", 1), (3, "a", 1), (4, "aq", 2), (5, "a", 2), (6, "", 2)):
        change(client, uri, version, f"x = {typed}\n")
        (item,) = client.result(INLINE, at(uri, 0, 4 + len(typed), context=AUTOMATIC))["items"]
        assert totals(client)["n_requests"] == n_requests
        assert item["insertText"] == ("add(1)" if typed == "aq" else "add(1)"[len(typed) :])


def test_after_accepting_the_continuation_is_there(launch: Launch) -> None:
    client = ready(launch, {"chunks": ["add("]}, real=True)
    uri = client.open("x = \n")
    client.result(INLINE, at(uri, 0, 4, context=AUTOMATIC))
    wait_for(lambda: totals(client)["n_background"] == 1)
    change(client, uri, 2, "x = add(\n")
    result = client.result(INLINE, at(uri, 0, 8, context=AUTOMATIC))
    assert result["items"][0]["insertText"] == "add("
    assert client.result("midfill/explain")["trace"]["hit"] in ("cache", "growing")
    found = totals(client)
    assert (found["n_requests"] - found["n_background"]) == 1


@pytest.mark.parametrize(("settings", "n_background"), [({"ahead": False}, 0), ({"ahead": True}, 1)])
def test_settings_change_while_it_runs(launch: Launch, settings: dict[str, Any], n_background: int) -> None:
    options = {name: not value for name, value in settings.items()}
    client = ready(launch, {"chunks": ["add("]}, real=True, initializationOptions=options)
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": settings}})
    uri = client.open("x = \n")
    client.result(INLINE, at(uri, 0, 4, context=AUTOMATIC))
    time.sleep(0.4)
    assert totals(client)["n_background"] == n_background


def test_a_burst_of_keys_asks_the_model_once_it_pauses(launch: Launch) -> None:
    """Each key is its own request; what comes out does not lead on, so that nothing is typed along."""
    options = {"ahead": False, "maxDebounceS": 1.0}
    client = ready(launch, {"chunks": ["#"], "delay_s": 0.01}, real=True, initializationOptions=options)
    uri = client.open("\n")
    text, asked = "", []
    for version, char in enumerate("abcdefgh", 2):
        text += char
        change(client, uri, version, text + "\n")
        asked.append(client.request(INLINE, at(uri, 0, len(text), context=AUTOMATIC)))
        time.sleep(0.15)
    assert client.response(asked[-1])["result"]["items"]
    n_without = sum(client.response(msg_id)["result"] is None for msg_id in asked[:-1])
    assert n_without >= 3  # all but the first two and the last, where nothing else keeps the machine busy
    assert totals(client)["n_requests"] <= len(asked) - n_without
    assert client.result("midfill/explain")["trace"]["debounce_s"] > 0
    start = totals(client)["n_requests"]
    assert client.result(INLINE, at(uri, 0, 0, context={"triggerKind": 1}))["items"]  # by hand: at once
    assert totals(client)["n_requests"] == start + 1
    assert client.result("midfill/explain")["trace"]["debounce_s"] == 0
