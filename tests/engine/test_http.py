"""The HTTP client with engines that misbehave, on real sockets."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from midfill.engine import http
from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.engine.http import HttpEngine
from midfill.engine.wire import read_request
from midfill.types import Stats

REQUEST = GenerateRequest((1, 2, 3), 8, stop=("\n",), adapter="lora", request_id="r")
Talk = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(talk: Talk, seen: list[bytes] | None = None) -> AsyncIterator[HttpEngine]:
    """Start a server that reads a request and then calls ``talk``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        )
        body = await reader.readexactly(length)
        if seen is not None:
            seen.append(head + body)
        await talk(writer)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    engine = HttpEngine(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", token="t", model="base")
    try:
        yield engine
    finally:
        await engine.aclose()
        listener.close()
        await listener.wait_closed()


def says(status: str, body: bytes = b"", headers: str = "") -> Talk:
    async def talk(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return talk


def events(*chunks: object, cut: bool = False) -> Talk:
    """Return a stream of server-sent events; ``cut`` leaves out its end."""

    async def talk(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for chunk in chunks:
            data = chunk if isinstance(chunk, bytes) else f"data: {json.dumps(chunk)}\n\n".encode()
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if not cut:
            writer.write(b"0\r\n\r\n")
        await writer.drain()

    return talk


def piece(text: str, reason: str | None = None, **more: object) -> dict[str, object]:
    return {"id": "x", "choices": [{"index": 0, "text": text, "finish_reason": reason}], **more}


async def collect(engine: HttpEngine) -> list[Delta]:
    return [delta async for delta in engine.stream(REQUEST)]


async def test_the_request_as_it_is_sent() -> None:
    seen: list[bytes] = []
    async with server(events(piece("a", "stop"), b"data: [DONE]\n\n"), seen) as engine:
        await collect(engine)
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/completions HTTP/1.1")
    assert b"authorization: bearer t" in head.lower()
    sent = json.loads(body)
    assert (sent["model"], sent["prompt"], sent["max_tokens"], sent["stop"]) == ("lora", [1, 2, 3], 8, ["\n"])
    assert (sent["stream"], sent["temperature"]) == (True, 0.0)


async def test_our_own_engine_reads_every_field_as_it_was_meant() -> None:
    asked = GenerateRequest(
        (1, 2, 3),
        8,
        ("\n",),
        "lora",
        0.5,
        0.9,
        7,
        "r",
        2,
        True,
        (1, 2),
        "re",
        False,
        "w",
        True,
        ("name",),
        True,
        True,
        2.5,
        given=(4, 5),
        ignore_eos=True,
        bias_advantages=(1.5,),
    )
    # The session is for balancers, which we have none of; who asks is told by the token.
    said = [each for each in dataclasses.fields(asked) if each.name not in ("session", "person")]
    assert all(getattr(asked, each.name) != each.default for each in said)
    seen: list[bytes] = []
    async with server(events(piece("a", "stop"), b"data: [DONE]\n\n"), seen) as engine:
        async for _ in engine.stream(asked):
            pass
    assert read_request(json.loads(seen[0].partition(b"\r\n\r\n")[2]), "base") == asked


async def test_chunks_as_vllm_writes_them() -> None:
    """The usage comes alone in a last chunk without choices."""
    usage = {"prompt_tokens": 3, "total_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": None}
    talk = events(
        b": ping\n\n", piece("a", usage=None), piece(" b", "length", stop_reason=None),
        {"id": "x", "choices": [], "usage": usage}, b"data: [DONE]\n\n",
    )  # fmt: skip
    async with server(talk) as engine:
        deltas = await collect(engine)
    assert deltas == [Delta("a"), Delta(" b", "length"), Delta("", None, Stats(3, 0, 2))]


@pytest.mark.parametrize(
    ("talk", "message"),
    [
        (says("401 Unauthorized", b'{"error": {"message": "who are you?", "remedy": "log in"}}'), "who are you"),
        (says("401 Unauthorized"), "HTTP 401"),
        (says("429 Too Many Requests", b'{"error": "slow down"}'), "HTTP 429"),
        (says("500 Internal Server Error", b"<html>"), "HTTP 500"),
        (says("503 Service Unavailable", b'{"object": "error", "message": "x"}'), "HTTP 503"),
        (says("302 Found", headers="Location: http://127.0.0.1:1/\r\n"), "HTTP 302"),
        (says("307 Temporary Redirect", headers="Location: /v1/completions\r\n"), "HTTP 307"),
        (says("200 OK", b"<html>hello</html>"), "broke off its answer"),
        (says("200 OK"), "broke off its answer"),
        (events(b"data: {\n\n"), "not an answer"),
        (events(b"data: " + b"[" * 100_000 + b"\n\n"), "not an answer"),
        (events([1]), "not an answer"),
        (events({"hello": 1}), "not an answer"),
        (events({"choices": [{"text": 7}]}), "not an answer"),
        (events({"choices": [7]}), "not an answer"),
        (events(b"data: \xff\xfe\n\n"), "not an answer"),
        (events({"error": {"message": "no memory"}}), "no memory"),
        (events({"error": 5}), "refused the request"),
        (events(b"data: [DONE]\n\n"), "ended early"),
        (events(), "broke off its answer"),
        (events(cut=True), r"does not answer \(RemoteProtocolError\)"),
    ],
)
async def test_misbehaving(talk: Talk, message: str) -> None:
    async with server(talk) as engine:
        with pytest.raises(EngineError, match=message) as caught:
            await collect(engine)
    assert caught.value.message


@pytest.mark.parametrize(
    "end", [events(piece("a"), piece("b"), cut=True), events(piece("a"), piece("b"), {"error": {"message": "x"}})]
)
async def test_what_came_before_the_trouble_is_handed_on_and_then_it_is_told(end: Talk) -> None:
    async with server(end) as engine:
        stream = engine.stream(REQUEST)
        assert [(await anext(stream)).text for _ in range(2)] == ["a", "b"]
        with pytest.raises(EngineError):
            await anext(stream)


@pytest.mark.parametrize(
    "strange", [{"usage": {"prompt_tokens": "x"}}, {"usage": 7}, {"midfill": {"n_prompt": [], "z": 1}}]
)
async def test_strange_figures_do_no_harm(strange: dict[str, object]) -> None:
    async with server(events(piece("a", "stop", **strange))) as engine:
        (delta,) = await collect(engine)
    assert delta.text == "a"
    assert delta.stats in (None, Stats())


async def test_refused() -> None:
    async with server(says("200 OK")) as engine:
        pass
    closed = HttpEngine(str(engine.client.base_url))
    with pytest.raises(EngineError, match=r"does not answer \(ConnectError\)"):
        await collect(closed)
    await closed.aclose()


async def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "READ_S", 0.1)
    done = asyncio.Event()

    async def silent(writer: asyncio.StreamWriter) -> None:
        await done.wait()

    async with server(silent) as engine:
        with pytest.raises(EngineError, match="ReadTimeout"):
            await collect(engine)
        done.set()


async def test_closing_the_stream_closes_the_connection() -> None:
    """That is how an engine learns that it may stop."""
    closed = asyncio.Event()

    async def talk(writer: asyncio.StreamWriter) -> None:
        await events(piece("a"), cut=True)(writer)
        while not writer.transport.is_closing():
            writer.write(b"1\r\n\n\r\n")
            await asyncio.sleep(0.01)
        closed.set()

    async with server(talk) as engine:
        stream = engine.stream(REQUEST)
        assert (await anext(stream)).text == "a"
        await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.wait_for(closed.wait(), 5)
