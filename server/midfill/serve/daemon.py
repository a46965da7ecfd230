"""The engine process: found by a record in the runtime folder, one a model by a lock, started by whoever needs it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import math
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
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from midfill import __version__, faults, paths, safe_path
from midfill.config import Config
from midfill.engine import environment
from midfill.engine.base import EngineError
from midfill.engine.http import HttpEngine
from midfill.engine.suspects import Suspects, WorkLog, unfinished
from midfill.serve import ends, keeper
from midfill.types import EngineStatus, MidfillError

if TYPE_CHECKING:
    from midfill.serve.team.listen import TeamServer

log = logging.getLogger(__name__)

START_S = 60.0  # a new engine's socket must answer within this, also on a machine that is busy with a build
ERROR_LINGER_S = 5.0  # an engine that could not load tells its front ends so, and leaves
STUCK_S = 15  # the worker did not get on for this many seconds while busy: the process ends, front ends start another
STUCK = 70  # its exit status then
MAX_CONNECTIONS = 256
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
    where = place(config)
    env = safe_path.child_environment()
    environment.complete(env)
    command = [sys.executable, "-P", "-m", "midfill", "serve", "--quiet"]
    command += [f"--model={_model(config)}", f"--device={config.device}", f"--dtype={config.dtype}"]
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
    """The engines' log, None where it cannot be written: an engine needs none."""
    try:
        return str(paths.private_dir(paths.state_dir() / "log") / "engine.log")
    except MidfillError:
        return None


def _output() -> Any:
    """Where an engine without a keeper writes to."""
    if not hasattr(os, "fork") and (file := log_file()) is not None:
        with contextlib.suppress(OSError):
            if Path(file).stat().st_size > keeper.RING_BYTES:
                Path(file).replace(file + ".1")
            return Path(file).open("ab")
    return Path(os.devnull).open("wb")


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
                raise await _failed_start(where, child)
            child = spawn(config)
        await asyncio.sleep(0.05)
    raise EngineError("the engine did not start in time", f"see {paths.state_dir() / 'log' / 'engine.log'}")


async def why(config: Config, pid: int) -> MidfillError | None:
    """How the engine ``pid`` of ``config`` ended, in words, where that is known."""
    end = await ends.of(place(config).end, pid) if pid else None
    return ends.told(end) if end is not None else None


async def _failed_start(where: Place, child: subprocess.Popen[bytes]) -> EngineError:
    """Why ``child`` ended, from what was recorded of it alone: the log is every engine's."""
    if (end := await ends.of(where.end, child.pid)) is not None:
        error = ends.told(end)
        return EngineError(error.message, error.remedy)
    return EngineError(f"the engine ended with code {child.returncode}", "run: midfill doctor")


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


def serve(
    config: Config, *, tcp: tuple[str, int] | None = None, quiet: bool = False, team: TeamServer | None = None
) -> int:
    """Run an engine until it is told to leave or has been idle; for a ``team`` it stays. Returns the exit code.

    Raises MidfillError where it could not load its model; its front ends were told so meanwhile.
    """
    where = place(config)
    lock = FileLock(where.lock, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        present = find(where)
        if team is not None:
            message = "an engine for this model is already running here"
            raise MidfillError(message, "close the editors that use it, or end it") from None
        print(f"an engine for this model is already running (pid {present.pid if present else 'unknown'})")
        return 0
    _log_to_stderr()
    where.end.unlink(missing_ok=True)
    suspects = Suspects(where.suspects)
    if died_of := unfinished(where.work):
        suspects.add(died_of)
    work_log = WorkLog(where.work)
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
    if team is not None:
        print(f'for a team: engine = "{team.address}"' + (", open to this machine" if team.is_open else ""))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again when it is done
    try:
        last = asyncio.run(_serve(config, where, listener, address, suspects, work_log, team))
    finally:
        work_log.close()
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


def _log_to_stderr() -> None:
    """Warnings, and of exceptions their kind and place: their text can hold source code."""
    faults.hook()
    logging.raiseExceptions = False
    handler = logging.StreamHandler()
    handler.setFormatter(faults.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


async def _serve(
    config: Config, where: Place, listener: socket.socket, address: Address, suspects: Suspects, work_log: WorkLog,
    team: TeamServer | None,
) -> EngineStatus:  # fmt: skip
    import uvicorn

    from midfill.engine.local.engine import LocalEngine
    from midfill.serve.app import Service
    from midfill.serve.deadlines import DeadlineProtocol

    asyncio.get_running_loop().set_exception_handler(faults.loop_handler)

    engine = LocalEngine(
        config.model, device=config.device, dtype=config.dtype, template=config.template,
        max_adapters=config.max_adapters, suspects=suspects, work_log=work_log,
    )  # fmt: skip

    def leave() -> None:
        server.should_exit = True

    service = Service(engine, address.token, leave)
    server = uvicorn.Server(
        uvicorn.Config(
            service.app(), log_config=None, access_log=False, lifespan="off", http=DeadlineProtocol, ws="none",
            timeout_graceful_shutdown=3, timeout_keep_alive=30, limit_concurrency=MAX_CONNECTIONS,
        )
    )  # fmt: skip
    engine.start()
    threading.Thread(target=_watch, args=(engine,), daemon=True).start()
    idle_exit_s = math.inf if team is not None else config.engine_idle_exit_s
    housekeeping = asyncio.create_task(_leave_when_idle(service, engine, idle_exit_s, leave))
    for_team = asyncio.create_task(team.run(engine, config.adapter)) if team is not None else None
    write_record(where, address)
    try:
        await server.serve(sockets=[listener])
        return engine.status
    finally:
        service.draining = True
        housekeeping.cancel()
        if team is not None and for_team is not None:
            team.drain()
            await asyncio.wait([for_team])
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
    """End the process when its worker hangs: a dead engine is started again, a stuck one never answers.

    Looks are counted, not seconds: of a process that was stopped for a while (SIGSTOP, a debugger) no time went by.
    """
    n_looks, seen = 0, engine.n_progress
    while n_looks < STUCK_S:
        time.sleep(1.0)
        n_looks = n_looks + 1 if engine.busy and engine.n_progress == seen else 0
        seen = engine.n_progress
    faults.say(f"midfill: the engine's worker did not get on for {STUCK_S} s")
    os._exit(STUCK)
