"""Where the engine of a model listens: its files in the runtime folder, its lock, and the record of its address."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from midfill import paths
from midfill.config import Config
from midfill.engine.http import HttpEngine

HAS_UNIX_SOCKETS = hasattr(socket, "AF_UNIX") and sys.platform != "win32"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine listens. ``socket`` is a path, or empty where ``port`` on the loopback is used."""

    pid: int
    socket: str
    port: int
    token: str
    version: str

    def connect(self) -> HttpEngine:
        """A client of it."""
        if self.socket:
            return HttpEngine("http://midfill", token=self.token, uds=self.socket)
        return HttpEngine(f"http://127.0.0.1:{self.port}", token=self.token)


@dataclass(frozen=True, slots=True)
class Place:
    """The files of one engine in the runtime folder."""

    folder: Path
    key: str

    @property
    def lock(self) -> Path:
        """Held by the engine as long as it lives."""
        return self.folder / f"engine-{self.key}.lock"

    @property
    def record(self) -> Path:
        """Its address."""
        return self.folder / f"engine-{self.key}.json"

    @property
    def socket(self) -> Path:
        """Its socket."""
        return self.folder / f"engine-{self.key}.sock"

    @property
    def end(self) -> Path:
        """How the last one ended (ends.py)."""
        return self.folder / f"engine-{self.key}.end"

    @property
    def work(self) -> Path:
        """What it works on (suspects.py)."""
        return self.folder / f"engine-{self.key}.work"

    @property
    def suspects(self) -> Path:
        """Prompts during which an engine died (suspects.py)."""
        return self.folder / f"engine-{self.key}.suspects"


def place(config: Config) -> Place:
    """One engine a model, device and number format; windows that want the same share it. Raises MidfillError."""
    identity = json.dumps([model_of(config), config.device, config.dtype, config.template])
    return Place(paths.runtime_dir(), hashlib.sha256(identity.encode()).hexdigest()[:12])


def model_of(config: Config) -> str:
    """The setting, a relative path made absolute: the engine runs in another folder than whoever starts it."""
    is_path = config.model.startswith((".", "~")) or config.model.endswith(".gguf")
    return str(paths.expanded(config.model).absolute()) if is_path else config.model


def find(where: Place) -> Address | None:
    """The recorded address, if it is ours to trust. The engine may be gone all the same: connecting tells."""
    try:
        info = where.record.lstat()
        if sys.platform != "win32" and (info.st_uid != os.getuid() or info.st_mode & 0o077):
            return None
        return Address(**json.loads(where.record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_running(where: Place) -> bool:
    """Whether an engine holds the lock now."""
    lock = FileLock(where.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def write_record(where: Place, address: Address) -> None:
    """Publish the address: private, whole or not at all."""
    temporary = where.record.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(asdict(address), out)
    temporary.replace(where.record)
