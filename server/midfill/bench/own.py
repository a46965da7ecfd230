"""Folders and an engine of a benchmark's own: neither the user's engine nor the user's configuration takes part."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from midfill import paths
from midfill.commands.session import connected
from midfill.config import Config
from midfill.engine import record
from midfill.engine.http import HttpEngine
from midfill.types import ModelInfo

MODEL = "embedded"
# Settings of OpenMP that one contender would inherit from our environment.
OPENMP = ("OMP_", "GOMP_", "KMP_")
LEAVES_S = 10.0  # time for an engine to exit when asked


@contextlib.contextmanager
def own_folders() -> Iterator[Path]:
    """Use default settings and a runtime folder in a temporary folder; restore the environment at the end."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="midfill-bench-") as name:
        folder = Path(name)
        (folder / "config.toml").write_text(f'model = "{MODEL}"\nengine_idle_exit_s = 3600\n', encoding="utf-8")
        for key in [key for key in before if key.startswith((*OPENMP, "MIDFILL_SCRIPT", "MIDFILL_DEBUG"))]:
            del os.environ[key]
        os.environ |= {"MIDFILL_RUNTIME_DIR": str(folder / "run"), "MIDFILL_CONFIG": str(folder / "config.toml")}
        runtime = paths.runtime_dir()
        try:
            yield folder
        finally:
            shutil.rmtree(runtime, ignore_errors=True)  # a short replacement if the path was too long for a socket
            os.environ.clear()
            os.environ.update(before)


def move_data(folder: Path, *names: str) -> None:
    """Keep what midfill writes under ``names`` (CACHE, STATE, DATA) in ``folder`` too, until ``own_folders`` ends."""
    os.environ |= {f"MIDFILL_{name}_DIR": str(folder / name.lower()) for name in names}


@dataclass(frozen=True, slots=True)
class Started:
    """A ``midfill serve`` started as an editor would start it, and how long that took."""

    engine: HttpEngine
    info: ModelInfo
    pid: int
    seconds: float


@contextlib.asynccontextmanager
async def started(config: Config) -> AsyncIterator[Started]:
    """Yield an engine that is ready; stop it at the end."""
    where, start = record.place(config), time.monotonic()
    try:
        async with connected(config, quiet=True) as (engine, info):
            seconds = time.monotonic() - start
            address = record.find(where)
            assert address is not None
            yield Started(engine, info, address.pid, seconds)
    finally:
        await end(where)


async def end(where: record.RuntimeFiles) -> None:
    """Stop the engine at ``where``, if one runs."""
    address = record.find(where)
    if address is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not record.is_running(where):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(address.pid, number)
        deadline = time.monotonic() + LEAVES_S
        while record.is_running(where) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
