"""A soak: several windows on one engine, with cancels, edits, and kills of windows and of the engine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.wire import REPOSITORY, Footprint, folders
from tests.soak.window import Say, Window

WARM_SHARE = 0.2  # of the completions, before memory is compared
READY_S = 300.0  # the real model may have to be prepared first


@dataclass(frozen=True, slots=True)
class Soaked:
    """The result of a soak."""

    n_asked: int
    n_answered: int
    n_shown: int
    n_cancelled: int
    n_edits: int
    n_window_kills: int
    n_engine_kills: int
    seconds: float
    warm: Footprint  # of the window that is never killed
    end: Footprint
    engine: Footprint
    faults: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.n_asked} completions asked, {self.n_answered} answered, {self.n_shown} with text; "
            f"{self.n_cancelled} cancels, "
            f"{self.n_edits} edits, {self.n_window_kills} windows and {self.n_engine_kills} engines killed in "
            f"{self.seconds:.0f} s; a window: {self.warm} -> {self.end}; the last engine: {self.engine}; "
            f"{len(self.faults)} faults {self.faults[:3]}"
        )


def soak(
    home: Path, n_completions: int, *, n_windows: int = 4, n_kills: int = 20, real: bool = False,
    max_s: float = float("inf"), say: Say = lambda _line: None,
) -> Soaked:  # fmt: skip
    """Request ``n_completions``, or as many as ``max_s`` seconds allow; the caller judges.

    ``real``: the embedded model instead of the echo. The engine, and each window but the first, is killed ``n_kills``
    times, evenly spread over the completions.
    """
    settings = {"records": True, "max_debounce_s": 0, "candidates": 1, "max_tokens": 16, "engine_idle_exit_s": 60}
    env = folders(home, **settings, model="embedded" if real else str(home / "echo"), adapter="none")
    path = [REPOSITORY / "server"] if real else [Path(__file__).parent / "site", REPOSITORY, REPOSITORY / "server"]
    env["PYTHONPATH"] = os.pathsep.join(map(str, path))
    if real:
        del env["MIDFILL_CACHE_DIR"]  # the prepared model
    with tempfile.TemporaryDirectory(prefix="mf-") as runtime:  # short enough for a socket
        env["MIDFILL_RUNTIME_DIR"] = runtime
        windows = [Window(name + 1, env, home, echoes=not real) for name in range(n_windows)]
        try:
            return _Soak(windows, Path(runtime), n_completions, n_kills, max_s, say).run()
        finally:
            for window in windows:
                if window.wire is not None:
                    window.wire.close()
            for pid in engines(Path(runtime)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 10
            while list(engines(Path(runtime))) and time.monotonic() < deadline:
                time.sleep(0.1)


def engines(runtime: Path) -> Iterator[int]:
    """Yield the recorded engines' processes that live: another process may have the number of an old record by now."""
    for record in runtime.glob("engine-*.json"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(json.loads(record.read_text(encoding="utf-8"))["pid"])
            if b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                yield pid


class _Soak:
    def __init__(
        self, windows: list[Window], runtime: Path, n_completions: int, n_kills: int, max_s: float, say: Say
    ) -> None:
        self._windows, self._runtime, self._n = windows, runtime, n_completions
        self._n_kills, self._max_s, self._say = n_kills, max_s, say
        self._killed = [0, 0]  # windows, engines
        self._over = threading.Event()

    def run(self) -> Soaked:
        for window in self._windows:
            window.start()
        self._until_ready()
        start = time.monotonic()
        threads = [threading.Thread(target=self._live, args=(window,)) for window in self._windows]
        for thread in threads:
            thread.start()
        warm = self._disturb(start)
        self._over.set()
        for thread in threads:
            thread.join()
        end = self._windows[0].footprint()
        engine = next((Footprint.of(pid) for pid in engines(self._runtime)), end)
        for window in self._windows:
            window.close()
        counts = [window.counts for window in self._windows]
        return Soaked(
            sum(c.asked for c in counts), sum(c.answered for c in counts), sum(c.shown for c in counts),
            sum(c.cancelled for c in counts), sum(c.edits for c in counts),
            self._killed[0], self._killed[1], time.monotonic() - start, warm, end,
            engine, tuple(fault for window in self._windows for fault in window.faults),
        )  # fmt: skip

    def _until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while not self._windows[0].is_shown_something():
            assert time.monotonic() < deadline, "no engine came"
            time.sleep(0.1)

    def _n_asked(self) -> int:
        return sum(window.counts.asked for window in self._windows)

    def _due(self, n_done: int, shift: float = 0.0) -> bool:
        """Whether the next kill is due, by the number of requests so far."""
        return self._n_asked() > self._n * (n_done + 0.5 + shift) / (self._n_kills + 1) and n_done < self._n_kills

    def _live(self, window: Window) -> None:
        """Act as the user of a window; all but the first window are killed now and then, by their own thread."""
        shift = self._windows.index(window) / len(self._windows) / 2
        n_killed = 0
        while not self._over.is_set():
            window.act()
            if shift and self._due(n_killed, shift):
                n_killed += 1
                window.kill()
                self._killed[0] += 1
                window.start()

    def _disturb(self, start: float) -> Footprint:
        """Kill the engine now and then, until there were enough requests; return the first window's footprint after the
        warm-up."""
        warm: Footprint | None = None
        n_killed, said = 0, start
        while self._n_asked() < self._n and time.monotonic() < start + self._max_s:
            time.sleep(0.2)
            if warm is None and self._n_asked() > self._n * WARM_SHARE:
                warm = self._windows[0].footprint()
            if self._due(n_killed):
                n_killed += 1
                for pid in engines(self._runtime):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        self._killed[1] += 1
            if time.monotonic() - said > 30:
                said = time.monotonic()
                self._say(f"{self._n_asked()} asked, {said - start:.0f} s, {self._windows[0].footprint()}")
        return warm or self._windows[0].footprint()
