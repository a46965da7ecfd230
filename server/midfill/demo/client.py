"""A small LSP client: starts the real `midfill lsp --stdio` and talks to it as an editor does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from midfill import safe_path

Params = dict[str, Any]


class ServerGone(Exception):  # noqa: N818 - says what happened
    """The server exited."""


class ServerProcess:
    """One server process and the messages to and from it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self.on_notification: dict[str, Callable[[Params], None]] = {}
        self._reader = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls) -> AsyncIterator[ServerProcess]:
        """Yield a running server; it is shut down properly at the end."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "midfill", "lsp", "--stdio",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env=safe_path.child_environment(with_key=True),
        )  # fmt: skip
        client = cls(process)
        try:
            yield client
            with contextlib.suppress(ServerGone, TimeoutError):
                async with asyncio.timeout(2):
                    await client.request("shutdown")
                    client.notify("exit")
                    await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
            client._reader.cancel()

    async def initialize(self, root: str | None = None, options: Params | None = None) -> None:
        """Introduce an editor without any capabilities. Raises ServerGone."""
        params = {"processId": os.getpid(), "rootUri": root, "capabilities": {}, "initializationOptions": options or {}}
        await self.request("initialize", params)
        self.notify("initialized")

    def notify(self, method: str, params: Params | None = None) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params or {}})

    def send_request(self, method: str, params: Params | None = None) -> tuple[int, asyncio.Future[Any]]:
        """Send a request; return its id and the future of its result."""
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._send({"id": number, "method": method, "params": params or {}})
        return number, future

    async def request(self, method: str, params: Params | None = None) -> Any:
        """Send a request and return its result. Raises ServerGone."""
        return await self.send_request(method, params)[1]

    def _send(self, message: Params) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        stream = self._process.stdout
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                header = await stream.readuntil(b"\r\n\r\n")
                length = int(header.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                self._take(json.loads(await stream.readexactly(length)))
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ServerGone())

    def _take(self, message: Params) -> None:
        if "method" not in message:
            future = self._waiting.pop(message["id"], None)
            if future is not None and not future.done():
                future.set_result(message.get("result"))
        elif "id" in message:
            self._send({"id": message["id"], "result": None})
        elif (handler := self.on_notification.get(message["method"])) is not None:
            handler(message["params"])


class OpenFile:
    """A file that is open in the server and typed into. ``before`` is its text up to the cursor, which is ASCII."""

    def __init__(self, client: ServerProcess, uri: str, text: str) -> None:
        self._client, self._uri, self._version = client, uri, 1
        document = {"uri": uri, "languageId": "python", "version": 1, "text": text}
        client.notify("textDocument/didOpen", {"textDocument": document})

    def insert(self, before: str, text: str) -> None:
        """Tell the server that ``text`` was typed."""
        self._version += 1
        place = _position(before)
        document = {"uri": self._uri, "version": self._version}
        change = {"range": {"start": place, "end": place}, "text": text}
        self._client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})

    def ask(self, before: str, show: Callable[[Any], None], *, invoked: bool = False) -> asyncio.Future[Any]:
        """Request a suggestion: ``show`` receives it as it grows, until the next request; the future returns the last
        one."""
        token = f"{self._uri}-{self._version}"
        self._client.on_notification["$/progress"] = lambda params: (
            show(params["value"]) if params.get("token") == token else None
        )
        params = {
            "textDocument": {"uri": self._uri}, "position": _position(before),
            "context": {"triggerKind": 1 if invoked else 2}, "partialResultToken": token,
        }  # fmt: skip
        return self._client.send_request("midfill/inlineCompletion", params)[1]


def _position(before: str) -> dict[str, int]:
    return {"line": before.count("\n"), "character": len(before) - before.rfind("\n") - 1}


def first_item(result: Any) -> Params:
    """Return the first suggestion of an answer; one without text if there is none."""
    return ((result or {}).get("items") or [{"insertText": ""}])[0]  # type: ignore[no-any-return]
