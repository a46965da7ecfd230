"""Whether closing a stream stops each engine: tried once a day, because a proxy that swallows it costs 512 tokens."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from pathlib import Path

from midfill import paths
from midfill.remote import probe
from midfill.remote.capabilities import Cancel
from midfill.remote.client import RemoteEngine
from midfill.remote.replicas import Replicas
from midfill.types import MidfillError

FILE = "cancels.json"
DAY_S = 24 * 3600.0
MAX_KNOWN = 200


async def look(engine: Replicas) -> None:
    """Fill in the capabilities of every connected replica. Never raises MidfillError."""
    known = _read()
    for replica in list(engine.replicas.values()):
        remote = replica.engine
        if not isinstance(remote, RemoteEngine):
            continue
        found = known.get(remote.address.base)
        if found is None:
            found = await probe.cancelled(remote)
            if found.freed_s is not None or found.swallowed:
                _remember(remote.address.base, found)
        replica.engine = dataclasses.replace(
            remote, capabilities=dataclasses.replace(remote.capabilities, cancel=found)
        )


def _file() -> Path:
    return paths.private_dir(paths.state_dir()) / FILE


def _raw() -> dict[str, list[float]]:
    """Return by address: when it was tried, and the seconds until the slot was free; -1: the cancellation was
    swallowed."""
    try:
        content = json.loads(_file().read_bytes()[: MAX_KNOWN * 300])
        fresh = {str(base): [float(at), float(freed_s)] for base, (at, freed_s) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, MidfillError, RecursionError):
        return {}
    return {base: one for base, one in fresh.items() if 0 <= time.time() - one[0] < DAY_S}


def _read() -> dict[str, Cancel]:
    return {
        base: Cancel(freed_s) if freed_s >= 0 else Cancel(None, probe.SWALLOWED, swallowed=True)
        for base, (_, freed_s) in _raw().items()
    }


def _remember(base: str, cancel: Cancel) -> None:
    freed_s = -1.0 if cancel.freed_s is None else cancel.freed_s
    content = dict(list({**_raw(), base: [time.time(), freed_s]}.items())[-MAX_KNOWN:])
    with contextlib.suppress(OSError, MidfillError):
        file = _file()
        temporary = file.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(content), encoding="utf-8")
        temporary.replace(file)
