"""Where the cursor rests: midfill reads that place before a request comes.

``textDocument/didFocus {textDocument: {uri}, position?}`` is the name that Copilot's server uses; our editor plugins
send it with the position once the cursor rests. Of other clients midfill knows what they open, change and ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from midfill.lsp import convert
from midfill.lsp.documents import Documents
from midfill.lsp.protocol import Params
from midfill.types import Snapshot

# After an edit elsewhere, context from other files is chosen anew, which takes this long (context.workspace.QUIET_S).
ELSEWHERE_S = 0.6

Position = tuple[int, int]  # line and character, as the client counts


def did_focus(focus: FocusTracker, params: Params) -> None:
    """textDocument/didFocus. Raises InvalidParams."""
    uri, position = convert.read_uri(params), params.get("position")
    focus.moved(uri, None if position is None else convert.read_position(position))


class FocusTracker:
    """The document that the user looks at, and the position of the cursor as far as it is known."""

    def __init__(
        self, documents: Documents, enabled: Callable[[], bool], tell: Callable[[Snapshot | None], None]
    ) -> None:
        """``tell`` receives the place to read, or None for none; only while midfill is ``enabled``."""
        self._documents, self._enabled, self._tell = documents, enabled, tell
        self._uri = ""
        self._places: dict[str, Position] = {}  # by document; forgotten with its next edit
        self._is_told = False  # the client reports the cursor, so opening a document is not taken for looking at it
        self._timer: asyncio.TimerHandle | None = None

    def moved(self, uri: str, position: Position | None) -> None:
        """The client reports where the cursor rests."""
        self._is_told = True
        if position is not None:
            self._places[uri] = position
        self._look_at(uri)

    def opened(self, uri: str) -> None:
        """The client opened a document, and the cursor's place in it is still unknown."""
        self._places.pop(uri, None)
        if not self._is_told:
            self._look_at(uri)

    def asked(self, uri: str, position: Position) -> None:
        """A suggestion was requested: that request reads whatever there is to read."""
        self._uri, self._places[uri] = uri, position
        self._wait(None)

    def edited(self, uri: str) -> None:
        """The client changed a document. An edit elsewhere changes what is known of other files; one here moves the
        cursor."""
        if uri == self._uri:
            self._places.pop(uri, None)
            self._wait(None)
        elif self._uri in self._places:
            self._wait(ELSEWHERE_S)

    def closed(self, uri: str) -> None:
        """The client closed a document."""
        self._places.pop(uri, None)
        if uri == self._uri:
            self._uri = ""
            self._wait(None)
            self._tell(None)

    def read(self) -> None:
        """Read the place now, if there is one: an engine became ready, or other files have changed."""
        self._timer = None
        if (snapshot := self._snapshot()) is not None:
            self._tell(snapshot)

    def stop(self) -> None:
        """Stop, because the client is gone."""
        self._uri = ""
        self._wait(None)

    def _look_at(self, uri: str) -> None:
        self._uri = uri
        self._wait(None)
        self._tell(self._snapshot())

    def _wait(self, seconds: float | None) -> None:
        """Read the place in this many seconds; None: not for now."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self.read)

    def _snapshot(self) -> Snapshot | None:
        """Return the place. If the cursor was never seen in a document, return its end: every other place in a short
        document shares all the text before it."""
        document = self._documents.get(self._uri)
        if document is None or document.stale or not self._enabled():
            return None
        line, character = self._places.get(self._uri, (max(0, len(document.lines) - 1), convert.MAX_NUMBER))
        return self._documents.at(self._uri, line, character)
