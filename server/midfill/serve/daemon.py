"""The engine process: found by a record in the runtime folder, one a model by a lock, started by whoever needs it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from midfill import __version__, paths
from midfill.config import Config
from midfill.engine import environment
from midfill.engine.base import EngineError
from midfill.engine.http import HttpEngine
from midfill.types import EngineStatus, MidfillError

log = logging.getLogger(__name__)

START_S = 30.0  # a new engine's socket must answer within this
ERROR_LINGER_S = 5.0  # an engine that could not load tells its front ends so, and leaves
STUCK_S = 60.0  # the worker did not get on for so long while busy: the process ends, front ends start another
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


def place(config: Config) -> Place:
    """One engine a model, device and number format; windows that want the same share it. Raises MidfillError."""
    identity = json.dumps([_model(config), config.device, config.dtype, config.template])
    return Place(paths.runtime_dir(), hashlib.sha256(identity.encode()).hexdigest()[:12])


def _model(config: Config) -> str:
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


def spawn(config: Config) -> subprocess.Popen[bytes]:
    """Start an engine that outlives us. It leaves by itself if another was faster. Raises MidfillError."""
    env = {**os.environ, "PYTHONSAFEPATH": "1"}
    environment.complete(env)
    command = [sys.executable, "-P", "-m", "midfill", "serve", "--quiet"]
    command += [f"--model={_model(config)}", f"--device={config.device}", f"--dtype={config.dtype}"]
    command += [f"--template={config.template}", f"--idle-exit={config.engine_idle_exit_s}"]
    command += [f"--max-adapters={config.max_adapters}"]
    with _log_file(paths.state_dir() / "log" / "engine.log") as out:
        try:
            return subprocess.Popen(  # noqa: S603 - our own interpreter
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                cwd=paths.runtime_dir(), env=env, close_fds=True,
            )  # fmt: skip
        except OSError as error:
            raise MidfillError(f"cannot start the engine: {error.strerror}", "run: midfill doctor") from error


def _log_file(file: Path) -> Any:
    """The engine's log, open for writing; the null device where it cannot be written."""
    with contextlib.suppress(OSError):
        if file.stat().st_size > 2_500_000:
            file.replace(file.with_suffix(".log.1"))
    try:
        paths.private_dir(file.parent)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except (OSError, MidfillError):
        return Path(os.devnull).open("wb")
    return os.fdopen(descriptor, "wb")


async def find_or_spawn(config: Config) -> HttpEngine:
    """A client of the running engine of this version, started if need be. Raises EngineError or MidfillError."""
    where = place(config)
    child: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        address = find(where)
        if address is not None and (engine := await _greet(address)) is not None:
            return engine
        if child is None or (child.poll() is not None and not is_running(where)):
            if child is not None and child.returncode != 0:
                raise EngineError(f"the engine ended with code {child.returncode}", _why(child))
            child = spawn(config)
        await asyncio.sleep(0.05)
    raise EngineError("the engine did not start in time", f"see {paths.state_dir() / 'log' / 'engine.log'}")


def _why(child: subprocess.Popen[bytes]) -> str:
    log_file = paths.state_dir() / "log" / "engine.log"
    with contextlib.suppress(OSError):
        last = log_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1]
        return f"{last[:200]}; see {log_file}"
    return "run: midfill doctor"


async def _greet(address: Address) -> HttpEngine | None:
    """A client of ``address`` if somebody of our version answers there; one of another version is asked to leave."""
    engine = address.connect()
    try:
        answer = await engine.client.get("/midfill/status", timeout=5.0)
        state = answer.json() if answer.status_code == 200 else {}
        if state.get("version") == __version__ and not state.get("draining"):
            return engine
        if answer.status_code == 200 and not state.get("draining"):
            await engine.client.post("/midfill/shutdown", json={}, timeout=5.0)
    except Exception as error:  # noqa: BLE001 - refused, timed out, garbage: nobody we can use is there
        log.debug("no engine at the recorded address: %s", type(error).__name__)
    await engine.aclose()
    return None


# ---- the engine's own side -----------------------------------------------------------------------------------------


def serve(config: Config, *, tcp: tuple[str, int] | None = None, quiet: bool = False) -> int:
    """Run an engine until it is told to leave or has been idle. Returns the exit code.

    Raises MidfillError where it could not load its model; its front ends were told so meanwhile.
    """
    where = place(config)
    lock = FileLock(where.lock, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        present = find(where)
        print(f"an engine for this model is already running (pid {present.pid if present else 'unknown'})")
        return 0
    environment.complete(os.environ)  # before torch is loaded
    listener = _listen(where, tcp)
    token = secrets.token_urlsafe(32)
    bound = listener.getsockname()
    address = Address(
        os.getpid(), str(where.socket) if tcp is None and HAS_UNIX_SOCKETS else "",
        0 if tcp is None and HAS_UNIX_SOCKETS else bound[1], token, __version__,
    )  # fmt: skip
    if not quiet:
        print(f"midfill engine for model {config.model!r} listens on {address.socket or f'127.0.0.1:{address.port}'}")
        print(f"address and token: {where.record}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again when it is done
    try:
        last = asyncio.run(_serve(config, where, listener, address))
    finally:
        where.record.unlink(missing_ok=True)
        if address.socket:
            where.socket.unlink(missing_ok=True)
        lock.release()
    if last.state == "error":
        raise MidfillError(last.message, last.remedy)
    return 0


def _listen(where: Place, tcp: tuple[str, int] | None) -> socket.socket:
    if tcp is None and HAS_UNIX_SOCKETS:
        where.socket.unlink(missing_ok=True)  # stale: we hold the lock
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o177)
        try:
            listener.bind(str(where.socket))
        finally:
            os.umask(old)
    else:
        host, port = tcp or ("127.0.0.1", 0)
        if host not in ("127.0.0.1", "localhost", "::1"):
            raise MidfillError(f"midfill serve listens on this machine only, not on {host}", "use 127.0.0.1")
        listener = socket.socket(socket.AF_INET6 if host == "::1" else socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise MidfillError(f"cannot listen on {host}:{port}: {error.strerror}", "choose another port") from error
    listener.listen(128)
    return listener


def write_record(where: Place, address: Address) -> None:
    """Publish the address: private, whole or not at all."""
    temporary = where.record.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(asdict(address), out)
    temporary.replace(where.record)


async def _serve(config: Config, where: Place, listener: socket.socket, address: Address) -> EngineStatus:
    import uvicorn

    from midfill.engine.local.engine import LocalEngine
    from midfill.serve.app import Service

    engine = LocalEngine(
        config.model, device=config.device, dtype=config.dtype, template=config.template,
        max_adapters=config.max_adapters,
    )  # fmt: skip

    def leave() -> None:
        server.should_exit = True

    service = Service(engine, address.token, leave)
    server = uvicorn.Server(
        uvicorn.Config(
            service.app(), log_level="warning", access_log=False, lifespan="off", http="h11",
            timeout_graceful_shutdown=3, timeout_keep_alive=30,
        )
    )  # fmt: skip
    engine.start()
    threading.Thread(target=_watch, args=(engine,), daemon=True).start()
    housekeeping = asyncio.create_task(_leave_when_idle(service, engine, config.engine_idle_exit_s, leave))
    write_record(where, address)
    try:
        await server.serve(sockets=[listener])
        return engine.status
    finally:
        service.draining = True
        housekeeping.cancel()
        await engine.aclose()


async def _leave_when_idle(service: Any, engine: Any, idle_exit_s: float, leave: Any) -> None:
    failed_at: float | None = None
    while True:
        await asyncio.sleep(min(1.0, idle_exit_s / 4))
        if engine.status.state == "error":
            failed_at = failed_at or time.monotonic()
            if time.monotonic() - failed_at > ERROR_LINGER_S:
                service.draining = True
                leave()
                return
        if service.clients.idle_s() > idle_exit_s:
            service.draining = True
            leave()
            return


def _watch(engine: Any) -> None:
    """End the process when its worker hangs: a dead engine is started again, a stuck one never answers."""
    while True:
        time.sleep(1.0)
        if engine.busy and time.monotonic() - engine.progress_at > STUCK_S:
            print(f"the engine's worker has not got on for {STUCK_S:.0f} s; leaving", file=sys.stderr, flush=True)
            os._exit(70)
