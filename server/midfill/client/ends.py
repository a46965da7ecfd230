"""How an engine ended, in words for users: its keeper recorded it, or the language server that killed it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from midfill.faults import says_no_memory
from midfill.types import MidfillError

MORE_MEMORY = "close other programs, set context_tokens lower, or choose a smaller model"
WAIT_S = 2.0  # seconds: a keeper needs a moment to write


@dataclass(frozen=True, slots=True)
class End:
    """``code`` is an exit status, or minus the number of a signal. ``last``: the engine's last line, ``remedy``: what
    to do, in the engine's words."""

    pid: int
    keeper: int
    code: int
    last: str
    remedy: str = ""


def read(file: Path) -> End | None:
    """Return the last end of an engine that is recorded in ``file``."""
    try:
        content = json.loads(file.read_bytes()[:4096])
        pid, by, code = (int(content[key]) for key in ("pid", "keeper", "code"))
        return End(pid, by, code, str(content["last"]), str(content.get("remedy", "")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


async def of(file: Path, pid: int) -> End | None:
    """Return the end of the engine, or keeper, with that process id; None if none becomes known within WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    while True:
        end = await asyncio.to_thread(read, file)
        if end is not None and pid in (end.pid, end.keeper):
            return end
        if time.monotonic() > deadline:
            return None
        await asyncio.sleep(0.05)


def write(file: Path, pid: int, why: str) -> None:
    """Record that this process kills the engine ``pid``, so that the system is not blamed for it."""
    with contextlib.suppress(OSError):
        temporary = file.with_suffix(f".{os.getpid()}.tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            json.dump(asdict(End(pid, 0, 0, why)), out)
        temporary.replace(file)


def told(end: End) -> MidfillError:
    """Return ``end`` in words."""
    if end.code == 0:
        return MidfillError(f"the engine stopped: {end.last}", "run: midfill doctor")
    if end.code == -getattr(signal, "SIGKILL", 9):
        return MidfillError("the engine was killed, probably by the system because memory ran out", MORE_MEMORY)
    if not end.remedy and says_no_memory(end.last):  # the message of a library that ended the process
        return MidfillError("the engine ran out of memory", MORE_MEMORY)
    if end.code < 0:
        name = str(-end.code)
        with contextlib.suppress(ValueError):
            name = signal.Signals(-end.code).name
        return MidfillError(f"the engine crashed ({name}){_said(end)}", "run: midfill doctor")
    if end.remedy:
        return MidfillError(end.last, end.remedy)
    return MidfillError(f"the engine ended with code {end.code}{_said(end)}", "run: midfill doctor")


def _said(end: End) -> str:
    return f": {end.last}" if end.last else ""
