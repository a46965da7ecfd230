"""The knob while the user works: snooze, eagerness for a session, a suggestion that is not wanted."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from midfill.battery import Battery
from midfill.lsp.snooze import MAX_SNOOZE_S, Snooze
from tests.lsp.made import AUTOMATIC, INLINE, INVOKED, POPUP, change, ready
from tests.support import Clock

from .client import at
from .conftest import Launch
from .inside import Inside

COMMAND = "workspace/executeCommand"


class Timers(Clock):
    """A clock that a test moves on; it then makes the calls that are due."""

    def __init__(self) -> None:
        super().__init__()
        self.due: list[tuple[float, Callable[[], None]]] = []

    def call_later(self, after_s: float, call: Callable[[], None]) -> Timers:
        self.due.append((self.now + after_s, call))
        return self

    def cancel(self) -> None:
        self.due.clear()

    def passes(self, seconds: float) -> None:
        self.now += seconds
        for entry in [entry for entry in self.due if entry[0] <= self.now]:
            self.due.remove(entry)
            entry[1]()


@pytest.fixture
def inside() -> Iterator[Inside]:
    subject = Inside()
    subject.initialize()
    subject.ready()
    yield subject
    subject.close()


def command(inside: Inside, name: str, *arguments: Any) -> Any:
    return inside.result(COMMAND, {"command": name, "arguments": list(arguments)})


def pushed(inside: Inside, key: str) -> list[Any]:
    """Return the values of a key in the statuses that the server sent, without repetitions."""
    values = [message["params"][key] for message in inside.log if message.get("method") == "midfill/status"]
    return [value for i, value in enumerate(values) if not i or value != values[i - 1]]


def test_a_snooze_counts_down_and_says_when_it_begins_and_ends() -> None:
    clock, seen = Timers(), list[int]()
    snooze = Snooze(lambda: seen.append(snooze.left_s), clock, clock.call_later)
    assert (snooze.left_s, snooze.refusal) == (0, None)
    snooze.start(5)
    clock.passes(1)
    assert snooze.left_s == 299
    assert snooze.refusal is not None
    assert (snooze.refusal.name, "5 minutes" in snooze.refusal.why) == ("snoozed", True)
    clock.passes(298.5)
    assert (snooze.left_s, "another 1 second;" in snooze.refusal.why) == (1, True)
    clock.passes(0.5)
    assert (snooze.left_s, seen) == (0, [300, 0])


def test_without_a_snooze_nothing_is_refused() -> None:
    clock = Timers()
    snooze = Snooze(lambda: None, clock, clock.call_later)
    for minutes, refused in ((0, False), (1, True), (0, False)):
        snooze.start(minutes)
        assert (snooze.refusal is not None) is refused


@pytest.mark.parametrize(
    ("minutes", "seen"),
    [([5], [300]), ([5, 60], [300, 3600]), ([5, 0], [300, 0]), ([0], [0]), ([0.5], [30]), ([1e300], [MAX_SNOOZE_S])],
)
def test_any_number_of_minutes(minutes: list[float], seen: list[int]) -> None:
    clock, told = Timers(), list[int]()
    snooze = Snooze(lambda: told.append(snooze.left_s), clock, clock.call_later)
    for each in minutes:
        snooze.start(each)
    assert told == seen
    assert len(clock.due) == bool(seen[-1])


def test_a_timer_that_comes_early_waits_again() -> None:
    """As after a laptop's sleep: the time of day counts."""
    clock, told = Timers(), list[int]()
    snooze = Snooze(lambda: told.append(snooze.left_s), clock, clock.call_later)
    snooze.start(5)
    clock.now -= 100
    clock.passes(0)
    ((_, call),) = clock.due
    clock.due.clear()
    clock.now += 300
    call()
    assert snooze.left_s == 100
    clock.passes(100)
    assert told[-1] == 0


@pytest.mark.parametrize("method", [INLINE, POPUP])
def test_nothing_comes_by_itself_while_it_lasts(inside: Inside, method: str) -> None:
    clock = Timers()
    inside.server.session.snooze._clock, inside.server.session.snooze._call_later = clock, clock.call_later
    uri = inside.open("x = \n")
    automatic = {"triggerKind": 2, "triggerCharacter": " "}

    def shows(context: dict[str, Any]) -> bool:
        return bool((inside.result(method, at(uri, 0, 4, context=context)) or {}).get("items"))

    assert shows(automatic)
    assert command(inside, "midfill.snooze", 15) is None
    assert not shows(automatic)
    assert inside.result("midfill/explain")["trace"]["refused"] == "snoozed"
    assert shows(INVOKED)  # by hand
    assert inside.result("midfill/status")["snoozed_s"] == 900
    told = inside.result("midfill/why", {"textDocument": {"uri": uri}})
    assert (told["off"], "15 minutes" in told["why"]) == ("snoozed", True)
    assert inside.result("midfill/why")["off"] == "snoozed"
    clock.now += 300
    assert inside.result("midfill/status")["snoozed_s"] == 600

    async def passes() -> None:
        clock.passes(600)

    inside._run(passes())
    assert shows(automatic)
    assert inside.result("midfill/why")["off"] == ""
    assert [bool(value) for value in pushed(inside, "snoozed_s")][:1] == [False]
    assert 900 in pushed(inside, "snoozed_s")
    assert pushed(inside, "snoozed_s")[-1] == 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("midfill.snooze", arguments)
        for arguments in ([], [-1], ["5"], [None], [True], [5, 5], [float("inf")], [float("nan")], "5")
    ]
    + [("midfill.setEagerness", arguments) for arguments in ([], ["loud"], [None], [1], [["quiet"]], ["quiet", 1])]
    + [("midfill.other", [])],
)
def test_commands_that_mean_nothing(inside: Inside, name: str, arguments: Any) -> None:
    answer = inside.call(COMMAND, {"command": name, "arguments": arguments})
    assert answer["error"]["code"] == -32602
    assert inside.result("midfill/status")["snoozed_s"] == 0
    assert inside.result("midfill/status")["eagerness"] == "balanced"


def test_eagerness_for_a_session(inside: Inside) -> None:
    for name in ("quiet", "eager", "balanced"):
        assert command(inside, "midfill.setEagerness", name) is None
        assert inside.result("midfill/status")["eagerness"] == inside.server.session.config.eagerness == name
    inside.notify("workspace/didChangeConfiguration", {"settings": {"midfill": {"eagerness": "eager", "lines": "one"}}})
    told = inside.result("midfill/status")
    assert (told["eagerness"], told["lines"], told["message"]) == ("eager", "one", "")
    assert "quiet" in pushed(inside, "eagerness")
    assert inside.server.session.engine._n_links == 1  # the engine is the same


def test_on_battery_the_status_says_so(inside: Inside) -> None:
    inside.server.session.battery = Battery(lambda: 0.9, wait=True)
    told = inside.result("midfill/status")
    assert (told["eagerness"], told["on_battery"]) == ("quiet", True)
    inside.notify("workspace/didChangeConfiguration", {"settings": {"midfill": {"quietOnBattery": False}}})
    told = inside.result("midfill/status")
    assert (told["eagerness"], told["on_battery"]) == ("balanced", False)


# ---- dismissed -------------------------------------------------------------------------------------------------------


def test_escape_lasts(launch: Launch) -> None:
    """Against the real completer: a matching key, another key, the cursor away and back, by hand."""
    client = ready(launch, {"chunks": ["add(1)"]}, real=True, initializationOptions={"ahead": False, "maxDebounceS": 0})
    uri, versions = client.open("a\r\nx = \r\n"), iter(range(2, 100))

    def shown(character: int, context: dict[str, Any] = AUTOMATIC, line: int = 1) -> str:
        items = (client.result(INLINE, at(uri, line, character, context=context)) or {}).get("items", [])
        return items[0]["insertText"] if items else ""

    def typed(text: str) -> None:
        change(client, uri, next(versions), f"a\r\nx = {text}\r\n")

    def dismiss() -> None:
        client.notify("midfill/dismissed", at(uri, 1, 4, text="add(1)"))

    assert shown(4) == "add(1)"
    dismiss()
    assert shown(4) == ""
    assert client.result("midfill/explain")["trace"]["refused"] == "dismissed"
    typed("a")
    assert shown(5) == ""
    typed("ad")
    assert shown(6) == ""
    typed("")
    assert shown(1, line=0) == "add(1)"
    assert shown(4) == ""
    assert shown(4, INVOKED) == "add(1)"
    assert shown(4) == "add(1)"
    dismiss()
    assert shown(4) == ""
    typed("q")
    assert shown(5) == "add(1)"
    typed("")
    assert shown(4) == "add(1)"


@pytest.mark.parametrize(
    "params",
    [
        {}, {"textDocument": {"uri": 1}}, {"position": {"line": 0, "character": -1}}, {"position": None},
        {"text": None}, {"text": ["a"]}, {"textDocument": {"uri": "file:///not-open"}}, {"text": ""},
        {"position": {"line": 99, "character": 99}},
    ],
)  # fmt: skip
def test_a_dismissal_that_means_nothing(inside: Inside, params: dict[str, Any]) -> None:
    uri = inside.open("x = \n")
    whole = {"textDocument": {"uri": uri}, "position": {"line": 0, "character": 4}, "text": "a", **params}
    inside.notify("midfill/dismissed", whole if params else {})
    assert json.dumps(inside.result(INLINE, at(uri, 0, 4, context=AUTOMATIC)))


def test_what_was_hidden_says_how_to_see_more(launch: Launch) -> None:
    """The model is not very sure: quiet hides what balanced shows."""
    script = {"chunks": ["add(1)"], "logprob": -1.0}
    client = ready(launch, script, real=True, initializationOptions={"eagerness": "quiet"})
    uri = client.open("x = \n")
    for name, shown in (("quiet", False), ("balanced", True), ("quiet", False)):
        client.result(COMMAND, {"command": "midfill.setEagerness", "arguments": [name]})
        assert bool(client.result(INLINE, at(uri, 0, 4, context=AUTOMATIC))) is shown
        told = client.result("midfill/why", {"textDocument": {"uri": uri}})
        assert (told["off"], 'eagerness = "balanced" shows more' in told["hint"]) == ("", not shown)
        assert told["hint"] in client.result("midfill/explain")["story"]
