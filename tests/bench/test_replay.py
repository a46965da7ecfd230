"""The typist, and what counts as shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from midfill.bench.replay import Replay, Typist, text_of


class FakeClient:
    """A language server that suggests what it is told to, by what stands before the cursor."""

    def __init__(self, suggest: Callable[[int], list[str]], n_decoded: int) -> None:
        self.on_notification: dict[str, Callable[[Any], None]] = {}
        self.messages: list[tuple[str, Any]] = []
        self._suggest, self._counts = suggest, [0, n_decoded]

    def notify(self, method: str, params: Any) -> None:
        self.messages.append((method, params))

    def send_request(self, method: str, params: Any) -> tuple[int, asyncio.Future[Any]]:
        self.messages.append((method, params))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        *partial, last = [
            {"items": [{"insertText": text}]} for text in self._suggest(params["position"]["character"])
        ]  # fmt: skip
        for value in partial:
            self.on_notification["$/progress"]({"token": params["partialResultToken"], "value": value})
        asyncio.get_running_loop().call_soon(future.set_result, last)
        return 1, future

    async def request(self, method: str, params: Any = None) -> Any:
        assert method == "midfill/stats"
        n = self._counts.pop(0) if len(self._counts) > 1 else self._counts[0]
        return {"engine": {"totals": {"n_decoded": n}, "n_active": 0}}


async def typed(suggest: Callable[[int], list[str]], n_decoded: int, keys: list[str]) -> tuple[Replay, FakeClient]:
    client = FakeClient(suggest, n_decoded)
    typist = Typist(client, "x = ", "\n", len)  # type: ignore[arg-type]
    return await typist.type(keys, [0.01] * len(keys)), client


async def test_typing_through_shows_nothing_new() -> None:
    middle = "abcdef"
    replay, client = await typed(lambda column: [middle[column - 4 :][:2], middle[column - 4 :]], 10, ["a", "b", "c"])
    assert replay.n_keys == 3
    assert len(replay.shown_s) == 3
    assert replay.n_shown == 5  # "bcdef" once; what is typed through was there already
    assert replay.n_wasted == 5
    changes = [params for method, params in client.messages if method == "textDocument/didChange"]
    assert [change["contentChanges"][0]["range"]["start"]["character"] for change in changes] == [4, 5, 6]


async def test_keys_without_ghost_text() -> None:
    replay, _ = await typed(lambda column: [""], 7, ["a", "b"])
    assert (replay.shown_s, replay.n_shown, replay.n_wasted) == ([], 0, 7)
    assert replay.figures()["p50_s"] is None
    assert replay.figures()["n_keys_with_text"] == 0


def test_text_of() -> None:
    assert text_of(None) == text_of({"items": []}) == ""
    assert text_of({"items": [{"insertText": "a"}]}) == "a"
