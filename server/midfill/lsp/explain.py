"""The traces of the last requests, and the request that returns one."""

from __future__ import annotations

from collections import deque
from typing import Any

from midfill.lsp import convert
from midfill.lsp.protocol import Params
from midfill.trace import REPLACED, Trace, story

MAX_TRACES = 50


class Traces:
    """The last requests, in memory only: a trace holds source text."""

    def __init__(self) -> None:
        self._traces: deque[Trace] = deque(maxlen=MAX_TRACES)

    def add(self, trace: Trace) -> None:
        """Add the trace of a new request."""
        self._traces.append(trace)

    def find(self, id: str | None, uri: str | None) -> Trace | None:
        """Return the last trace of a suggestion, of a document, or of all.

        A request that a newer one replaced is returned only if there is no other: users ask about the newer one."""
        found = [trace for trace in reversed(self._traces) if id in (None, trace.id) and uri in (None, trace.uri)]
        return next((trace for trace in found if trace.refused != REPLACED), found[0] if found else None)


def explain(traces: Traces, params: Params) -> Any:
    """midfill/explain {id?, textDocument?}; null if midfill knows no such request."""
    id, uri = params.get("id"), convert.read_object(params, "textDocument").get("uri")
    trace = traces.find(id if isinstance(id, str) else None, uri if isinstance(uri, str) else None)
    return None if trace is None else {"story": story(trace), "trace": trace.plain()}
