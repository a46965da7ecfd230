"""The server in this process, used message by message as `client.Client` uses one of its own; for long tables."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

from midfill.config import Config
from midfill.lsp.framing import Message
from midfill.lsp.server import MidfillServer
from midfill.types import EngineStatus

from . import fakes

TIMEOUT_S = 20.0


class Inside:
    """One session, and everything that the server sent."""

    def __init__(self, config: Config | None = Config(), script: dict[str, Any] | None = None) -> None:  # noqa: B008
        self.log: list[dict[str, Any]] = []
        self.is_slow = False
        self._n_ids = 0
        self._unread: list[dict[str, Any]] = []
        self._loop = asyncio.new_event_loop()
        self.script = script or {"chunks": ["a"]}
        self.server = self._run(self._made(config))

    async def _made(self, config: Config | None) -> MidfillServer:
        server = MidfillServer(config, lambda _config, on_status, _sources: fakes.FakeLink(self.script, on_status))
        server.protocol.sender = self
        return server

    def send(self, frame: bytes, *, droppable: bool = False) -> None:
        """Take what the server writes."""
        message = json.loads(frame.partition(b"\r\n\r\n")[2])
        self.log.append(message)
        self._unread.append(message)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    async def _handle(self, message: dict[str, Any]) -> None:
        self.server.protocol.handle_event(Message({"jsonrpc": "2.0", **message}))

    def notify(self, method: str, params: Any = None) -> None:
        """Send a notification."""
        self._run(self._handle({"method": method, "params": params}))

    def answer(self, msg_id: Any, **body: Any) -> None:
        """Answer a request of the server: ``result`` or ``error``."""
        self._run(self._handle({"id": msg_id, **body}))

    def wait(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the next message that is wanted; the others stay for later."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            for message in self._unread:
                if wanted(message):
                    self._unread.remove(message)
                    return message
            self._run(asyncio.sleep(0.002))
        raise AssertionError(f"nothing came; last: {self.log[-3:]}")

    def call(self, method: str, params: Any = None) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        self._n_ids += 1
        msg_id = self._n_ids
        self._run(self._handle({"id": msg_id, "method": method, "params": params}))
        return self.wait(lambda message: "method" not in message and message["id"] == msg_id)

    def result(self, method: str, params: Any = None) -> Any:
        """Return the result of a request that succeeds."""
        answer = self.call(method, params)
        assert "result" in answer, answer
        return answer["result"]

    def initialize(self, **params: Any) -> None:
        """Do the handshake."""
        self.call("initialize", {"processId": None, "rootUri": None, "capabilities": {}, **params})
        self.notify("initialized", {})

    def ready(self) -> None:
        """Wait for the engine."""
        while self.result("midfill/status")["state"] not in ("ready", "generating"):
            self._run(asyncio.sleep(0.002))

    def status(self, status: EngineStatus) -> None:
        """Change the engine's status."""

        async def told() -> None:
            assert isinstance(self.server.session.engine.link, fakes.FakeLink)
            self.server.session.engine.link.on_status(status)

        self.wait(lambda _message: self.server.session.engine.link is not None)
        self._run(told())

    def open(self, text: str, uri: str = "file:///w/a.py", language: str = "python", version: int = 1) -> str:
        """Send didOpen; return the URI."""
        item = {"uri": uri, "languageId": language, "version": version, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})
        return uri

    def close(self) -> None:
        """Make the client leave."""

        async def leave() -> None:
            self.server.stopping()
            self.server.protocol.abandon()
            await asyncio.sleep(0)
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.wait(others, timeout=TIMEOUT_S) if others else None

        self._run(leave())
        self._loop.close()
