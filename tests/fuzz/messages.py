"""Messages from a language client that is sometimes wrong, in every way that a client can be.

A message is drawn from what real clients send and then sometimes damaged: a value replaced by an absurd one, a key
removed or doubled, its JSON broken, its header wrong. What the server owes for it is known in advance.
"""

from __future__ import annotations

import copy
import json
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.wire import Id, frame, key

CANARY = "CANARY7f3a"  # in every document and file name: no log may contain it
WORDS = ("def f(a):\n", "    return ", "x", " = ", "(", ")", "\n", "\r\n", "\r", "\f", "\u2028", "\x85", "é", "中",
         "😀", "\ud83d", "\ude00", "\ud800", "\x00", "\u202e", "<|fim_middle|>", "'''",
         "if ", ":", "\t", "}", "{", CANARY)  # fmt: skip
NUMBERS = (0, 1, -1, 2, 5, 40, 2**31 - 1, 2**31, 2**53, 10**30, -(10**30), 0.5, -0.0, 1e308)
ABSURD: tuple[Any, ...] = (None, True, False, "", "x", [], {}, [[]], [None], {"x": None}, {"jsonrpc": "2.0"},
          "\ud800", "\x00", "a" * 3000, *NUMBERS)  # fmt: skip
LANGUAGES = ("python", "java", "go", "markdown", "no-such-language", "", "x" * 200, 5, None)
SUGGESTS = ("textDocument/inlineCompletion", "midfill/inlineCompletion", "textDocument/completion")
READS = ("midfill/status", "midfill/stats", "midfill/explain", "initialize", "no/such", "$/no/such", "__class__", "")
SETTINGS = ("enabled", "max_tokens", "disabled_languages", "disabled_files", "disabled_rules",
            "disabled_scopes", "candidates", "ahead", "disabled_context", "log_level", "maxDebounceS",
            "adapters", "eagerness", "lines", "quietOnBattery", "noSuchSetting")  # fmt: skip
VALUES: tuple[Any, ...] = (
    True,
    True,
    True,
    False,
    1,
    16,
    0.0,
    [],
    ["python"],
    ["*.md"],
    ["**/**/**"],
    "debug",
    "error",
    "quiet",
    "eager",
    "one",
    "x",
    None,
    -5,
)

DEBUG = ("DocumentText", "Prompt", "Sleep", "SleepThread", "Block", "Raise", "RaiseBase", "Print")

Message = dict[str, Any]


@dataclass(slots=True)
class Owed:
    """What was requested: how often each id, and how many messages that get an answer without an id."""

    by_id: Counter[Id] = field(default_factory=Counter)
    n_nameless: int = 0
    is_exact: bool = True  # False after damaged framing: then the number of messages is unknown


class Fuzzer:
    """Draws what it sends next, and records what the server owes."""

    def __init__(self, seed: int, workspace: Path) -> None:
        self.rng = random.Random(seed)
        self.owed = Owed()
        self.sent: dict[Id, Message] = {}  # since the last settling, to be reported if something is wrong
        self.raised: set[Id] = set()  # of debugRaise: the only ones that may be answered with -32603
        self._workspace = workspace
        self._versions: dict[str, int] = {}
        self._recent: deque[Any] = deque(maxlen=40)
        self._n_ids = 0
        self._kinds: tuple[tuple[int, Callable[[], Message]], ...] = (
            (30, self._change), (22, self._suggest), (10, self._cancel), (6, self._open), (3, self._close),
            (5, self._read), (4, self._notebook), (3, self._configure), (3, self._folders), (4, self._outcome),
            (3, self._debug), (3, self._response), (2, self._save),
        )  # fmt: skip

    def next(self) -> bytes:
        """Return the bytes of one message."""
        rng = self.rng
        (make,) = rng.choices([kind for _, kind in self._kinds], [weight for weight, _ in self._kinds])
        message = make()
        chance = rng.random()
        if chance < 0.12:
            message = self._damaged(message)
        if chance > 0.99:
            return self._broken(message)
        self._book(message)
        data = frame(message)
        if chance > 0.985:
            data = self._odd_header(data)
        return data

    def ping(self) -> tuple[bytes, Id]:
        """Return a request whose answer shows that everything before it was read."""
        self._n_ids += 1
        msg_id = f"ping-{self._n_ids}"
        self.owed.by_id[key(msg_id)] += 1
        return frame({"jsonrpc": "2.0", "id": msg_id, "method": "midfill/status"}), key(msg_id)

    def reset_damage(self) -> bytes:
        """Return a message that a damaged header before it may swallow: nothing is owed for it."""
        return frame({"jsonrpc": "2.0", "method": "$/nothing"})

    # -- what clients send ---------------------------------------------------------------------------------------------

    def _request(self, method: str, params: Any) -> Message:
        self._n_ids += 1
        msg_id: Any = self._n_ids if self.rng.random() < 0.8 else f"s{self._n_ids}"
        if self.rng.random() < 0.02 and self._recent:
            msg_id = self.rng.choice(self._recent)  # perhaps still in use
        self._recent.append(msg_id)
        return {"jsonrpc": "2.0", "id": msg_id, "method": method, "params": params}

    def _notification(self, method: str, params: Any) -> Message:
        return {"jsonrpc": "2.0", "method": method, "params": params}

    def _uri(self) -> str:
        if self.rng.random() < 0.03:
            return self.rng.choice(("", "untitled:1", "file://[x", "http://a/b", "file:///%00", "\ud800"))
        return f"file://{self._workspace}/{CANARY}{self.rng.randrange(6)}.py"

    def _text(self, longest: int) -> str:
        return "".join(self.rng.choices(WORDS, k=self.rng.randint(0, longest)))

    def _position(self) -> dict[str, Any]:
        rng = self.rng
        if rng.random() < 0.02:
            return {"line": rng.choice(ABSURD), "character": rng.choice(ABSURD)}
        return {"line": rng.choice((0, 1, 2, 3, 7, 10**9)), "character": rng.choice((0, 1, 2, 5, 30, 10**9))}

    def _range(self) -> dict[str, Any]:
        return {"start": self._position(), "end": self._position()}

    def _open(self) -> Message:
        uri = self._uri()
        self._versions[uri] = 1
        text = self._text(40) if self.rng.random() < 0.97 else self._text(40) * 500
        language = self.rng.choice(LANGUAGES) if self.rng.random() < 0.2 else "python"
        item = {"uri": uri, "languageId": language, "version": 1, "text": text}
        return self._notification("textDocument/didOpen", {"textDocument": item})

    def _close(self) -> Message:
        return self._notification("textDocument/didClose", {"textDocument": {"uri": self._uri()}})

    def _save(self) -> Message:
        return self._notification("textDocument/didSave", {"textDocument": {"uri": self._uri()}})

    def _change(self) -> Message:
        uri, rng = self._uri(), self.rng
        step = 1 if rng.random() < 0.97 else rng.choice((0, -1, 5))
        self._versions[uri] = version = self._versions.get(uri, 1) + step
        changes: list[Any] = []
        for _ in range(rng.choice((1, 1, 1, 2, 4, 0))):
            change: dict[str, Any] = {"text": self._text(4)}
            if rng.random() < 0.9:
                change["range"] = self._range()
            changes.append(change)
        return self._notification(
            "textDocument/didChange", {"textDocument": {"uri": uri, "version": version}, "contentChanges": changes}
        )

    def _suggest(self) -> Message:
        rng = self.rng
        context: dict[str, Any] = {"triggerKind": rng.choice((1, 2, 2, 3))}
        if rng.random() < 0.1:
            context["selectedCompletionInfo"] = {"range": self._range(), "text": self._text(3)}
        params: dict[str, Any] = {
            "textDocument": {"uri": self._uri()},
            "position": self._position(),
            "context": context,
        }
        if rng.random() < 0.5:
            params["partialResultToken"] = rng.choice((self._n_ids, f"t{self._n_ids}"))
        return self._request(rng.choice(SUGGESTS), params)

    def _cancel(self) -> Message:
        known = self.rng.choice(self._recent) if self._recent else 1
        return self._notification(
            "$/cancelRequest", {"id": known if self.rng.random() < 0.9 else self.rng.choice(ABSURD)}
        )

    def _read(self) -> Message:
        return self._request(
            self.rng.choice(READS), self.rng.choice((None, {}, {"textDocument": {"uri": self._uri()}}))
        )

    def _notebook(self) -> Message:
        kind = self.rng.choice(("didOpen", "didChange", "didClose"))
        cells = [{"kind": self.rng.choice((1, 2)), "document": self._uri()} for _ in range(self.rng.randint(0, 4))]
        splice = {"start": self.rng.choice((0, 1, 9)), "deleteCount": self.rng.choice((0, 1, 9)), "cells": cells}
        params = {
            "notebookDocument": {"uri": f"file://{self._workspace}/{CANARY}.ipynb", "version": 1, "cells": cells},
            "cellTextDocuments": [{"uri": cell["document"], "languageId": "python", "version": 1, "text": self._text(9)}
                                  for cell in cells],
            "change": {"cells": {"structure": {"array": splice}}},
        }  # fmt: skip
        return self._notification(f"notebookDocument/{kind}", params)

    def _configure(self) -> Message:
        chosen = {self.rng.choice(SETTINGS): self.rng.choice(VALUES)}
        settings = {"midfill": {"enabled": True, **chosen}} if self.rng.random() < 0.9 else self.rng.choice(ABSURD)
        return self._notification("workspace/didChangeConfiguration", {"settings": settings})

    def _folders(self) -> Message:
        folders = [{"uri": f"file://{self._workspace}/f{self.rng.randrange(3)}", "name": "f"} for _ in range(2)]
        event = {"added": folders[:1], "removed": folders[1:]}
        return self._notification("workspace/didChangeWorkspaceFolders", {"event": event})

    def _outcome(self) -> Message:
        item = {"insertText": self._text(2), "command": {"command": "midfill.accepted", "arguments": ["id", 0]}}
        if self.rng.random() < 0.5:
            known: tuple[Any, ...] = (
                ["id", 0],
                [],
                None,
                [None],
                ["id", 10**30],
                "x",
                [CANARY, -1],
                [0],
                [0.001],
                ["eager"],
            )
            commands = ("midfill.accepted", "midfill.accepted", "midfill.snooze", "midfill.setEagerness", "rm")
            params = {"command": self.rng.choice(commands), "arguments": self.rng.choice(known)}
            return self._request("workspace/executeCommand", params)
        if self.rng.random() < 0.5:
            return self._notification("textDocument/didShowCompletion", {"item": item})
        if self.rng.random() < 0.5:
            place = {"textDocument": {"uri": self._uri()}, "position": self._position()}
            text = self.rng.choice((self._text(3), None))
            return self._notification("midfill/dismissed", {**place, "text": text})
        length = self.rng.choice((0, 1, -1, 10**30, None))
        return self._notification("textDocument/didPartiallyAcceptCompletion", {"item": item, "acceptedLength": length})

    def _debug(self) -> Message:
        name = self.rng.choice(
            ("DocumentText", "Prompt", "Sleep", "SleepThread", "Block", "Raise", "RaiseBase", "Print")
        )
        if name == "Print" and self.rng.random() < 0.95:  # each one starts a process
            name = "DocumentText"
        seconds = self.rng.choice((0, 0.01, 0.05, -1, None))
        params = {"uri": self._uri(), "position": self._position(), "seconds": seconds, "text": "raised"}
        message = self._request(f"midfill/debug{name}", params)
        if name.startswith("Raise"):
            self.raised.add(key(message["id"]))
        return message

    def _response(self) -> Message:
        answer: dict[str, Any] = self.rng.choice(
            ({"result": None}, {"result": 5}, {"error": {}}, {"error": {"code": 1, "message": CANARY}})
        )
        return {"jsonrpc": "2.0", "id": self.rng.choice(("midfill-1", "midfill-2", 5, 99, None)), **answer}

    # -- damage --------------------------------------------------------------------------------------------------------

    def _damaged(self, message: Message) -> Message:
        """Return the message with one or two places changed; the method stays one that does not end the session."""
        message = json.loads(json.dumps(message))
        for _ in range(self.rng.choice((1, 1, 2))):
            holder: Any = message
            for _ in range(self.rng.randint(0, 4)):
                below = [
                    v
                    for v in (holder.values() if isinstance(holder, dict) else holder)
                    if isinstance(v, dict | list) and v
                ]
                if not below:
                    break
                holder = self.rng.choice(below)
            at = self.rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            if isinstance(holder, dict) and self.rng.random() < 0.3:
                del holder[at]
                if not holder:
                    break
            else:
                holder[at] = copy.deepcopy(self.rng.choice(ABSURD))
        return message

    def _broken(self, message: Message) -> bytes:
        """Return bytes that are not a message, with a right header or a wrong one."""
        body = json.dumps(message).encode()
        kind = self.rng.randrange(4)
        if kind == 0:  # right header, broken JSON: exactly one answer without an id
            self.owed.n_nameless += 1
            return frame(body[: self.rng.randrange(len(body))] + b"\xff{")
        if kind == 1:
            self.owed.n_nameless += 1
            return frame(self.rng.choice((b"5", b"null", b"[]", b'"x"', b"[" * 5000)))
        self.owed.is_exact = False
        length = self.rng.choice((0, 3, len(body) - 1, len(body) + 1, len(body) + 40, 10**12, 10**30))
        if kind == 2:
            return b"Content-Length: %d\r\n\r\n" % length + body.replace(b'"id"', b'"no"') + self.reset_damage()
        return bytes(self.rng.choices(b"\r\n:{}\x00abC", k=self.rng.randint(1, 60))) + b"\r\n\r\n" + self.reset_damage()

    def _odd_header(self, data: bytes) -> bytes:
        header, _, body = data.partition(b"\r\n\r\n")
        odd = self.rng.choice(
            (header.upper(), header.lower(), b"X-Y: z\r\n" + header, header + b"\r\nContent-Type: a/b")
        )
        return odd + b"\r\n\r\n" + body

    def _book(self, message: Message) -> None:
        """Record what the server owes for it, by the rules of JSON-RPC."""
        msg_id, method = message.get("id"), message.get("method")
        usable = isinstance(msg_id, int | str) and not isinstance(msg_id, bool)
        well_formed = message.get("jsonrpc") == "2.0" and (
            isinstance(method, str) or ("method" not in message and "id" in message)
        )
        if not well_formed:
            self._owe(msg_id if usable else None, message)
        elif "method" in message and "id" in message:
            self._owe(msg_id if usable else None, message)
            if method == "midfill/debugRaise" or method == "midfill/debugRaiseBase":
                self.raised.update([key(msg_id)] if usable else [])

    def _owe(self, msg_id: Any, message: Message) -> None:
        if msg_id is None:
            self.owed.n_nameless += 1
        else:
            self.owed.by_id[key(msg_id)] += 1
            self.sent[key(msg_id)] = message
