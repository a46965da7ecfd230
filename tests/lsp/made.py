"""Requests as tests of the language server make them, and servers in this process."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from midfill.config import Config
from midfill.lsp.framing import Event, Message
from midfill.lsp.positions import Encoding
from midfill.lsp.server import MidfillServer
from tests.lsp import fakes
from tests.lsp.client import Client
from tests.lsp.conftest import Launch


class Sent:
    """A sender that keeps what is sent."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.is_slow = False

    def send(self, frame: bytes, *, droppable: bool = False) -> None:
        if not (droppable and self.is_slow):
            self.messages.append(json.loads(frame.partition(b"\r\n\r\n")[2]))


def ask(server: MidfillServer, msg_id: int, method: str, params: Any) -> None:
    server.protocol.handle_event(Message({"jsonrpc": "2.0", "id": msg_id, "method": method, "params": params}))


def notify(server: MidfillServer, method: str, params: Any) -> None:
    server.protocol.handle_event(Message({"jsonrpc": "2.0", "method": method, "params": params}))


INVOKED = {"triggerKind": 1}
AUTOMATIC = {"triggerKind": 2}
INLINE = "textDocument/inlineCompletion"
STREAMING = "midfill/inlineCompletion"
POPUP = "textDocument/completion"


def ready(launch: Launch, script: dict[str, Any], *, real: bool = False, **params: Any) -> Client:
    """Return a server whose completer replays the script; ``real``: only its engine does."""
    client = launch(script=script, with_fakes=not real)
    client.initialize(**params)
    if script.get("ready_s", 0) >= 0:
        client.ready()
    return client


def span(start: tuple[int, int], end: tuple[int, int]) -> dict[str, Any]:
    return {
        "start": {"line": start[0], "character": start[1]},
        "end": {"line": end[0], "character": end[1]},
    }


def values(client: Client, token: int | str) -> list[Any]:
    return [
        m["params"]["value"] for m in client.log if m.get("method") == "$/progress" and m["params"]["token"] == token
    ]


def change(client: Client, uri: str, version: int, text: str, *, full: bool = True) -> None:
    edit: dict[str, Any] = {"text": text} if full else {"text": text, "range": span((0, 0), (0, 0))}
    document = {"uri": uri, "version": version}
    client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [edit]})


URI = "file:///w/a.py"
BYTES = {"utf-8": ("utf-8", 1), "utf-16": ("utf-16-le", 2), "utf-32": ("utf-32-le", 4)}


def offset(text: str, line: int, character: int, encoding: Encoding) -> int:
    """Return a position as a code point of the text, counted naively."""
    starts = [0] + [match.end() for match in re.finditer("\r\n|\r|\n", text)]
    if line >= len(starts):
        return len(text)
    at = starts[line]
    codec, unit = BYTES[encoding]
    for _ in range(len(text)):
        if at == len(text) or text[at] in "\r\n":
            break
        character -= len(text[at].encode(codec, "surrogatepass")) // unit
        if character < 0:
            break
        at += 1
    return at


def frame(value: object, length: int | None = None, header: str = "Content-Length") -> bytes:
    body = json.dumps(value).encode()
    return f"{header}: {len(body) if length is None else length}\r\n\r\n".encode() + body


def shown(events: list[Event]) -> list[Any]:
    return [event.value if isinstance(event, Message) else event.kind for event in events]


PIECES = [
    b"Content-Length: ",
    b"content-length:",
    b"7",
    b"12",
    b"99999999999999999999",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"{",
    b"}",
    b'{"a": 1}',
    b'"',
    b"\xff\x00",
    b"X: y\r\n",
    b"Content-Length: 8\r\n\r\n",
    b"Content-Length: 400\r\n\r\n",
    b" ",
    b"Con",
]


async def started(root: Path | None = None, **settings: Any) -> MidfillServer:
    script: dict[str, Any] = {"chunks": []}
    server = MidfillServer(Config(**settings), lambda _config, on_status, _sources: fakes.FakeLink(script, on_status))
    server.protocol.sender = Sent()
    ask(server, 0, "initialize", {"capabilities": {}, "rootUri": root.as_uri() if root else None})
    await asyncio.sleep(0.05)
    return server


def open_text(server: MidfillServer, uri: str, text: str) -> None:
    item = {"uri": uri, "languageId": "python", "version": 1, "text": text}
    notify(server, "textDocument/didOpen", {"textDocument": item})
