"""The local engine, found by its record or started."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from midfill import __version__, paths, safe_path
from midfill.client import ends, keeper
from midfill.config import Config
from midfill.engine import environment
from midfill.engine.base import EngineError
from midfill.engine.http import HttpEngine
from midfill.engine.record import Address, RuntimeFiles, find, is_running, model_of, place
from midfill.types import MidfillError

log = logging.getLogger(__name__)

START_S = 60.0  # seconds within which a new engine's socket must answer, even if a build keeps the machine busy


def spawn(config: Config) -> subprocess.Popen[bytes]:
    """Start an engine that outlives us. It exits by itself if another one was faster. Raises MidfillError."""
    where = place(config)
    env = safe_path.child_environment()
    environment.complete(env)
    command = [sys.executable, "-P", "-m", "midfill", "serve", "--quiet"]
    command += [f"--model={model_of(config)}", f"--device={config.device}", f"--dtype={config.dtype}"]
    command += [f"--template={config.template}", f"--idle-exit={config.engine_idle_exit_s}"]
    command += [f"--max-adapters={config.max_adapters}"]
    with _output() as out:
        if hasattr(os, "fork"):
            kept = [log_file() or "", str(where.end), json.dumps(command)]
            command = [sys.executable, "-I", "-S", keeper.__file__, *kept]
        try:
            return subprocess.Popen(  # noqa: S603 - our own interpreter
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                cwd=where.folder, env=env, close_fds=True,
            )  # fmt: skip
        except OSError as error:
            raise MidfillError(f"cannot start the engine: {error.strerror}", "run: midfill doctor") from error


def log_file() -> str | None:
    """Return the engines' log; None if it cannot be written, because an engine needs no log."""
    try:
        return str(paths.private_dir(paths.state_dir() / "log") / "engine.log")
    except MidfillError:
        return None


def _output() -> Any:
    """Return the file that an engine without a keeper writes to."""
    if not hasattr(os, "fork") and (file := log_file()) is not None:
        with contextlib.suppress(OSError):
            if Path(file).stat().st_size > keeper.RING_BYTES:
                Path(file).replace(file + ".1")
            return Path(file).open("ab")
    return Path(os.devnull).open("wb")


async def find_or_spawn(config: Config) -> HttpEngine:
    """Return a client of the running engine of this version, started if necessary. Raises EngineError or
    MidfillError."""
    where = place(config)
    child: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        address = find(where)
        if address is not None and (engine := await _greet(address)) is not None:
            return engine
        if child is None or (child.poll() is not None and not is_running(where)):
            if child is not None and child.returncode != 0:
                raise await _failed_start(where, child)
            child = spawn(config)
        await asyncio.sleep(0.05)
    raise EngineError("the engine did not start in time", f"see {paths.state_dir() / 'log' / 'engine.log'}")


async def why(config: Config, pid: int) -> MidfillError | None:
    """Return in words how the engine ``pid`` of ``config`` ended, if known."""
    end = await ends.of(place(config).end, pid) if pid else None
    return ends.told(end) if end is not None else None


async def _failed_start(where: RuntimeFiles, child: subprocess.Popen[bytes]) -> EngineError:
    """Return why ``child`` ended, only from its own record: all engines share the log."""
    if (end := await ends.of(where.end, child.pid)) is not None:
        error = ends.told(end)
        return EngineError(error.message, error.remedy)
    return EngineError(f"the engine ended with code {child.returncode}", "run: midfill doctor")


async def _greet(address: Address) -> HttpEngine | None:
    """Return a client of ``address`` if an engine of our version answers there; ask one of another version to exit."""
    engine = address.connect()
    try:
        version, draining = await engine.version()
        if version == __version__ and not draining:
            return engine
        if not draining:
            await engine.client.post("/midfill/shutdown", json={}, timeout=5.0)
    except Exception as error:  # noqa: BLE001 - refused, timed out, garbage: no engine of ours is there
        log.debug("no engine at the recorded address: %s", type(error).__name__)
    await engine.aclose()
    return None
