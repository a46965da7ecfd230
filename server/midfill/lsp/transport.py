"""Servers over stdio and over loopback TCP: bytes to a server, frames to the client.

It is our own for the same reason as ``framing``: pygls as it comes failed 35 of 80 black-box checks. This transport
bounds what waits for a client that does not read, exits when the client has died, and keeps print() out of the
protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import logging.handlers
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from midfill import faults, paths
from midfill.lsp import stdio
from midfill.lsp.framing import Bad, FrameReader
from midfill.lsp.protocol import MidfillProtocol
from midfill.lsp.stdio import Leaving, Outbox
from midfill.types import MidfillError

log = logging.getLogger(__name__)

CHUNK = 1 << 16
MAX_CHUNKS = 16  # messages read ahead of the event loop
LOG_BYTES = 2_500_000
EOF_GRACE_S = 1.0


class Endpoint(Protocol):
    """What a transport feeds."""

    protocol: MidfillProtocol

    def watch(self, on_process_id: Callable[[int], None]) -> None:
        """Call ``on_process_id`` with the client's process id, once the client sends it."""
        ...

    def stopping(self) -> None:
        """The client is gone."""
        ...


MakeServer = Callable[[], Endpoint]


class Feed:
    """Feeds one server with the bytes that one client sends. Lives in the event loop."""

    def __init__(self, server: Endpoint, *, strict: bool = False) -> None:
        self.server = server
        self._strict = strict  # a malformed header ends the session
        self._reader = FrameReader()
        self._timer: asyncio.TimerHandle | None = None

    def take(self, data: bytes) -> bool:
        """Take bytes. Returns False if the session must end."""
        for event in self._reader.feed(data):
            if self._strict and event == Bad("header"):
                return False
            self.server.protocol.handle_event(event)
        self._arm()
        return True

    def _idle(self) -> None:
        self._timer = None
        for event in self._reader.idle():
            self.server.protocol.handle_event(event)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (wait_s := self._reader.wait()) is not None:
            self._timer = asyncio.get_running_loop().call_later(wait_s + 0.01, self._idle)

    def close(self) -> None:
        """The client is gone."""
        if self._timer is not None:
            self._timer.cancel()
        self.server.stopping()
        self.server.protocol.abandon()


# -- stdio -------------------------------------------------------------------------------------------------------------


def serve_stdio(make_server: MakeServer) -> int:
    """Serve one client on this process's stdin and stdout. Does not return: ends the process."""
    reading, writing = stdio.claim_stdio()
    open_log()
    leaving = Leaving(lambda timeout_s: outbox.flush(timeout_s))
    outbox = Outbox(writing, on_broken=lambda: leaving.leave(1))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _frame: leaving.leave(128 + signum))
    try:
        asyncio.run(_run_stdio(make_server, reading, outbox, leaving))
    except BaseException as error:
        log.critical("the server failed: %s", type(error).__name__, exc_info=error)
        with contextlib.suppress(Exception):
            print(f"midfill: the server failed: {type(error).__name__}", file=sys.stderr)
    leaving.leave(1)
    time.sleep(5)
    return 1


async def _run_stdio(make_server: MakeServer, reading: int, outbox: Outbox, leaving: Leaving) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_loop_error)
    server = make_server()
    server.protocol.sender = outbox
    server.protocol.on_exit = leaving.leave
    server.watch(lambda pid: stdio.watch_parent(pid, lambda: leaving.leave(1)))
    feed = Feed(server)
    pump = Pump(reading, outbox, loop, feed.take, lambda: leaving.leave(server.protocol.exit_code))
    threading.Thread(target=pump.run, name="midfill-read", daemon=True).start()
    await asyncio.Event().wait()


class Pump:
    """The thread that reads. It pauses while the loop or the client is behind, so that nothing piles up."""

    def __init__(
        self,
        fd: int,
        outbox: Outbox,
        loop: asyncio.AbstractEventLoop,
        feed: Callable[[bytes], object],
        on_end: Callable[[], None],
    ) -> None:
        self._fd = fd
        self._outbox = outbox
        self._loop = loop
        self._feed = feed
        self._on_end = on_end
        self._ahead = threading.Semaphore(MAX_CHUNKS)

    def run(self) -> None:
        """Read to the end, then exit: after all messages are handled, or soon in any case."""
        while data := self._read():
            self._ahead.acquire()
            self._loop.call_soon_threadsafe(self._take, data)
        self._loop.call_soon_threadsafe(self._on_end)
        time.sleep(EOF_GRACE_S)
        self._on_end()

    def _take(self, data: bytes) -> None:
        self._ahead.release()
        self._feed(data)

    def _read(self) -> bytes:
        while not self._outbox.wait_below(stdio.PAUSE_ABOVE, 0.2):
            if self._hung_up():
                return b""
        try:
            return os.read(self._fd, CHUNK)
        except OSError:
            return b""

    def _hung_up(self) -> bool:
        if not hasattr(select, "poll"):
            return False
        poll = select.poll()
        poll.register(self._fd, 0)
        return any(flags & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, flags in poll.poll(0))


# -- TCP ---------------------------------------------------------------------------------------------------------------


def serve_tcp(make_server: MakeServer, host: str, port: int) -> int:
    """Serve clients on a loopback address, each with its own server. Runs until it is interrupted."""
    if host != "localhost" and not _is_loopback(host):
        raise MidfillError(f"{host[:100]} is not a loopback address", "use 127.0.0.1:PORT")
    open_log()
    leaving = Leaving(lambda _timeout_s: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _frame: leaving.leave(128 + signum))
    try:
        asyncio.run(_run_tcp(make_server, host, port))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise MidfillError(f"cannot listen on {host}:{port}: {reason}", "choose another port") from error
    return 0


async def _run_tcp(make_server: MakeServer, host: str, port: int) -> None:
    asyncio.get_running_loop().set_exception_handler(_loop_error)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve_connection(make_server(), reader, writer)

    listener = await asyncio.start_server(connected, host, port)
    print("midfill: listening on {}:{}".format(*listener.sockets[0].getsockname()[:2]), file=sys.stderr, flush=True)
    async with listener:
        await listener.serve_forever()


async def _serve_connection(server: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sender = SocketSender(writer)
    server.protocol.sender = sender
    server.protocol.on_exit = lambda _code: writer.close()
    feed = Feed(server, strict=True)
    try:
        while not writer.is_closing() and (data := await reader.read(CHUNK)):
            if not feed.take(data):
                break  # not a language client, perhaps a web page
            while sender.n_queued > stdio.PAUSE_ABOVE and not writer.is_closing():
                await asyncio.sleep(0.05)
    except OSError:
        pass
    finally:
        feed.close()
        writer.close()


class SocketSender:
    """Sends frames to a socket, with the same bounds as Outbox."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    @property
    def n_queued(self) -> int:
        """Number of bytes that the client has not read yet."""
        return self._writer.transport.get_write_buffer_size()

    def send(self, frame: bytes, *, droppable: bool = False) -> None:
        """Queue a frame."""
        if not self._writer.is_closing() and not (droppable and self.n_queued > stdio.DROP_ABOVE):
            self._writer.write(frame)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# -- logging -----------------------------------------------------------------------------------------------------------


class PrivateLog(logging.handlers.RotatingFileHandler):
    """A log that only its user can read."""

    def _open(self) -> Any:
        fd = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return open(fd, "a", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123


def open_log() -> None:
    """Log into a file of at most 5 MB. If it cannot be written, there is no log, and stderr says why."""
    logging.raiseExceptions = False
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    logging.getLogger("pygls").setLevel(logging.WARNING)  # below WARNING, pygls logs bodies
    try:
        folder = paths.private_dir(paths.state_dir() / "log")
        handler: logging.Handler = PrivateLog(folder / "lsp.log", maxBytes=LOG_BYTES, backupCount=1)
    except (OSError, MidfillError) as error:
        handler = logging.NullHandler()
        with contextlib.suppress(OSError):
            print(f"midfill: no log: {error}", file=sys.stderr, flush=True)
    handler.setFormatter(faults.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)


def set_log_level(name: str) -> None:
    """Set the level of our own messages from the configuration."""
    logging.getLogger("midfill").setLevel(getattr(logging, name.upper(), logging.WARNING))


def _loop_error(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    log.error("in the background: %s", type(error).__name__ if error is not None else context.get("message"))
    log.debug("in the background", exc_info=error)
