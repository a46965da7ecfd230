"""A request may be cancelled in any turn of the event loop, and no connection is lost by it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from midfill.engine.base import EngineError, GenerateRequest
from midfill.engine.connections import Connections
from midfill.engine.http import HttpEngine

N_TURNS = 45  # of the loop, until a whole answer is there
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENTS = (
    '{"choices":[{"text":"a","index":0}]}',
    '{"choices":[{"text":"","index":0,"finish_reason":"stop"}]}',
    "[DONE]",
)


class _Engine:
    """Answers every request at once, in three pieces; with ``silent`` never. Counts its connections."""

    def __init__(self) -> None:
        self.n_open = self.n_ever = 0
        self.silent = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.n_open += 1
        self.n_ever += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n") if b": " in line)
                await reader.readexactly(int(fields[b"content-length"]))
                if self.silent:
                    continue
                writer.write(HEAD)
                for event in EVENTS:
                    data = f"data: {event}\n\n".encode()
                    writer.write(b"%x\r\n%s\r\n" % (len(data), data))
                    await asyncio.sleep(0)
                writer.write(b"0\r\n\r\n")
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass
        finally:
            self.n_open -= 1
            writer.close()


@asynccontextmanager
async def _connected(kind: str) -> AsyncIterator[tuple[_Engine, HttpEngine]]:
    engine = _Engine()
    with tempfile.TemporaryDirectory(prefix="mf-") as folder:  # short enough for a socket
        uds = str(Path(folder) / "s")
        if kind == "unix":
            server: asyncio.Server = await asyncio.start_unix_server(engine.serve, uds)
            client = HttpEngine("http://midfill", uds=uds)
        else:
            server = await asyncio.start_server(engine.serve, "127.0.0.1", 0)
            client = HttpEngine(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        try:
            yield engine, client
        finally:
            await client.aclose()
            server.close()


async def _text(client: HttpEngine) -> str:
    async with aclosing(client.stream(GenerateRequest((1, 2), 8))) as deltas:  # type: ignore[type-var]
        return "".join([delta.text async for delta in deltas])


async def _turns(n: int) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


async def _until_open(engine: _Engine, n: int) -> None:
    async with asyncio.timeout(20):
        while engine.n_open != n:
            await asyncio.sleep(0.005)


def _connections(client: HttpEngine) -> list[Any]:
    pool = client.client._transport._pool  # type: ignore[attr-defined]
    assert isinstance(pool, Connections)
    return pool.connections


@pytest.mark.parametrize("again", [None, 0, 1, 2, 3], ids=lambda again: f"again after {again}")
@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_cancelled_in_any_turn(kind: str, again: int | None) -> None:
    async with _connected(kind) as (engine, client):
        for silent in (False, True):
            engine.silent = silent
            for turn in range(N_TURNS):
                task = asyncio.create_task(_text(client))
                await _turns(turn)
                task.cancel()
                if again is not None:  # a window that closes while a request is being cancelled
                    await _turns(again)
                    task.cancel()
                await asyncio.wait([task], timeout=20)
                assert task.done()
        engine.silent = False
        assert await _text(client) == "a"
        assert len(_connections(client)) == 1  # the one that has just ended well
        await _until_open(engine, 1)


async def test_a_connection_is_used_again() -> None:
    async with _connected("unix") as (engine, client):
        for _ in range(5):
            assert await _text(client) == "a"
        assert engine.n_ever == 1
        assert await asyncio.gather(*[_text(client) for _ in range(20)]) == ["a"] * 20
        assert len(_connections(client)) == engine.n_open
    await _until_open(engine, 0)


async def test_an_idle_connection_that_the_engine_closed() -> None:
    async with _connected("unix") as (engine, client):
        assert await _text(client) == "a"
        (connection,) = _connections(client)
        await connection.aclose()
        assert await _text(client) == "a"
        assert engine.n_ever == 2


async def test_nobody_listens(tmp_path: Path) -> None:
    client = HttpEngine("http://midfill", uds=str(tmp_path / "none"))
    for _ in range(3):
        with pytest.raises(EngineError, match="does not answer"):
            await _text(client)
    assert _connections(client) == []
    await client.aclose()
