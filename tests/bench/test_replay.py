"""The typist, and what counts as shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from midfill.bench.replay import Replay, type_at
from midfill.eval import replay as typing
from tests.eval.made import place


class FakeClient:
    """A language server whose suggestions a test dictates, by the text before the cursor."""

    def __init__(self, suggest: Callable[[int], list[str]], n_decoded: int) -> None:
        self.on_notification: dict[str, Callable[[Any], None]] = {}
        self.messages: list[tuple[str, Any]] = []
        self._suggest, self._counts = suggest, [0, n_decoded]
        self._last, self._number = "", 0

    def notify(self, method: str, params: Any) -> None:
        self.messages.append((method, params))

    def send_request(self, method: str, params: Any) -> tuple[int, asyncio.Future[Any]]:
        self.messages.append((method, params))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        *partial, last = [self._answer(text) for text in self._suggest(params["position"]["character"])]
        for value in partial:
            self.on_notification["$/progress"]({"token": params["partialResultToken"], "value": value})
        asyncio.get_running_loop().call_soon(future.set_result, last)
        return 1, future

    def _answer(self, text: str) -> dict[str, Any]:
        """The rest of an earlier suggestion keeps its id, as with the real server."""
        if text not in self._last and not text.startswith(self._last):
            self._number += 1
        self._last = text
        return {"items": [{"insertText": text, "command": {"arguments": [f"id{self._number}", 0]}}]}

    async def request(self, method: str, params: Any = None) -> Any:
        assert method == "midfill/stats"
        n = self._counts.pop(0) if len(self._counts) > 1 else self._counts[0]
        return {"engine": {"totals": {"n_decoded": n}, "n_active": 0}}


async def typed(
    monkeypatch: pytest.MonkeyPatch, suggest: Callable[[int], list[str]], n_decoded: int, text: str
) -> tuple[Replay, FakeClient]:
    monkeypatch.setattr(typing, "gaps", lambda keys, rng: [0.05] * len(keys))
    client = FakeClient(suggest, n_decoded)
    return await type_at(place(f"x = ‸{text}‸\n"), client, len), client  # type: ignore[arg-type]


async def test_typing_through_shows_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    middle = "abcdef"
    replay, client = await typed(
        monkeypatch, lambda column: [middle[column - 4 :][:2], middle[column - 4 :]], 10, "abc"
    )
    assert replay.n_keys == 3
    assert len(replay.shown_s) == 3
    assert replay.n_shown == 5  # "bcdef" once; what is typed through was there already
    assert replay.n_wasted == 5
    (opened,) = [params for method, params in client.messages if method == "textDocument/didOpen"]
    assert opened["textDocument"]["text"] == "x = \n"
    changes = [params for method, params in client.messages if method == "textDocument/didChange"]
    assert [change["contentChanges"][0]["range"]["start"]["character"] for change in changes] == [4, 5, 6]
    assert [change["contentChanges"][0]["text"] for change in changes] == ["a", "b", "c"]


async def test_another_suggestion_is_shown_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    replay, _ = await typed(monkeypatch, lambda column: [f"{column}{column}"], 9, "abc")
    assert (replay.n_shown, replay.n_wasted) == (6, 3)


async def test_keys_without_ghost_text(monkeypatch: pytest.MonkeyPatch) -> None:
    replay, _ = await typed(monkeypatch, lambda column: [""], 7, "abc")
    assert (replay.shown_s, replay.n_shown, replay.n_wasted) == ([], 0, 7)
    assert replay.figures()["p50_s"] is None
    assert replay.figures()["n_keys_with_text"] == 0
