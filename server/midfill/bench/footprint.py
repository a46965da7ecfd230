"""What midfill takes of a machine: seconds until it is ready, memory, disk, and several windows at once.

    midfill bench footprint

Everything happens in empty folders of its own: a start that prepares the model and compiles the kernels, later starts,
then ten language servers that each answer a request and rest. Memory is what is resident, as the system reports it for
every process (Linux; on other systems it is not measured). While the user works in a window, it also has processes that
parse and infer; they exit after some time without work, and the user works in only one window at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midfill import config_files, paths
from midfill.bench.goals import GoalResult, Measured
from midfill.bench.holes import read_module
from midfill.bench.own import move_data, started
from midfill.config import Config
from midfill.context.knowledge import store
from midfill.demo.client import OpenFile, ServerProcess
from midfill.engine import record

N_STARTS = 3  # from the cache
N_WINDOWS = 10
LOOK_S = 0.05
SETTLE_S = 2.0
# After which every child has exited, unless it still works on a busy machine; then it is waited for a while longer.
REST_S, MAX_REST_S = store.IDLE_S + 10.0, 3 * store.IDLE_S
ANSWER_S = 120.0
GB = 1e9


@dataclass(frozen=True, slots=True)
class Limit:
    """The upper limit of one figure."""

    key: str
    name: str
    at_most: float
    unit: str

    def verdict(self, value: float | None) -> GoalResult:
        """Return the verdict on ``value``: whether it is within the limit."""
        wanted = f"<= {self.at_most:g} {self.unit}"
        if value is None:
            return GoalResult(self.name, wanted, "not measured", None, None)
        return GoalResult(self.name, wanted, f"{value:.2f} {self.unit}", value, value <= self.at_most)


LIMITS = (
    Limit("first_ready_s", "ready, the first time", 25.0, "s"),
    Limit("ready_s", "ready, from the cache", 3.0, "s"),
    Limit("preparing_gb", "preparing, at the most", 1.3, "GB"),
    Limit("after_first_gb", "engine after the first start", 1.0, "GB"),
    Limit("after_later_gb", "engine after a later start", 1.0, "GB"),
    Limit("model_gb", "the prepared model on the disk", 0.6, "GB"),
    Limit("window_gb", "a window, with what it started", 0.08, "GB"),
    Limit("windows_gb", f"{N_WINDOWS} windows", 0.8, "GB"),
)


def judge(figures: Mapping[str, Any]) -> list[GoalResult]:
    """Return every limit's verdict."""
    return [limit.verdict(figures.get(limit.key)) for limit in LIMITS]


async def measure(options: argparse.Namespace, folder: Path, say: Callable[[str], None]) -> Measured:
    """Return the figures, by the names of LIMITS; sizes in GB, times in seconds. ``folder`` is empty and our own."""
    move_data(folder, "CACHE", "STATE", "DATA")
    config = config_files.load_user()
    figures: dict[str, Any] = {}
    preparing: list[float] = []
    say("the first start")
    looking = asyncio.create_task(_note_children(config, preparing))
    async with started(config) as first:
        looking.cancel()
        await asyncio.wait([looking])
        figures |= {"first_ready_s": first.seconds, "after_first_gb": resident(first.pid)}
    figures["preparing_gb"] = max(preparing, default=None)
    figures["model_gb"] = size_of(paths.models_dir()) / GB
    ready: list[float] = []
    later: list[float] = []
    for number in range(N_STARTS):
        say(f"start {number + 1} of {N_STARTS} from the cache")
        async with started(config) as again:
            ready.append(again.seconds)
            later += [value for value in (resident(again.pid),) if value is not None]
    figures |= {"ready_s": statistics.median(ready), "after_later_gb": max(later, default=None)}
    say(f"{N_WINDOWS} windows")
    async with started(config):
        working, resting = await _windows(folder, say)
    if resting:
        figures |= {"window_gb": statistics.median(resting), "windows_gb": sum(resting)}
        figures["working_window_gb"] = statistics.median(working)
    return {**figures, "starts_s": ready}, judge(figures)


async def _note_children(config: Config, most: list[float]) -> None:
    """Add the peak GB of each child of the engine, again and again until cancelled."""
    while True:
        address = record.find(record.place(config))
        for pid in descendants(address.pid) if address is not None else ():
            most.extend(value for value in (_status(pid, "VmHWM"),) if value is not None)
        await asyncio.sleep(LOOK_S)


async def _windows(folder: Path, say: Callable[[str], None]) -> tuple[list[float], list[float]]:
    """Return the GB of each window with its child processes, after an answer and after a rest; [] if the system does
    not report them."""
    text = read_module("argparse")[:20_000]
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(ServerProcess.start()) for _ in range(N_WINDOWS)]
        for number, client in enumerate(clients):
            uri = (folder / f"window-{number}.py").as_uri()
            await client.initialize()
            file = OpenFile(client, uri, text)
            async with asyncio.timeout(ANSWER_S):
                await file.ask("\n" * (60 + number), lambda value: None, invoked=True)
        await asyncio.sleep(SETTLE_S)
        working = [_with_children(client.pid) for client in clients]
        say(f"they rest for {REST_S:.0f} s, {MAX_REST_S:.0f} at the most")
        began = time.monotonic()
        await asyncio.sleep(REST_S)
        while any(any(descendants(client.pid)) for client in clients) and time.monotonic() < began + MAX_REST_S:
            await asyncio.sleep(SETTLE_S)
        resting = [_with_children(client.pid) for client in clients]
    return [each for each in working if each], [each for each in resting if each]


def _with_children(pid: int) -> float:
    return sum(resident(one) or 0.0 for one in (pid, *descendants(pid)))


def resident(pid: int) -> float | None:
    """Return the GB of process ``pid`` that are resident."""
    return _status(pid, "VmRSS")


def _status(pid: int, key: str) -> float | None:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024 / GB
    return None


def descendants(pid: int) -> Iterator[int]:
    """Yield its child processes and theirs, if the system reports them."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, file.read_text(encoding="ascii").split()):
                yield child
                yield from descendants(child)


def size_of(folder: Path) -> int:
    """Return the bytes of all files in ``folder``."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
