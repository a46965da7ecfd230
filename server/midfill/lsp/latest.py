"""The suggestion request that each document waits for."""

from __future__ import annotations

from midfill.lsp.shapes import Family, ResponseFormat, Suggestion


class Latest:
    """The latest request by family of methods and document."""

    def __init__(self) -> None:
        self._running: dict[tuple[Family, str], tuple[Suggestion, ResponseFormat]] = {}
        self.counts = {"requests": 0, "answered": 0, "shown": 0, "cancelled": 0, "superseded": 0}

    def drop(self, family: Family, uri: str) -> None:
        """Answer the waiting request with nothing, and stop its generation."""
        running = self._running.pop((family, uri), None)
        if running is None:
            return
        asked, shape = running
        self.counts["superseded"] += asked.pending.open
        if asked.pending.open:
            asked.trace.refuse("superseded", "a newer request, or the document's end, took its place")
        asked.pending.resolve(shape.empty())
        asked.pending.stop()

    def put(self, asked: Suggestion, shape: ResponseFormat) -> None:
        """Make this the latest request."""
        self._running[asked.family, asked.snapshot.uri] = (asked, shape)

    def done(self, asked: Suggestion) -> None:
        """The request is finished and needs no stopping."""
        key = (asked.family, asked.snapshot.uri)
        if (running := self._running.get(key)) is not None and running[0] is asked:
            del self._running[key]

    def clear(self) -> None:
        """Stop everything."""
        for family, uri in list(self._running):
            self.drop(family, uri)
