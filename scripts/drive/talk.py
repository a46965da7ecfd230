"""The messages between an editor and the server: the documents as the server knows them, and unanswered requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ASKED = ("midfill/inlineCompletion", "textDocument/inlineCompletion")


class Talk:
    """The messages of one editor, read from their log as it grows."""

    def __init__(self, log: Path) -> None:
        self._log, self._n_read = log, 0
        self._texts: dict[str, str] = {}  # by the file's name
        self._waiting: set[Any] = set()  # ids of requests

    def text(self, name: str) -> str:
        """Return a document's current text; "" if it is not open."""
        self._read()
        return self._texts.get(name, "")

    def is_answered(self) -> bool:
        """Return whether the server has answered every request for a suggestion."""
        self._read()
        return not self._waiting

    def _read(self) -> None:
        if self._log.exists():
            with self._log.open("rb") as stream:
                stream.seek(self._n_read)
                new = stream.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._n_read += len(whole)
            for line in whole.splitlines():
                self._hear(json.loads(line))

    def _hear(self, message: Mapping[str, Any]) -> None:
        method, params = message.get("method"), message.get("params") or {}
        if message.get("side") != "client":
            if method is None:
                self._waiting.discard(message.get("id"))
        elif method == "textDocument/didOpen":
            self._texts[_name(params)] = params["textDocument"]["text"]
        elif method == "textDocument/didChange":
            for change in params["contentChanges"]:
                self._texts[_name(params)] = changed(self._texts.get(_name(params), ""), change)
        elif method in ASKED:
            self._waiting.add(message["id"])


def changed(text: str, change: Mapping[str, Any]) -> str:
    """Return ``text`` after one change of a didChange notification. Positions count UTF-16 units."""
    if "range" not in change:
        return str(change["text"])
    start, end = (_offset(text, change["range"][side]) for side in ("start", "end"))
    return text[:start] + str(change["text"]) + text[end:]


def _offset(text: str, position: Mapping[str, int]) -> int:
    start = 0
    for _ in range(position["line"]):
        start = text.index("\n", start) + 1
    units = text[start:].split("\n", 1)[0].encode("utf-16-le")[: 2 * position["character"]]
    return start + len(units.decode("utf-16-le"))


def _name(params: Mapping[str, Any]) -> str:
    return str(params["textDocument"]["uri"]).rsplit("/", 1)[-1]
