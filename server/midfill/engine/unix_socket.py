"""HTTP over a Unix socket on asyncio's own streams.

httpx reads Unix sockets through anyio 4, which hands ``Future.set_result`` itself to the event loop. If a read is
cancelled in the very turn of the loop in which data comes, that raises InvalidStateError in the background; and closing
a stream is how a generation is cancelled, at every key. asyncio's streams first check whether the reader still waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpcore
import httpx

from midfill.engine.connections import Connections

KEEP_S = 5.0  # an idle connection; the engine closes it later, so never while a request is being sent


class UnixTransport(httpx.AsyncHTTPTransport):
    """A transport for ``httpx.AsyncClient`` to the socket ``uds``."""

    def __init__(self, uds: str) -> None:
        super().__init__(verify=False)
        maker = httpcore.AsyncConnectionPool(uds=uds, retries=0, keepalive_expiry=KEEP_S, network_backend=_Backend())
        self._pool = Connections(maker)


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects to Unix sockets only."""

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Return a stream to the socket ``path``. Raises httpcore's ConnectError or ConnectTimeout."""
        async with _as_httpcore(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
            return _Stream(*await asyncio.open_unix_connection(path))

    async def sleep(self, seconds: float) -> None:
        """Wait between two attempts to connect."""
        await asyncio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return the next bytes; none at the end. Raises httpcore's ReadError or ReadTimeout."""
        async with _as_httpcore(timeout, httpcore.ReadTimeout, httpcore.ReadError):
            return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write ``buffer``. Raises httpcore's WriteError or WriteTimeout."""
        async with _as_httpcore(timeout, httpcore.WriteTimeout, httpcore.WriteError):
            self._writer.write(buffer)
            await self._writer.drain()

    async def aclose(self) -> None:
        """Close the connection, even if bytes are still to be written."""
        is_broken = self._writer.is_closing()
        self._writer.close()
        if is_broken:  # asyncio keeps the error, and would print it if nothing asked for it
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks for: "socket", and whether an idle connection
        "is_readable", that is, was closed."""
        if info == "is_readable":
            found = self._writer.get_extra_info("socket")
            return self._reader.at_eof() or self._writer.is_closing() or bool(select.select([found], [], [], 0)[0])
        return self._writer.get_extra_info("socket") if info == "socket" else None


@asynccontextmanager
async def _as_httpcore(
    timeout: float | None, too_late: type[Exception], failed: type[Exception]
) -> AsyncIterator[None]:
    """Allow the block at most ``timeout`` seconds, and raise its errors as httpcore's."""
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError as error:
        raise too_late(str(error)) from error
    except OSError as error:
        raise failed(str(error)) from error
