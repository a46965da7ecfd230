"""The engine's socket: a read that is cancelled in the same turn of the event loop in which data comes does no harm."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest

from midfill.engine import unix_socket
from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.engine.http import HttpEngine

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b'data: {"choices": [{"text": "a"}]}\n\n'


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Server:
    """A listening socket; the test decides what comes when."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "s")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._listener.setblocking(False)

    async def accept(self) -> socket.socket:
        """Return the connection of a client that has sent its request."""
        connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        await asyncio.get_running_loop().sock_recv(connection, 1 << 16)
        connection.setblocking(True)
        return connection

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("answered", [False, True])  # before the answer begins, and between two pieces of it
async def test_cancelled_while_data_comes(tmp_path: Path, answered: bool) -> None:
    loop, faults = asyncio.get_running_loop(), list[Any]()
    loop.set_exception_handler(lambda _loop, context: faults.append(context))
    server = Server(tmp_path)
    engine = HttpEngine("http://midfill", uds=server.path)
    seen: list[Delta] = []

    async def follow() -> None:
        async for delta in engine.stream(GenerateRequest((1,))):
            seen.append(delta)  # noqa: PERF401 - piece by piece

    for number in range(3):
        task = asyncio.create_task(follow())
        connection = await server.accept()
        if answered:
            connection.send(HEAD + framed(CHUNK))
            while len(seen) <= number:
                await asyncio.sleep(0)
        for _ in range(5):  # it waits for more
            await asyncio.sleep(0)
        connection.send(framed(CHUNK) if answered else HEAD)
        loop.call_soon(task.cancel)  # runs right before what the loop learns of the socket in its next turn
        await asyncio.wait([task])
        await asyncio.sleep(0)
        assert task.cancelled()
        connection.close()
    await engine.aclose()
    server.close()
    await asyncio.sleep(0)
    assert faults == []


async def test_errors_are_those_of_any_connection(tmp_path: Path) -> None:
    engine = HttpEngine("http://midfill", uds=str(tmp_path / "nobody"))
    with pytest.raises(EngineError, match="does not answer"):
        await anext(engine.stream(GenerateRequest((1,))))
    await engine.aclose()
    server = Server(tmp_path)
    engine = HttpEngine("http://midfill", uds=server.path)
    asked = asyncio.create_task(engine.client.get("/", timeout=0.05))
    connection = await server.accept()
    with pytest.raises(httpx.ReadTimeout):
        await asked
    connection.close()
    asked = asyncio.create_task(engine.client.get("/"))
    (await server.accept()).close()
    with pytest.raises(httpx.RemoteProtocolError):
        await asked
    await engine.aclose()
    server.close()


async def test_a_connection_is_used_again_unless_it_was_closed(tmp_path: Path) -> None:
    server = Server(tmp_path)
    engine = HttpEngine("http://midfill", uds=server.path)
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    asked = asyncio.create_task(engine.client.get("/"))
    connection = await server.accept()
    connection.send(whole)
    assert (await asked).text == "ok"
    asked = asyncio.create_task(engine.client.get("/"))
    await asyncio.sleep(0.01)
    assert connection.recv(1 << 16).startswith(b"GET")
    connection.send(whole)
    assert (await asked).text == "ok"
    connection.close()
    asked = asyncio.create_task(engine.client.get("/"))
    connection = await server.accept()
    connection.send(whole)
    assert (await asked).text == "ok"
    connection.close()
    await engine.aclose()
    server.close()


async def test_a_broken_connection_leaves_no_error_behind(tmp_path: Path) -> None:
    """An engine that dies with a request unread resets the connection; the user reads one line, and no traceback that
    asyncio prints at the end of a process because nothing asked for the error."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        stream = await unix_socket._Backend().connect_unix_socket(str(tmp_path / "s"))
        assert isinstance(stream, unix_socket._Stream)
        closed = stream._writer.transport.get_protocol()._closed  # type: ignore[attr-defined]
        engine, _ = listener.accept()
        await stream.write(b"a request that nobody reads")
        engine.close()
        with pytest.raises(httpcore.ReadError):
            await stream.read(10)
        await stream.aclose()
    assert closed.done()
    assert not closed._log_traceback
