"""What midfill takes of a machine: seconds until it is ready, memory, disk, and windows beside each other.

    midfill bench --footprint

Everything happens in empty folders of its own: a start that prepares the model and compiles the kernels, later starts,
then ten language servers that each answer a request and rest. Memory is what is resident, as the system tells it of
every process (Linux; elsewhere that is not measured). While somebody works in a window it has processes that parse and
infer beside it; they leave when they had nothing to do for a while, and only one window is worked in at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midfill import config_files, paths
from midfill.bench.goals import Verdict
from midfill.bench.holes import read_module
from midfill.commands.session import connected
from midfill.config import Config
from midfill.context.knowledge import store
from midfill.demo.client import Client
from midfill.engine import record
from midfill.engine.http import HttpEngine
from midfill.eval.about import commit, machine, versions

N_STARTS = 3  # from the cache
N_WINDOWS = 10
LOOK_S = 0.05
SETTLE_S = 2.0
REST_S = store.IDLE_S + 10.0  # after which every child has left
ANSWER_S = 120.0
GB = 1e9


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that one figure may be."""

    key: str
    name: str
    at_most: float
    unit: str

    def verdict(self, value: float | None) -> Verdict:
        """Whether ``value`` keeps it."""
        wanted = f"<= {self.at_most:g} {self.unit}"
        if value is None:
            return Verdict(self.name, wanted, "not measured", None, None)
        return Verdict(self.name, wanted, f"{value:.2f} {self.unit}", value, value <= self.at_most)


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


def judge(figures: dict[str, Any]) -> list[Verdict]:
    """Every limit's verdict."""
    return [limit.verdict(figures.get(limit.key)) for limit in LIMITS]


async def measure(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The figures, by the names of LIMITS; sizes in GB, times in seconds. ``folder`` is empty and our own."""
    os.environ |= {f"MIDFILL_{name}_DIR": str(folder / name.lower()) for name in ("CACHE", "STATE", "DATA")}
    config = config_files.load_user()
    figures: dict[str, Any] = {}
    say("the first start")
    async with _started(config) as (_, pid, seconds, preparing):
        figures |= {"first_ready_s": seconds, "preparing_gb": preparing, "after_first_gb": resident(pid)}
    figures["model_gb"] = size_of(paths.models_dir()) / GB
    ready: list[float] = []
    later: list[float] = []
    for number in range(N_STARTS):
        say(f"start {number + 1} of {N_STARTS} from the cache")
        async with _started(config) as (_, pid, seconds, _preparing):
            ready.append(seconds)
            later += [value for value in (resident(pid),) if value is not None]
    figures |= {"ready_s": statistics.median(ready), "after_later_gb": max(later, default=None)}
    say(f"{N_WINDOWS} windows")
    async with _started(config):
        working, resting = await _windows(folder, say)
    if resting:
        figures |= {"window_gb": statistics.median(resting), "windows_gb": sum(resting)}
        figures["working_window_gb"] = statistics.median(working)
    return {
        "bench": "footprint", **figures, "starts_s": ready, "machine": machine(), "versions": versions(),
        "commit": commit(),
    }  # fmt: skip


@contextlib.asynccontextmanager
async def _started(config: Config) -> AsyncIterator[tuple[HttpEngine, int, float, float | None]]:
    """An engine of our own, its pid, the seconds from nothing to ready, and the most that any of its children had."""
    most: list[float] = []
    looking = asyncio.create_task(_note_children(config, most))
    start = time.monotonic()
    async with connected(config, quiet=True) as (engine, _info):
        seconds = time.monotonic() - start
        looking.cancel()
        await asyncio.wait([looking])
        address = record.find(record.place(config))
        assert address is not None
        try:
            yield engine, address.pid, seconds, max(most, default=None)
        finally:
            os.kill(address.pid, signal.SIGTERM)
            while record.is_running(record.place(config)):
                await asyncio.sleep(0.1)


async def _note_children(config: Config, most: list[float]) -> None:
    """Add the GB that each child of the engine had at the most, again and again until cancelled."""
    while True:
        address = record.find(record.place(config))
        for pid in descendants(address.pid) if address is not None else ():
            most.extend(value for value in (_status(pid, "VmHWM"),) if value is not None)
        await asyncio.sleep(LOOK_S)


async def _windows(folder: Path, say: Callable[[str], None]) -> tuple[list[float], list[float]]:
    """GB that each window has with its child processes, after an answer and after a rest; [] where the system does not
    tell."""
    text = read_module("argparse")[:20_000]
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client.start()) for _ in range(N_WINDOWS)]
        for number, client in enumerate(clients):
            uri = (folder / f"window-{number}.py").as_uri()
            await client.request("initialize", {"processId": os.getpid(), "rootUri": None, "capabilities": {}})
            client.notify("initialized")
            document = {"uri": uri, "languageId": "python", "version": 1, "text": text}
            client.notify("textDocument/didOpen", {"textDocument": document})
            params = {
                "textDocument": {"uri": uri}, "position": {"line": 60 + number, "character": 0},
                "context": {"triggerKind": 1},
            }  # fmt: skip
            async with asyncio.timeout(ANSWER_S):
                await client.request("textDocument/inlineCompletion", params)
        await asyncio.sleep(SETTLE_S)
        working = [_with_children(client.pid) for client in clients]
        say(f"they rest for {REST_S:.0f} s")
        await asyncio.sleep(REST_S)
        resting = [_with_children(client.pid) for client in clients]
    return [each for each in working if each], [each for each in resting if each]


def _with_children(pid: int) -> float:
    return sum(resident(one) or 0.0 for one in (pid, *descendants(pid)))


def resident(pid: int) -> float | None:
    """GB that process ``pid`` has in memory."""
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
    """Its child processes and theirs, where the system tells."""
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, file.read_text(encoding="ascii").split()):
                yield child
                yield from descendants(child)


def size_of(folder: Path) -> int:
    """Bytes of all files in ``folder``."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
