"""What a window needs of its engine, wherever that runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

from midfill.completer import Completer
from midfill.config import Config
from midfill.context.gather import ContextSource
from midfill.engine.base import EngineError
from midfill.types import Completion, EngineStatus, Facts, Snapshot, Trigger

StatusHandler = Callable[[EngineStatus], None]


class Completes(Protocol):
    """What a window needs of a completer."""

    def stream(  # noqa: D102
        self, snapshot: Snapshot, *, trigger: Trigger = "automatic", n: int = 1
    ) -> AsyncIterator[Completion]: ...
    def facts(self, snapshot: Snapshot, trigger: Trigger) -> Facts: ...  # noqa: D102
    async def prompt(self, snapshot: Snapshot) -> Any: ...  # noqa: D102
    def rests(self, snapshot: Snapshot | None) -> None: ...  # noqa: D102
    def edited(self, uri: str, text_of: Callable[[], str | None]) -> None: ...  # noqa: D102
    def dismiss(self, snapshot: Snapshot, text: str) -> None: ...  # noqa: D102


class Link(Protocol):
    """The connection to an engine: found or started in the background, followed, and found again after it stopped."""

    @property
    def completer(self) -> Completes | None:
        """The completer that can answer now, or None."""
        ...

    def start(self) -> None:
        """Begin; return at once."""
        ...

    def configure(self, config: Config) -> None:
        """Take new settings of the window; those of the engine have not changed."""
        ...

    async def wait_ready(self, timeout_s: float) -> Completes | None:
        """Return the completer as soon as there is one; None after ``timeout_s`` or when there cannot be one."""
        ...

    async def stats(self) -> dict[str, Any]:
        """Return the engine's counters; {} while there is no engine."""
        ...

    async def debug_block(self, seconds: float) -> None:
        """Keep the engine busy."""
        ...

    def report(self, error: EngineError) -> None:
        """Report that a request failed."""
        ...

    async def aclose(self) -> None:
        """Disconnect from the engine."""
        ...


class BackgroundLink:
    """A link that a task of its own maintains: ``_run``. Every problem is in the status."""

    def __init__(
        self, config: Config, on_status: StatusHandler, sources: Sequence[ContextSource], status: EngineStatus
    ) -> None:
        self._config, self._on_status, self._sources = config, on_status, sources
        self._task: asyncio.Task[None] | None = None
        self._changed, self._asked = asyncio.Event(), asyncio.Event()
        self.completer: Completer | None = None
        self.status = status

    def start(self) -> None:
        """Begin; return at once."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def configure(self, config: Config) -> None:
        """Take new settings of the window. A link that was abandoned tries again."""
        self._config = config
        if self.completer is not None:
            self.completer.config = config
        self._try_again()

    async def wait_ready(self, timeout_s: float) -> Completer | None:
        """Return the completer as soon as an engine is ready; None after ``timeout_s`` or when none can be ready.

        A link that was abandoned tries again: only an explicit request waits.
        """
        self._try_again()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.completer is None and self.status.state not in ("error", "off"):
                    self._changed.clear()
                    await self._changed.wait()
        return self.completer

    async def aclose(self) -> None:
        """Disconnect from the engine, which stays for other windows."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._drop()

    def _set(self, status: EngineStatus) -> None:
        if status != self.status:
            self.status = status
            self._on_status(status)
        self._changed.set()

    def _try_again(self) -> None:
        self._asked.set()

    async def _run(self) -> None:
        raise NotImplementedError

    async def _drop(self) -> None:
        """Release what the task made."""
        completer, self.completer = self.completer, None
        if completer is not None:
            await completer.aclose()
