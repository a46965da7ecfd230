"""One end of the wire reads what the other end writes: requests, pieces of an answer and errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from midfill.engine import wire
from midfill.engine.base import AdapterMissingError, Delta, EngineError, GenerateRequest
from midfill.types import Stats

PLAIN = GenerateRequest((1, 2, 3))


@pytest.mark.parametrize(
    "request_",
    [
        PLAIN,
        replace(PLAIN, max_tokens=7, stop=("\n", "x"), adapter="mine", temperature=0.5, top_p=0.9, seed=-1, n=3),
        replace(PLAIN, request_id="7-1", logprobs=True, suffix=(1, 3), forced_prefix="na\ud800me", speculate=False),
        replace(PLAIN, given=(5, 6), ignore_eos=True),
        replace(PLAIN, window="7", background=True, bias_names=("größe", "b")),
        replace(PLAIN, bias_names=("a", "b"), bias_only=True, bias_advantages=(1.5, -0.25)),
    ],
)
def test_requests(request_: GenerateRequest) -> None:
    body = json.loads(wire.request_body(request_, "base"))
    assert wire.read_request(body, "base") == request_
    assert wire.request_body(request_).isascii()


def test_a_session_is_a_header_and_not_in_the_body() -> None:
    assert b"f00d" not in wire.request_body(replace(PLAIN, session="f00d"))


@pytest.mark.parametrize(
    "delta",
    [
        Delta("a"), Delta("\ud83d"), Delta("", "stop", Stats(3, 1, 2, 0.5, 0.1, 0.2, 4, 3, -0.5)),
        Delta("b", index=2, logprobs=(-0.5, -1.0)),
        Delta("ab", logprobs=(-0.5, -1.0), offsets=(0, 1)),
    ],
)  # fmt: skip
def test_pieces(delta: Delta) -> None:
    chunk = json.loads(json.dumps(wire.chunk_body(replace(PLAIN, logprobs=True), delta)))
    assert wire.read_delta(chunk) == delta


@pytest.mark.parametrize("error", [EngineError("no memory", "wait"), AdapterMissingError("gone", "load it")])
def test_errors(error: EngineError) -> None:
    found = wire.refusal(503, json.dumps(wire.error_body(error)).encode())
    assert (type(found), found.message, found.remedy) == (type(error), error.message, error.remedy)


async def test_a_stream() -> None:
    pieces = [Delta("a"), Delta("b", "stop", Stats(3))]

    async def lines() -> AsyncIterator[str]:
        for piece in pieces:
            yield f"data: {json.dumps(wire.chunk_body(PLAIN, piece))}"
            yield ""
        yield "data: [DONE]"

    assert [delta async for delta in wire.read_deltas(lines())] == pieces
