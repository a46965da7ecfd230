"""Reading ahead: where the cursor rests, the engine reads the prompt in the background before a request comes.

The engine reads it in pieces between all other work and keeps what it read, so that the later request finds most of
its prompt read. Another place, an edit or a request ends this. The context from other files is chosen in the
background too, so the place is read again when it changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

from midfill import power
from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.reuse import WINDOW, ReuseKey, place_of
from midfill.types import MidfillError, Snapshot

log = logging.getLogger(__name__)

_TAB = re.compile(r"^\t", re.MULTILINE)

# Seconds before each look at whether the prompt has changed. The first is also how long the cursor has to rest; after
# the last one the place counts as settled.
LOOKS_S = (0.1, 0.4, 0.8, 1.5, 3.0)
# Seconds after which an engine that had no time is asked again, as long as the prompt is the same.
AGAIN_S = 0.3
# On battery with less charge than this, nothing is read ahead.
MIN_CHARGE = 0.5

Stream = Callable[[GenerateRequest], AsyncIterator[Delta]]


class ReadAhead:
    """Reads one place at a time.

    ``prompt_of`` returns the request for a snapshot with the current context; ``stream`` is the engine's; ``charge``
    returns how much is left of a battery in use, None on mains power.
    """

    def __init__(
        self, prompt_of: Callable[[Snapshot], Awaitable[GenerateRequest]], stream: Stream,
        charge: Callable[[], float | None] = power.charge,
    ) -> None:  # fmt: skip
        self._prompt_of, self._stream, self._charge = prompt_of, stream, charge
        self._place: ReuseKey | None = None
        self._task: asyncio.Task[None] | None = None
        self.uri = ""  # of the document that is being read

    def begin(self, snapshot: Snapshot) -> None:
        """The cursor rests in ``snapshot``. Nothing changes if that place is being read already."""
        place = place_of(snapshot, "")
        if place == self._place and self._task is not None and not self._task.done():
            return
        self.stop()
        self._place, self.uri = place, snapshot.uri
        self._task = asyncio.create_task(self._read(snapshot))

    def stop(self) -> None:
        """The cursor left the place, or a request came: the engine stops in a moment."""
        if self._task is not None:
            self._task.cancel()
        self._task, self._place, self.uri = None, None, ""

    async def aclose(self) -> None:
        """Stop, and wait until the engine knows it."""
        task = self._task
        self.stop()
        if task is not None:
            await asyncio.wait([task])

    async def _read(self, snapshot: Snapshot) -> None:
        read: tuple[int, ...] = ()
        refused: GenerateRequest | None = None
        try:
            for pause_s in LOOKS_S:
                if await self._pause(pause_s, refused) and refused is not None:
                    read = refused.prompt
                charge = await asyncio.to_thread(self._charge)
                if charge is not None and charge < MIN_CHARGE:
                    return
                request, refused = await self._prompt_of(snapshot), None
                if request.prompt != read:
                    if await self._prefill(request):
                        read = request.prompt
                    else:
                        refused = request
        except MidfillError as error:  # the request that comes will report it to its followers
            log.debug("not read ahead: %s", error.message)

    async def _pause(self, pause_s: float, refused: GenerateRequest | None) -> bool:
        """Wait, and meanwhile ask again for what the engine had no time for; return whether it was read in the end.

        Other processes often need the machine for a moment only, and the engine keeps what it read until then.
        """
        end, is_read = time.monotonic() + pause_s, False
        while refused is not None and not is_read and time.monotonic() + AGAIN_S < end:
            await asyncio.sleep(AGAIN_S)
            is_read = await self._prefill(refused)
        await asyncio.sleep(max(0.0, end - time.monotonic()))
        return is_read

    async def _prefill(self, request: GenerateRequest) -> bool:
        """Return whether the engine has read it; False if others needed the machine, which may be over at the next
        look."""
        reason: str | None = None
        with contextlib.suppress(EngineError):
            async with aclosing(self._stream(request)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    reason = delta.finish_reason or reason
        return reason not in (None, "cancelled")


def accepted(snapshot: Snapshot, text: str) -> Snapshot:
    """Return ``snapshot`` with ``text`` inserted at the cursor."""
    return replace(snapshot, text=snapshot.prefix + text + snapshot.suffix, cursor=snapshot.cursor + len(text))


def entered(snapshot: Snapshot) -> Snapshot | None:
    """Return ``snapshot`` after Enter, as an editor indents it; None if the cursor is not at the end of a written
    line."""
    line = snapshot.line_before
    if snapshot.line_after.strip() or not line.strip():
        return None
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    if line.rstrip().endswith((":", "{", "(", "[")):
        indent += "\t" if _TAB.search(snapshot.text, max(0, snapshot.cursor - WINDOW), snapshot.cursor) else "    "
    return accepted(snapshot, "\n" + indent)
