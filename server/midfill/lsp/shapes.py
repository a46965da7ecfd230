"""How each method shows suggestions: one answer, values that replace each other, or the entries of a popup."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from midfill.lsp import convert
from midfill.lsp.documents import Document, InsertionPoint, Span
from midfill.lsp.protocol import MidfillProtocol, Pending
from midfill.lsp.settings import Client
from midfill.trace import Trace
from midfill.types import Completion, Snapshot, Trigger

Family = Literal["inline", "popup"]


@dataclass(eq=False, slots=True)
class Suggestion:
    """One request for a suggestion."""

    pending: Pending
    family: Family
    document: Document
    snapshot: Snapshot
    place: InsertionPoint
    trigger: Trigger
    selected: tuple[Span, str] | None = None
    token: int | str | None = None
    follows_key: bool = False  # invoked by its kind, which LSP also uses for popups that come while typing
    last: Completion | None = None  # as far as it is generated
    trace: Trace = field(default_factory=Trace)
    arrived: float = field(default_factory=time.monotonic)


class ResponseFormat(Protocol):
    """How one method shows completions."""

    def empty(self) -> Any: ...  # noqa: D102
    def partial(self, completion: Completion) -> None: ...  # noqa: D102
    def final(self, completion: Completion) -> Any: ...  # noqa: D102


class Inline:
    """One answer at the end, or null."""

    def __init__(self, protocol: MidfillProtocol, client: Client, asked: Suggestion | None) -> None:
        self.protocol, self.client, self.asked = protocol, client, asked

    def empty(self) -> Any:
        """Return the empty answer."""
        return None

    def partial(self, completion: Completion) -> None:
        """Send nothing: LSP has no token for it."""

    def final(self, completion: Completion) -> Any:
        """Return the whole suggestion."""
        return self.value(completion) if completion.texts else self.empty()

    def value(self, completion: Completion) -> Any:
        """Return the value that the client gets."""
        assert self.asked is not None
        return self.protocol.plain(convert.inline_items(completion, self.asked.place, self.asked.selected))


class StreamingInline(Inline):
    """Values that replace each other; the answer is the last one."""

    def __init__(self, protocol: MidfillProtocol, client: Client, asked: Suggestion | None) -> None:
        super().__init__(protocol, client, asked)
        self.sent: Any = self.empty()

    def empty(self) -> Any:
        """Return the empty answer."""
        return {"items": []}

    def partial(self, completion: Completion) -> None:
        """Send the suggestion so far, if it has changed."""
        value = self.value(completion)
        if self.asked is not None and self.asked.token is not None and value != self.sent:
            self.sent = value
            progress = {"token": self.asked.token, "value": value}
            self.protocol.notify("$/progress", progress, droppable=True)


class Popup:
    """Entries of the completion popup. Partial values add up: first the first line, then the whole."""

    def __init__(self, protocol: MidfillProtocol, client: Client, asked: Suggestion | None) -> None:
        self.protocol, self.client, self.asked = protocol, client, asked
        self.n_sent = 0

    def empty(self) -> Any:
        """Return no entries, or none beyond those already sent."""
        return {"isIncomplete": True, "items": []}

    def partial(self, completion: Completion) -> None:
        """Send the first line once it is complete and more follows."""
        if self.asked is None or self.asked.token is None or self.n_sent:
            return
        text = completion.text
        start = len(text) - len(text.lstrip())
        end = text.find("\n", start)
        if end >= 0 and text[end:].strip():
            self._send([self._item(completion, 0, text[:end], "midfill-0")])

    def final(self, completion: Completion) -> Any:
        """Return the whole suggestion and its alternatives."""
        texts = [text for text in completion.texts if text.strip()]
        items = [self._item(completion, n, text, f"midfill-{n + 1}") for n, text in enumerate(texts)]
        if items and self.asked is not None and self.asked.token is not None:
            self._send(items)
            return self.empty()
        return {"isIncomplete": True, "items": items}

    def _send(self, items: list[Any]) -> None:
        assert self.asked is not None
        value = items if self.n_sent else {"isIncomplete": True, "items": items}
        self.n_sent += 1
        self.protocol.notify("$/progress", {"token": self.asked.token, "value": value})

    def _item(self, completion: Completion, index: int, text: str, sort: str) -> Any:
        assert self.asked is not None
        asked, client = self.asked, self.client
        item = convert.completion_item(
            text,
            asked.snapshot,
            asked.place,
            asked.document.encoding,
            as_is=client.as_is,
            markdown=client.markdown,
            sort=sort,
        )
        item.command = convert.accepted_command(completion.id, index)
        return self.protocol.plain(item)
