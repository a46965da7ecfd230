"""Where the engine of a model listens: its files in the runtime folder, its lock, and the record of its address."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from midfill import paths
from midfill.config import Config

if TYPE_CHECKING:
    from midfill.engine.http import HttpEngine

HAS_UNIX_SOCKETS = hasattr(socket, "AF_UNIX") and sys.platform != "win32"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine listens. ``socket`` is a path, or empty if ``port`` on the loopback is used."""

    pid: int
    socket: str
    port: int
    token: str
    version: str

    def connect(self) -> HttpEngine:
        """Return a client for this address."""
        from midfill.engine.http import HttpEngine  # httpx takes a tenth of a second, and an engine does without

        if self.socket:
            return HttpEngine("http://midfill", token=self.token, uds=self.socket)
        return HttpEngine(f"http://127.0.0.1:{self.port}", token=self.token)


@dataclass(frozen=True, slots=True)
class RuntimeFiles:
    """The files of one engine in the runtime folder."""

    folder: Path
    key: str

    @property
    def lock(self) -> Path:
        """The lock that the engine holds as long as it lives."""
        return self.folder / f"engine-{self.key}.lock"

    @property
    def record(self) -> Path:
        """The file with its address."""
        return self.folder / f"engine-{self.key}.json"

    @property
    def socket(self) -> Path:
        """The engine's socket."""
        return self.folder / f"engine-{self.key}.sock"

    @property
    def end(self) -> Path:
        """The file that says how the last engine ended (ends.py)."""
        return self.folder / f"engine-{self.key}.end"

    @property
    def work(self) -> Path:
        """The file with the prompts it works on (suspects.py)."""
        return self.folder / f"engine-{self.key}.work"

    @property
    def suspects(self) -> Path:
        """The file with the prompts during which an engine died (suspects.py)."""
        return self.folder / f"engine-{self.key}.suspects"


def place(config: Config) -> RuntimeFiles:
    """Return the place for a model, device and number format: windows that want the same share one
    engine. Raises MidfillError."""
    identity = json.dumps([model_of(config), config.device, config.dtype, config.template])
    return RuntimeFiles(paths.runtime_dir(), hashlib.sha256(identity.encode()).hexdigest()[:12])


def model_of(config: Config) -> str:
    """Return the setting ``model``, with a relative path made absolute: the engine runs in another
    folder than its parent process."""
    is_path = config.model.startswith((".", "~")) or config.model.endswith(".gguf")
    return str(paths.expanded(config.model).absolute()) if is_path else config.model


def find(where: RuntimeFiles) -> Address | None:
    """Return the recorded address if it is ours to trust, else None. The engine may be gone
    all the same: connecting tells."""
    try:
        info = where.record.lstat()
        if sys.platform != "win32" and (info.st_uid != os.getuid() or info.st_mode & 0o077):
            return None
        return Address(**json.loads(where.record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_running(where: RuntimeFiles) -> bool:
    """Whether an engine holds the lock now."""
    lock = FileLock(where.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def write_record(where: RuntimeFiles, address: Address) -> None:
    """Publish the address: private, as a whole or not at all."""
    temporary = where.record.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(asdict(address), out)
    temporary.replace(where.record)
