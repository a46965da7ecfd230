"""Another language server beside midfill's, as in an editor: asked at the positions where an editor would ask it.

It speaks LSP over its standard streams. Holes of one run ask one server, which keeps what it read of the project.
"""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from midfill.context.definitions import Target
from midfill.context.knowledge.names import KEYWORD, MAX_KEYWORDS, is_whole, name_of
from midfill.types import MidfillError, Snapshot

START_S, ANSWER_S, LOOK_S = 60.0, 20.0, 0.5
# A document that was just opened is asked about until two answers this far apart are the same: TypeScript's server
# answers from the document alone until it has read the project.
STEADY_S, MAX_LOOKS = 1.5, 6
TEXT = 1  # CompletionItemKind: a word of the text, from a server that knows nothing better
NO_NAMES = frozenset({TEXT, KEYWORD, 15, 17, 19})  # and Snippet, File, Folder


class LanguageServer:
    """One process, used by one thread."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        """Start the server on the project in ``folder``. Raises MidfillError."""
        program = shutil.which(command[0])
        if program is None:
            raise MidfillError(f"{command[0]} is not there", "name a program of the PATH, or its file")
        self._process = subprocess.Popen(  # noqa: S603 - the program that was named
            [str(Path(program).absolute()), *command[1:]], cwd=folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._n_asked, self._version, self._open = 0, 0, ("", "")  # the document's URI and text
        self._is_new = False  # whether the document was just opened
        threading.Thread(target=self._read, name="midfill-eval-server", daemon=True).start()
        uri = folder.as_uri()
        capabilities = {"textDocument": {
            "completion": {"completionItem": {"snippetSupport": False}}, "hover": {"contentFormat": ["markdown"]},
        }}  # fmt: skip
        self._ask("initialize", {
            "processId": None, "rootUri": uri, "capabilities": capabilities,
            "workspaceFolders": [{"uri": uri, "name": folder.name}],
        }, START_S)  # fmt: skip
        self._notify("initialized", {})

    def show(self, snapshot: Snapshot) -> None:
        """Open the document with this text, then close the previous one: in this order, so that a server which drops a
        project without open files keeps what it read."""
        before, self._open = self._open, (snapshot.uri, snapshot.text)
        if before == self._open:
            return
        self._version += 1
        document = {"uri": snapshot.uri, "version": self._version}
        if before[0] == snapshot.uri:
            changes = [{"text": snapshot.text}]
            self._notify("textDocument/didChange", {"textDocument": document, "contentChanges": changes})
            return
        self._is_new = True
        document |= {"languageId": snapshot.language, "text": snapshot.text}
        self._notify("textDocument/didOpen", {"textDocument": document})
        if before[0]:
            self._notify("textDocument/didClose", {"textDocument": {"uri": before[0]}})

    def names(self, snapshot: Snapshot, at: int, patience_s: float = 0.0) -> tuple[list[str], bool]:
        """Return the names that may follow at a position of the open document, and whether there are no others. If the
        server returns no names, as it may still read the project, it is asked again for this long."""
        end = time.monotonic() + patience_s
        while not (found := self._names(snapshot, at))[0] and time.monotonic() < end:
            time.sleep(LOOK_S)
        looks, self._is_new = MAX_LOOKS if self._is_new and found[0] else 0, self._is_new and not found[0]
        for _ in range(looks):
            before = found
            time.sleep(STEADY_S)
            if (found := self._names(snapshot, at)) == before:
                break
        return found

    def _names(self, snapshot: Snapshot, at: int) -> tuple[list[str], bool]:
        said = self._ask_at("completion", snapshot, at)
        return read(said, is_begun=not snapshot.text[:at].endswith((".", "::", "->")))

    def signatures(self, snapshot: Snapshot, at: int) -> list[Any]:
        """Return what the call around a position takes: SignatureInformation values."""
        said = self._ask_at("signatureHelp", snapshot, at)
        found = said.get("signatures") if isinstance(said, dict) else None
        return found if isinstance(found, list) else []

    def definition(self, snapshot: Snapshot, at: int, *, of_type: bool) -> tuple[list[Target], str]:
        """Return where the name at a position, or its class, is defined, and the hover's text."""
        said = self._ask_at("typeDefinition" if of_type else "definition", snapshot, at)
        places = [one for one in (said if isinstance(said, list) else [said]) if isinstance(one, dict)]
        targets = [
            Target(url2pathname(urlsplit(str(one.get("uri") or one["targetUri"])).path), span["start"]["line"])
            for one in places if (span := one.get("range") or one.get("targetSelectionRange"))
        ]  # fmt: skip
        hover = self._ask_at("hover", snapshot, at)
        contents = hover.get("contents") if isinstance(hover, dict) else None
        text = contents.get("value", "") if isinstance(contents, dict) else ""
        return targets, str(text)

    def _ask_at(self, what: str, snapshot: Snapshot, at: int) -> Any:
        head = snapshot.text[:at].rpartition("\n")[2]
        position = {
            "line": snapshot.text.count("\n", 0, at),
            "character": len(head.encode("utf-16-le", "surrogatepass")) // 2,
        }
        params = {"textDocument": {"uri": snapshot.uri}, "position": position}
        return self._ask(f"textDocument/{what}", params, ANSWER_S)

    def stop(self) -> None:
        """Kill the server."""
        self._process.kill()
        self._process.wait()

    def _ask(self, method: str, params: Any, limit_s: float) -> Any:
        """Return the result; None if the server answers with an error, or not in time."""
        self._n_asked += 1
        self._send({"id": self._n_asked, "method": method, "params": params})
        end = time.monotonic() + limit_s
        with contextlib.suppress(queue.Empty):
            while True:
                message = self._answers.get(timeout=max(0.0, end - time.monotonic()))
                if message.get("id") == self._n_asked:
                    return message.get("result")
        return None

    def _notify(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        with contextlib.suppress(OSError):  # the server is gone: no answer comes
            self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while (message := _message(self._process.stdout)) is not None:
            if "method" not in message:
                self._answers.put(message)
            elif "id" in message:  # the server sends a request: it gets as many nulls as it asks for items
                params = message.get("params")
                items = params.get("items") if isinstance(params, dict) else None
                self._send({"id": message["id"], "result": [None] * len(items) if isinstance(items, list) else None})


def _message(stream: IO[bytes]) -> dict[str, Any] | None:
    n = 0
    while (line := stream.readline().strip()) or not n:
        if line.lower().startswith(b"content-length:"):
            n = int(line.partition(b":")[2])
        elif not line:
            return None
    found = json.loads(stream.read(n) or b"null")
    return found if isinstance(found, dict) else None


def read(result: Any, *, is_begun: bool) -> tuple[list[str], bool]:
    """Read a result of textDocument/completion as our clients do."""
    is_list = isinstance(result, dict)
    items = (result.get("items") if is_list else result) or []
    if sum(item.get("kind") == KEYWORD for item in items) > MAX_KEYWORDS:
        return [], False
    names = [name for item in items if item.get("kind") not in NO_NAMES and (name := name_of(item))]
    is_open = is_list and result.get("isIncomplete") is True
    knows = not any(item.get("kind") == TEXT for item in items)
    whole = is_whole(names, len(items), is_open=is_open, is_begun=is_begun)
    return list(dict.fromkeys(names)), bool(names) and knows and whole
