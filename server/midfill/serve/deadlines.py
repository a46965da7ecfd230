"""uvicorn's HTTP/1.1 with deadlines: a connection that does not finish its request is closed."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_S = 10.0  # seconds from the connection, or from a request's first byte, to the end of its header
BODY_S = 20.0  # seconds from there to the end of its body
# Bytes of a request that are read at once. asyncio allocates 256 KiB at each reading, anew each time: if memory is
# short that fails, and the connection with it, before anything can report the problem.
READ_BYTES = 16 << 10


class DeadlineProtocol(H11Protocol):
    """Between two requests uvicorn's own timer runs; there is no limit while an answer is written."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._timer: asyncio.TimerHandle | None = None
        self._timed: Any = None  # the part of the request that must end before the deadline

    def connection_made(self, transport: Any) -> None:
        """Wait for the header."""
        super().connection_made(transport)
        if hasattr(transport, "max_size"):  # only asyncio's own transports have it
            transport.max_size = READ_BYTES
        self._arm(h11.IDLE)

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        super().data_received(data)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        self._disarm()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """The next request may have begun meanwhile."""
        super().on_response_complete()
        self._look()

    def _look(self) -> None:
        state = self.conn.their_state
        if state is h11.SEND_BODY or (state is h11.IDLE and self.conn.trailing_data[0]):
            self._arm(state)
        else:
            self._disarm()

    def _arm(self, state: Any) -> None:
        if self._timed is state:
            return  # more of the same part: the deadline stays
        self._disarm()
        self._timed = state
        wait_s = HEADER_S if state is h11.IDLE else BODY_S
        self._timer = self.loop.call_later(wait_s, self._expired)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timed = None

    def _expired(self) -> None:
        self._timer = self._timed = None
        self.transport.close()
