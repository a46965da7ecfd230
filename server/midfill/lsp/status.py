"""What the user sees: the midfill/status notification and the progress of the engine's start."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from midfill import config as configuration
from midfill import starting
from midfill.starting import StartProgress
from midfill.types import EngineStatus, MidfillError

log = logging.getLogger(__name__)

PROGRESS_EVERY_S = 0.2
TICK_S = 0.5  # seconds after which a start without progress is shown anyway
ERROR = 1  # lsp.MessageType
Notify = Callable[[str, Any], None]
Ask = Callable[[str, Any], "Future[Any]"]


class StatusBoard:
    """Combines the engine's status with what this process knows, and sends it when it changes."""

    def __init__(self, notify: Notify, facts: Callable[[], dict[str, Any]] = dict) -> None:
        """``facts`` returns what else the status reports."""
        self._notify, self._facts = notify, facts
        self._engine = EngineStatus("starting", progress=0.0)
        self._trouble: MidfillError | None = None  # a mistake in the configuration
        self._lost: MidfillError | None = None  # a document whose text is unknown
        self._n_generating = 0
        self._sent: dict[str, Any] = {}
        self._sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stage: StageProgress | None = None
        self._start: StartProgress | None = None  # while the engine starts
        self._tick: asyncio.TimerHandle | None = None

    def show_progress(self, stage: StageProgress) -> None:
        """Also show the start as the client's own progress bar."""
        self._stage = stage

    def engine(self, status: EngineStatus) -> None:
        """The engine's status changed."""
        self._engine = self._with_progress(status)
        self._push()
        if self._stage is not None:
            self._stage.follow(self._engine)

    def _with_progress(self, status: EngineStatus) -> EngineStatus:
        """Return ``status`` with the progress of the whole start instead of that of its stage."""
        loop = asyncio.get_running_loop()
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        if status.state != "starting":
            if self._start is not None and status.state == "ready":
                loop.run_in_executor(None, starting.keep, self._start.done())
            self._start = None
            return status
        if self._start is None:
            self._start = StartProgress(starting.last())
        self._start.report(status.stage, status.progress)
        self._tick = loop.call_later(TICK_S, self._again, status)
        return replace(status, progress=round(self._start.fraction, 3), left_s=round(self._start.left_s))

    def _again(self, status: EngineStatus) -> None:
        if self._start is not None:
            self.engine(status)

    def stop(self) -> None:
        """Stop reporting."""
        for timer in (self._tick, self._timer):
            if timer is not None:
                timer.cancel()
        self._tick = self._timer = self._start = None

    def trouble(self, error: MidfillError | None) -> None:
        """The configuration has a problem; everything else keeps working."""
        is_known = str(error) == str(self._trouble)
        self._trouble = error
        if error is not None and not is_known:
            log.error("configuration: %s", error)
            self._send({**self.payload(), "state": "error", "message": error.message, "remedy": error.remedy})
        else:
            self._push()

    def lost(self, error: MidfillError | None) -> None:
        """A document's text is unknown; None: no document's."""
        if str(error) != str(self._lost):
            self._lost = error
            self._push()

    @contextlib.contextmanager
    def generating(self) -> Iterator[None]:
        """Count a generation while it runs."""
        self._n_generating += 1
        self._push()
        try:
            yield
        finally:
            self._n_generating -= 1
            self._push()

    def payload(self) -> dict[str, Any]:
        """Return the current status."""
        status = self._engine
        if status.state == "ready" and self._n_generating:
            status = replace(status, state="generating")
        error = configuration.combined([error for error in (self._trouble, self._lost) if error is not None])
        if error is not None and not status.message:
            status = replace(status, message=error.message, remedy=error.remedy)
        return {
            "state": status.state,
            "message": status.message,
            "remedy": status.remedy,
            "stage": status.stage,
            "progress": status.progress,
            "secondsLeft": status.left_s,
            "model": status.model,
            "adapter": status.adapter,
            "device": status.device,
            **self._facts(),
        }

    def changed(self) -> None:
        """What ``facts`` returns may have changed."""
        self._push()

    def _push(self) -> None:
        payload = self.payload()
        if _without_time(payload) == _without_time(self._sent):
            return
        loop = asyncio.get_running_loop()
        early = loop.time() - self._sent_at < PROGRESS_EVERY_S
        unsaid = {"progress": None, "secondsLeft": None}
        if early and _without_time(payload | unsaid) == _without_time(self._sent | unsaid):
            if self._timer is None:
                self._timer = loop.call_later(PROGRESS_EVERY_S, self._late)
            return
        self._send(payload)

    def _late(self) -> None:
        self._timer = None
        self._push()

    def _send(self, payload: dict[str, Any]) -> None:
        self._sent = payload
        self._sent_at = asyncio.get_running_loop().time()
        self._notify("midfill/status", payload)


def _without_time(payload: dict[str, Any]) -> dict[str, Any]:
    """Return ``payload`` with whether a snooze runs instead of its seconds, which always change."""
    return {**payload, "snoozed_s": bool(payload.get("snoozed_s"))}


class Warnings:
    """window/showMessage for a client that does not show the status: once for each kind of problem that stops
    suggestions."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._said: set[str] = set()
        self.wanted = True

    def say(self, kind: str, error: MidfillError) -> None:
        """Show an error, unless one of its kind was shown before."""
        if self.wanted and kind not in self._said:
            self._said.add(kind)
            self._notify("window/showMessage", {"type": ERROR, "message": f"midfill: {error}"})


class StageProgress:
    """The engine's start as work-done progress. A client that never answers the create request sees nothing."""

    def __init__(self, notify: Notify, ask: Ask) -> None:
        self._notify = notify
        self._ask = ask
        self._n_tokens = 0
        self._token = ""
        self._begun = False
        self._last: EngineStatus | None = None
        self._sent: tuple[str, int | None] | None = None
        self._sent_at = 0.0

    def follow(self, status: EngineStatus) -> None:
        """Begin, report or end the progress."""
        working = status.state == "starting" and bool(status.stage or self._token)
        self._last = status if working else None
        if not working:
            self._end()
        elif not self._token:
            self._create()
        elif self._begun:
            self._report(status)

    def _create(self) -> None:
        self._n_tokens += 1
        token = self._token = f"midfill-start-{self._n_tokens}"
        answer = self._ask("window/workDoneProgress/create", {"token": token})
        answer.add_done_callback(lambda future: self._created(token, future))

    def _created(self, token: str, answer: Future[Any]) -> None:
        if answer.cancelled() or answer.exception() is not None or token != self._token or self._last is None:
            return
        self._begun = True
        value = {"kind": "begin", "title": "midfill", "message": "preparing the model…", "cancellable": False}
        self._send(token, {**value, "percentage": _percent(self._last) or 0})

    def _report(self, status: EngineStatus) -> None:
        now = asyncio.get_running_loop().time()
        state = (status.stage, _percent(status))
        if state == self._sent or now - self._sent_at < PROGRESS_EVERY_S:
            return
        self._sent, self._sent_at = state, now
        left = f", {status.left_s} s left" if status.left_s else ""
        value: dict[str, Any] = {"kind": "report", "message": f"preparing the model… ({status.stage}{left})"}
        self._send(self._token, value if state[1] is None else {**value, "percentage": state[1]})

    def _end(self) -> None:
        if self._begun:
            self._send(self._token, {"kind": "end"})
        self._token, self._begun, self._sent = "", False, None

    def _send(self, token: str, value: dict[str, Any]) -> None:
        self._notify("$/progress", {"token": token, "value": value})


def _percent(status: EngineStatus) -> int | None:
    return None if status.progress is None else round(100 * min(1.0, max(0.0, status.progress)))
