"""The engine process: one for each model, ensured by a lock, until a client ends it or it was idle."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from midfill import __version__, faults, garbage
from midfill.config import Config
from midfill.engine import environment
from midfill.engine.record import HAS_UNIX_SOCKETS, Address, RuntimeFiles, find, place, write_record
from midfill.engine.suspects import Suspects, WorkLog, unfinished
from midfill.types import EngineStatus, MidfillError

if TYPE_CHECKING:
    from midfill.serve.team.listen import TeamServer

log = logging.getLogger(__name__)

ERROR_LINGER_S = 5.0  # seconds that an engine that could not load its model stays, so that its clients learn why
STUCK_S = 15  # seconds without progress of a busy worker; then the process ends, and a client starts another one
STUCK = 70  # the exit status then
MAX_CONNECTIONS = 256


def serve(
    config: Config, *, tcp: tuple[str, int] | None = None, quiet: bool = False, team: TeamServer | None = None
) -> int:
    """Run an engine until a client ends it or it was idle; for a ``team`` it stays. Returns the exit code.

    Raises MidfillError if it could not load its model; its clients have learned why meanwhile.
    """
    where = place(config)
    lock = FileLock(where.lock, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        present = find(where)
        if team is not None:
            message = "an engine for this model is already running here"
            raise MidfillError(message, "close the editors that use it, or stop it") from None
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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises the signal again when it is done
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


def _listen(where: RuntimeFiles, tcp: tuple[str, int] | None) -> socket.socket:
    if tcp is None and HAS_UNIX_SOCKETS:
        where.socket.unlink(missing_ok=True)  # stale, because we hold the lock
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


def _log_to_stderr() -> None:
    """Log warnings, and of exceptions their kind and place: their text may hold source code."""
    faults.hook()
    logging.raiseExceptions = False
    handler = logging.StreamHandler()
    handler.setFormatter(faults.Formatter("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


async def _serve(
    config: Config, where: RuntimeFiles, listener: socket.socket, address: Address, suspects: Suspects,
    work_log: WorkLog, team: TeamServer | None,
) -> EngineStatus:  # fmt: skip
    from midfill.engine.local.store import preparing

    compiling = preparing.compile_early(config.device, config.dtype)

    import uvicorn

    from midfill.engine.local.engine import LocalEngine
    from midfill.serve.app import EngineApi
    from midfill.serve.deadlines import DeadlineProtocol

    asyncio.get_running_loop().set_exception_handler(faults.loop_handler)

    engine = LocalEngine(
        config.model, device=config.device, dtype=config.dtype, template=config.template,
        max_adapters=config.max_adapters, suspects=suspects, work_log=work_log, compiling=compiling,
    )  # fmt: skip

    def leave() -> None:
        server.should_exit = True

    service = EngineApi(engine, address.token, leave)
    server = uvicorn.Server(
        uvicorn.Config(
            service.app(), log_config=None, access_log=False, lifespan="off", http=DeadlineProtocol, ws="none",
            timeout_graceful_shutdown=3, timeout_keep_alive=30, limit_concurrency=MAX_CONNECTIONS,
        )
    )  # fmt: skip
    write_record(where, address)  # may fail; a thread that loads would crash the ending process
    engine.start()
    threading.Thread(target=_watch, args=(engine,), daemon=True).start()
    idle_exit_s = math.inf if team is not None else config.engine_idle_exit_s
    housekeeping = asyncio.create_task(_housekeeping(service, engine, idle_exit_s, leave))
    for_team = asyncio.create_task(team.run(engine, config.adapter)) if team is not None else None
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


async def _housekeeping(service: Any, engine: Any, idle_exit_s: float, leave: Any) -> None:
    failed_at: float | None = None
    while True:
        await asyncio.sleep(min(1.0, idle_exit_s / 4))
        if garbage.is_deferred() and engine.status.state != "starting":
            garbage.settle()
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
    """End the process when its worker hangs: a dead engine is restarted, a stuck one never answers.

    The limit counts looks, not seconds: for a process that was stopped for a while (SIGSTOP, a debugger) no time
    passed.
    """
    n_looks, seen = 0, engine.n_progress
    while n_looks < STUCK_S:
        time.sleep(1.0)
        n_looks = n_looks + 1 if engine.busy and engine.n_progress == seen else 0
        seen = engine.n_progress
    faults.say(f"midfill: the engine's worker did not get on for {STUCK_S} s")
    os._exit(STUCK)
