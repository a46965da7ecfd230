"""One window's connection to its engine: a link with the current settings, and the requests that wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from midfill import news
from midfill.client.base import Completes, Link, StatusHandler
from midfill.config import Config
from midfill.context.gather import ContextSource
from midfill.engine.base import EngineError
from midfill.lsp import notice
from midfill.lsp.status import Notify, StatusBoard, Warnings
from midfill.types import EngineStatus, MidfillError

log = logging.getLogger(__name__)

INFO = 3  # lsp.MessageType
OFF = EngineStatus("off", "midfill is turned off", "set enabled = true")
FAILED_S = 5.0  # seconds that an automatic request waits for a failed engine

MakeLink = Callable[[Config, StatusHandler, Sequence[ContextSource]], Link]


class Connection:
    """The link of the current configuration. It calls ``on_ready`` when a completer becomes available."""

    def __init__(
        self, notify: Notify, board: StatusBoard, warnings: Warnings, source: ContextSource,
        on_ready: Callable[[], None], make_link: MakeLink | None = None,
    ) -> None:  # fmt: skip
        self.link: Link | None = None
        self._notify, self._board, self._warnings = notify, board, warnings
        self._source, self._on_ready, self._make_link = source, on_ready, make_link
        self._linked = asyncio.Event()
        self._abandoned = False  # the window starts no engine until the user asks for one
        self._has_failed = False
        self._news = asyncio.Event()  # set, and replaced, whenever the engine's status changes
        self._known: Completes | None = None
        self._n_links = 0
        self._background: set[asyncio.Task[None]] = set()

    @property
    def completer(self) -> Completes | None:
        """The completer that can answer now, or None."""
        return self.link.completer if self.link is not None else None

    def connect(self, config: Config, folders: tuple[str, ...]) -> None:
        """Follow an engine with ``config`` instead of the previous one. ``folders`` are the workspace's, as URIs."""
        self._leave()
        self._linked.clear()
        if config.enabled:
            self.spawn(self._connect(self._n_links, config, folders))
        else:
            self._board.engine(OFF)
            self._heard(OFF, config)

    async def _connect(self, number: int, config: Config, folders: tuple[str, ...]) -> None:
        def on_status(status: EngineStatus) -> None:
            if number == self._n_links:
                self._board.engine(status)
                self._heard(status, config)
                if status.state == "error" and self.completer is None:
                    self._warnings.say("engine", MidfillError(status.message, status.remedy))

        try:
            make_link = self._make_link
            if make_link is None:
                make_link = await asyncio.to_thread(_load_make_link)
            link = make_link(config, on_status, (self._source,))
        except Exception as error:
            log.error("no link to the engine: %s", error if isinstance(error, MidfillError) else type(error).__name__)
            log.debug("no link to the engine", exc_info=error)
            known = error if isinstance(error, MidfillError) else MidfillError("no engine", "run `midfill doctor`")
            on_status(EngineStatus("error", known.message, known.remedy))
            if number == self._n_links:
                self._heard(OFF, config)  # midfill does not try again
            return
        if number == self._n_links:
            self.link = link
            link.start()
            self._linked.set()
            said = await asyncio.to_thread(notice.untold, config, folders)
            for line in filter(None, (said, *await asyncio.to_thread(news.take))):
                self._notify("window/showMessage", {"type": INFO, "message": f"midfill: {line}"})

    def stop(self) -> None:
        """Stop, because the client is gone."""
        self._leave()

    def _leave(self) -> None:
        self._n_links += 1
        link, self.link = self.link, None
        if link is not None:
            self.spawn(link.aclose())

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run ``work`` in a task that nothing waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def wait_ready(self, timeout_s: float) -> Completes | None:
        """Return the completer as soon as there is one."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._linked.wait()
                return await self.link.wait_ready(timeout_s) if self.link is not None else None
        except TimeoutError:
            return None

    async def started(self, timeout_s: float) -> None:
        """Wait until there is a completer, the window abandons the engine, or ``timeout_s`` seconds have passed.

        midfill restarts a failed engine within moments, unless the cause is permanent, such as a setting.
        """
        end = asyncio.get_running_loop().time() + timeout_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s) as limit:
                while self.completer is None and not self._abandoned:
                    now = asyncio.get_running_loop().time()
                    limit.reschedule(min(end, now + FAILED_S) if self._has_failed else end)
                    await self._news.wait()

    def _heard(self, status: EngineStatus, config: Config) -> None:
        # midfill restarts its own failed engine at once, but cannot restart one elsewhere.
        self._has_failed = status.state == "error"
        self._abandoned = status.state == "off" or (self._has_failed and bool(config.engine))
        self._news.set()
        self._news = asyncio.Event()
        known, self._known = self._known, self.completer
        if self._known is not None and self._known is not known:
            self._on_ready()

    def failed(self, error: EngineError) -> None:
        """A request failed in the engine: let the link check the engine, and show the failure in the status."""
        log.warning("the engine failed: %s", error)
        if self.link is not None:
            self.link.report(error)


def _load_make_link() -> MakeLink:
    """Return the engine's client, imported only after the editor has its first answer."""
    make_link: MakeLink = importlib.import_module("midfill.client.link").make_link
    return make_link
