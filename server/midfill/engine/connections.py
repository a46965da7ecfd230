"""An HTTP transport in which a cancelled request leaves no connection behind.

httpcore's pool shields its own closing with anyio's cancel scopes, and ``asyncio.Task.cancel`` passes through those. A
request that is cancelled in the turn of the loop between "connected" and "sent", or twice while it closes, leaves a
connection that the pool counts as busy for ever; once the pool is full of these, every later request waits in vain.
Here a request is cancelled at every key. So each connection has one owner, the request that it carries, and is closed
by its own task, which is never cancelled. A connection whose request ended well is kept and used again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import httpcore
import httpx


class CancellableTransport(httpx.AsyncHTTPTransport):
    """httpx's transport, with its arguments, on `Connections`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._pool = Connections(self._pool)


class Connections(httpcore.AsyncConnectionPool):
    """Takes a pool's place: as many connections as there are requests, made by ``maker``."""

    def __init__(self, maker: httpcore.AsyncConnectionPool) -> None:
        super().__init__()
        self._maker = maker
        self._live: set[httpcore.AsyncConnectionInterface] = set()
        self._idle: list[httpcore.AsyncConnectionInterface] = []
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> list[httpcore.AsyncConnectionInterface]:
        """The connections that carry a request, and the idle ones."""
        return list(self._live)

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send ``request`` on an idle connection or a new one. Raises httpcore's errors."""
        connection = self._take(request.url.origin)
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            self._end(connection)
            raise
        body = _Body(self, response.stream, connection)
        return httpcore.Response(
            response.status, headers=response.headers, content=body, extensions=response.extensions
        )

    async def finish(self, connection: httpcore.AsyncConnectionInterface, body: Any) -> None:
        """Close ``body``; keep ``connection`` if it was read to its end, else close it. Cancelling does not stop it."""
        await asyncio.shield(self._in_background(self._finish(connection, body)))

    async def aclose(self) -> None:
        """Close all connections."""
        for connection in [*self._live]:
            self._end(connection)
        while self._closing:
            await asyncio.wait([*self._closing])

    def _take(self, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        for connection in [*self._idle]:
            if connection.has_expired() or not connection.is_available():
                self._end(connection)
        kept = next((one for one in self._idle if one.can_handle_request(origin)), None)
        if kept is not None:
            self._idle.remove(kept)
            return kept
        connection = self._maker.create_connection(origin)
        self._live.add(connection)
        return connection

    def _in_background(self, closing: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closed)
        return task

    def _closed(self, task: asyncio.Task[None]) -> None:
        """Ignore the task's error: errors while something is being closed no longer matter."""
        self._closing.discard(task)
        if not task.cancelled():
            task.exception()

    async def _finish(self, connection: httpcore.AsyncConnectionInterface, body: Any) -> None:
        try:
            await body.aclose()
        finally:
            if connection in self._live and connection.is_idle() and not connection.is_closed():
                self._idle.append(connection)
            else:
                self._end(connection)

    def _end(self, connection: httpcore.AsyncConnectionInterface) -> None:
        self._live.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._in_background(connection.aclose())


class _Body:
    """A response's body, which releases its connection when it is closed."""

    def __init__(self, owner: Connections, body: Any, connection: httpcore.AsyncConnectionInterface) -> None:
        self._owner, self._body, self._connection = owner, body, connection
        self._closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._body:
                yield part
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await self._owner.finish(self._connection, self._body)
