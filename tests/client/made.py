"""Mock engines that run beside a test."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from tests.remote.mocks import Mock, running


@contextlib.contextmanager
def in_a_thread(*mocks: Mock) -> Iterator[None]:
    up, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with running(*mocks):
            up.set()
            while not over.is_set():
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(20)
    try:
        yield
    finally:
        over.set()
        thread.join(20)
