"""The notice, shown once per workspace, that code leaves this machine, and where to."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os

from midfill import paths
from midfill.addresses import leaving
from midfill.config import Config
from midfill.types import MidfillError

MAX_TOLD = 1000  # number of workspaces; the oldest are notified again
FILE = "told-hosts.json"


def untold(config: Config, folders: tuple[str, ...]) -> str:
    """Return the notice for a workspace that has not had it; "" otherwise. Reads and writes a file."""
    said = leaving(config.engine) if config.enabled else ""
    if not said:
        return ""
    key = hashlib.sha256("\0".join([said, *sorted(folders)]).encode("utf-8", "replace")).hexdigest()[:24]
    with contextlib.suppress(OSError, MidfillError):
        file = paths.private_dir(paths.state_dir()) / FILE
        try:
            known = [str(one) for one in json.loads(file.read_text(encoding="ascii"))]
        except (OSError, ValueError, TypeError, RecursionError):
            known = []
        if key in known:
            return ""
        temporary = file.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps([*known, key][-MAX_TOLD:]), encoding="ascii")
        temporary.replace(file)
    return said
