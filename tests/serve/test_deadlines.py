"""The service over a real socket: bodies that are announced as too large, and requests that never end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn

from midfill.serve import deadlines, reading
from midfill.serve.app import EngineApi
from midfill.serve.deadlines import DeadlineProtocol
from tests.serve.made import TOKEN, FakeResident

HEAD = f"Host: midfill\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Return the port of a service that listens as an engine does."""
    service = EngineApi(FakeResident(), TOKEN, lambda: None)
    config = uvicorn.Config(service.app(), log_config=None, lifespan="off", http=DeadlineProtocol, ws="none")
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    yield listener.getsockname()[1]
    server.should_exit = True
    await running


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Read until the connection ends."""
    async with asyncio.timeout(60):
        return await reader.read()


@pytest.mark.parametrize("length", [reading.MAX_BODY + 1, 10**12, int("9" * 19)])
@pytest.mark.parametrize("route", ["/v1/completions", "/v1/load_lora_adapter"])
async def test_a_body_announced_as_too_large_is_refused_at_once(port: int, route: str, length: int) -> None:
    """The answer comes before any of the body is sent."""
    async with connected(port) as (reader, writer):
        writer.write(f"POST {route} HTTP/1.1\r\n{HEAD}Content-Length: {length}\r\n\r\n".encode())
        said = await answer(reader)
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"the body is too large" in said
    assert b"connection: close" in said.lower()


async def test_a_body_that_fits_is_read(port: int) -> None:
    body = json.dumps({"prompt": [1], "x": "y" * 100_000}).encode()
    async with connected(port) as (reader, writer):
        head = f"POST /v1/completions HTTP/1.1\r\n{HEAD}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")


STATUS = f"GET /midfill/status HTTP/1.1\r\n{HEAD}\r\n"


@pytest.mark.parametrize(
    "sent",
    ["", "GET /hea", f"GET /health HTTP/1.1\r\n{HEAD}", f"{STATUS}GET /hea"],
    ids=["nothing", "half a line", "no end of the header", "half a second request"],
)
async def test_a_header_without_end_closes_the_connection(
    port: int, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    monkeypatch.setattr(deadlines, "HEADER_S", 0.3)
    async with connected(port) as (reader, writer):
        writer.write(sent.encode())
        said = await answer(reader)
    assert said.count(b"HTTP/1.1 200 ") == sent.count("/midfill/status")


async def test_a_body_without_end_is_answered_and_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BODY_S", 0.3)
    async with connected(port) as (reader, writer):
        writer.write(f'POST /v1/completions HTTP/1.1\r\n{HEAD}Content-Length: 100\r\n\r\n{{"p'.encode())
        said = await answer(reader)
    assert said.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_nobody_reads_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server refuses a request by its header while its body is still dripping in."""
    monkeypatch.setattr(deadlines, "BODY_S", 0.3)
    head = HEAD.replace(TOKEN, "wrong")
    async with connected(port) as (reader, writer):
        writer.write(f"POST /v1/completions HTTP/1.1\r\n{head}Content-Length: 100\r\n\r\nx".encode())
        said = await answer(reader)
    assert said.startswith(b"HTTP/1.1 401 ")


async def test_an_answer_may_take_its_time(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadlines are for the sender of a request: a client may wait for its answer, and ask again on the same
    connection."""
    monkeypatch.setattr(deadlines, "HEADER_S", 0.2)
    monkeypatch.setattr(deadlines, "BODY_S", 0.2)
    async with connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(f"GET /midfill/events HTTP/1.1\r\n{HEAD}\r\n".encode() if _ else STATUS.encode())
            await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.6)
        async with asyncio.timeout(60):
            while b"alive" not in await reader.readline():
                pass
