"""Documents as a language server knows them, out of the messages that an editor sends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class Documents:
    """The open documents of one editor, read from the log of its messages as that grows."""

    def __init__(self, log: Path) -> None:
        self._log, self._n_read = log, 0
        self.texts: dict[str, str] = {}  # by the file's name

    def text(self, name: str) -> str:
        """A document now; "" if it is not open."""
        if self._log.exists():
            with self._log.open("rb") as stream:
                stream.seek(self._n_read)
                new = stream.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._n_read += len(whole)
            self.hear(json.loads(line) for line in whole.splitlines())
        return self.texts.get(name, "")

    def hear(self, messages: Iterable[Mapping[str, Any]]) -> None:
        """Take in messages, in order."""
        for message in messages:
            if message.get("side") != "client":
                continue
            params = message.get("params") or {}
            if message.get("method") == "textDocument/didOpen":
                self.texts[_name(params)] = params["textDocument"]["text"]
            elif message.get("method") == "textDocument/didChange":
                for change in params["contentChanges"]:
                    self.texts[_name(params)] = changed(self.texts.get(_name(params), ""), change)


def changed(text: str, change: Mapping[str, Any]) -> str:
    """``text`` after one change of a didChange notification. Positions count UTF-16 units."""
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
