"""Brings adapters from a folder into the engine, and notices whether their files have changed since.

All of it happens on one thread of its own: neither the event loop nor the worker ever waits for a disk. The worker only
installs adapters that were read and checked as a whole.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from midfill.engine.base import EngineError
from midfill.engine.local.lora.adapter import Adapter
from midfill.engine.local.lora.files import Signature, refusal, signature
from midfill.faults import described
from midfill.types import MidfillError

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
N_TRIES = 3


class AdapterHost(Protocol):
    """What the loader needs of the engine. Called on the loader's thread."""

    def resident_adapters(self) -> Mapping[str, Adapter]:
        """Return the resident adapters by name; the mapping never changes once returned."""
        ...

    def read_adapter(self, name: str, folders: Sequence[Path]) -> Adapter:
        """Read and check the sum of the adapters in ``folders``, and lay it out for use. Raises MidfillError."""
        ...

    def install_adapter(self, adapter: Adapter, *, replacing: Adapter | None) -> None:
        """Make ``adapter`` usable and wait until it is. Does nothing if ``replacing`` is
        no longer resident. May raise."""
        ...


class AdapterLoader:
    """Loads and checks on demand, and looks every second whether files of resident adapters were replaced.

    New files are loaded as soon as they have not changed between two looks. Unusable ones are reported once, in
    ``problems``; the adapter loaded before stays, and the files are tried again when they change.
    """

    def __init__(self, host: AdapterHost) -> None:
        self._host = host
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._files: dict[str, tuple[Signature, Signature]] = {}  # name -> (last tried, seen at the last look)
        self._thread = threading.Thread(target=self._run, name="midfill-adapters", daemon=True)
        self.problems: dict[str, MidfillError] = {}  # by adapter; replaced as a whole, never changed

    def start(self) -> None:
        """Start the thread; if a loader is never started, its futures never finish."""
        self._thread.start()

    def close(self) -> None:
        """End after the current work."""
        self._queue.put(None)

    def load(self, name: str, folders: tuple[Path, ...]) -> Future[Adapter]:
        """Make the sum of the adapters in ``folders`` usable as ``name``. The future raises MidfillError."""
        return self._ask(lambda: self._load(name, folders))

    def check(self, folders: tuple[Path, ...]) -> Future[Adapter]:
        """Only read and check the adapters in ``folders``. The future raises MidfillError."""
        return self._ask(lambda: self._read("", folders)[0])

    def _ask(self, action: Callable[[], Adapter]) -> Future[Adapter]:
        future: Future[Adapter] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(action())
            except Exception as error:  # noqa: BLE001 - handed to the caller
                future.set_exception(error)

        self._queue.put(work)
        return future

    # ---- on its thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                work = self._queue.get(timeout=LOOK_EVERY_S if self._host.resident_adapters() else None)
            except queue.Empty:
                self._look()
                continue
            if work is None:
                return
            work()

    def _load(self, name: str, folders: tuple[Path, ...]) -> Adapter:
        present = self._host.resident_adapters().get(name)
        known = self._files[name][0] if name in self._files and name not in self.problems else None
        if present is not None and present.folders == folders and known == signature(folders):
            return present
        adapter, files = self._read(name, folders)
        self._host.install_adapter(adapter, replacing=None)
        self._taken(name, files)
        return adapter

    def _read(self, name: str, folders: tuple[Path, ...]) -> tuple[Adapter, Signature]:
        """Return the adapter and the signature of the files it was read from, both of one
        moment. Raises MidfillError."""
        for _ in range(N_TRIES):
            before = signature(folders)
            try:
                adapter, error = self._host.read_adapter(name, folders), None
            except MidfillError as caught:
                adapter, error = None, caught
            except Exception as caught:  # noqa: BLE001 - torch, memory: a file must not end this thread
                log.debug("reading an adapter failed: %s", described(caught))
                reason = f"it cannot be read ({type(caught).__name__})"
                adapter, error = None, refusal(_as_one(folders), reason, "save it again with PEFT")
            if signature(folders) == before:
                if adapter is None:
                    assert error is not None
                    raise error
                return adapter, before
        raise refusal(_as_one(folders), "its files change all the time", "try again when they are written")

    def _taken(self, name: str, files: Signature) -> None:
        self._files[name] = files, files
        self.problems = {other: problem for other, problem in self.problems.items() if other != name}

    def _look(self) -> None:
        residents = self._host.resident_adapters()
        self._files = {name: files for name, files in self._files.items() if name in residents}
        self.problems = {name: problem for name, problem in self.problems.items() if name in residents}
        for name, adapter in residents.items():
            if name not in self._files:
                continue
            tried, seen = self._files[name]
            now = signature(adapter.folders)
            self._files[name] = tried, now
            if now == seen != tried:
                self._replace(name, adapter, now)

    def _replace(self, name: str, old: Adapter, files: Signature) -> None:
        try:
            adapter, files = self._read(name, old.folders)
            if adapter.digest != old.digest:
                self._host.install_adapter(adapter, replacing=old)
                log.info("adapter %s was replaced", name)
        except EngineError:
            return  # the engine is shutting down
        except MidfillError as error:
            self._files[name] = files, files
            problem = MidfillError(f"{error.message}; the old version stays active", error.remedy)
            self.problems = {**self.problems, name: problem}
            log.warning("%s", problem)
        else:
            self._taken(name, files)


def _as_one(folders: Sequence[Path]) -> Path:
    """Return a path whose name is that of all ``folders``, for messages."""
    return Path("+".join(folder.name for folder in folders))
