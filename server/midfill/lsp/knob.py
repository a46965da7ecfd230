"""What a person turns while working: how eager suggestions are, a pause of some minutes, one that is not wanted."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from midfill.config import EAGERNESS
from midfill.eagerness import Knob
from midfill.lsp import configure, convert
from midfill.lsp.documents import unix
from midfill.lsp.protocol import InvalidParams, Params
from midfill.types import Refusal

if TYPE_CHECKING:
    from midfill.lsp.server import MidfillServer

SNOOZE, SET_EAGERNESS = "midfill.snooze", "midfill.setEagerness"
MAX_SNOOZE_S = 7 * 86400.0


class Timer(Protocol):
    """What calling later gives."""

    def cancel(self) -> None: ...  # noqa: D102


class Snooze:
    """A pause in which nothing comes by itself. By the clock on the wall: it ends though a laptop sleeps."""

    def __init__(
        self,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.time,
        call_later: Callable[[float, Callable[[], None]], Timer] | None = None,
    ) -> None:
        """``changed`` is called when it begins and when it ends; ``clock`` in seconds."""
        self._changed, self._clock = changed, clock
        self._call_later = call_later or (lambda after_s, call: asyncio.get_running_loop().call_later(after_s, call))
        self._until = 0.0
        self._timer: Timer | None = None

    @property
    def left_s(self) -> int:
        """Whole seconds until its end, the last one begun counted; 0 when there is none."""
        return max(0, math.ceil(self._until - self._clock()))

    def start(self, minutes: float) -> None:
        """Begin one that lasts ``minutes`` from now, whatever ran before; 0 ends it."""
        self.stop()
        seconds = min(minutes * 60, MAX_SNOOZE_S)
        self._until = self._clock() + seconds if seconds else 0.0
        self._look()

    def stop(self) -> None:
        """Forget the timer; the session ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._call_later(self.left_s, self._look) if self.left_s else None
        self._changed()

    @property
    def refusal(self) -> Refusal | None:
        """Why nothing comes by itself, if it is for this."""
        if not (left_s := self.left_s):
            return None
        n, unit = (left_s, "second") if left_s < 60 else (math.ceil(left_s / 60), "minute")
        left = f"{n} {unit}{'s' if n > 1 else ''}"
        return Refusal("snoozed", f"automatic suggestions are snoozed for another {left}; ask by hand and they come")


def facts(ls: MidfillServer) -> dict[str, Any]:
    """What midfill/status says of all this."""
    knob = Knob(lambda: ls.config, on_battery=lambda: ls.battery.in_use)
    return {
        "eagerness": knob.level.name,
        "lines": ls.config.lines,
        "on_battery": knob.on_battery,
        "snoozed_s": ls.snooze.left_s,
    }


def hint(ls: MidfillServer, uri: str | None) -> str:
    """Why the last request in a document showed nothing though the model answered, and how to see more; or ""."""
    trace = ls.traces.find(None, uri)
    return "" if trace is None else trace.hidden


def snooze(ls: MidfillServer, arguments: Sequence[Any]) -> None:
    """midfill.snooze [minutes]. Raises InvalidParams."""
    minutes = arguments[0] if len(arguments) == 1 else None
    if not isinstance(minutes, int | float) or isinstance(minutes, bool) or not 0 <= minutes < math.inf:
        raise InvalidParams
    ls.snooze.start(minutes)


def set_eagerness(ls: MidfillServer, arguments: Sequence[Any]) -> None:
    """midfill.setEagerness [name]: for this session. Raises InvalidParams."""
    name = arguments[0] if len(arguments) == 1 else None
    if name not in EAGERNESS:
        raise InvalidParams
    ls.settings.tell({"midfill": {"eagerness": name}}, SET_EAGERNESS)
    configure.apply(ls)


def dismissed(ls: MidfillServer, params: Params) -> None:
    """midfill/dismissed {textDocument, position, text}: the user does not want ``text``, shown at ``position``."""
    uri, position, text = convert.read_uri(params), convert.read_position(params.get("position")), params.get("text")
    if not isinstance(text, str):
        raise InvalidParams
    ls.outcomes.dismissed(uri, unix(text))
    place = ls.documents.place(uri, *position)
    snapshot = ls.documents.snapshot(uri, *position, None, place.closers if place is not None else "")
    if snapshot is not None and ls.completer is not None:
        ls.completer.dismiss(snapshot, unix(text))
