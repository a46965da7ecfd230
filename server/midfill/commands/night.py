"""A night of `midfill train --when-idle`: a small process that waits and watches, and what it starts and stops.

It starts `midfill train` with ``--night-child``, which starts the worker, the scoring, and an engine in its own
runtime folder: an engine that editors share would keep the low priority of the night.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

from filelock import Timeout
from rich.console import Console

from midfill import news, paths, registry, safe_path
from midfill.commands import train_run
from midfill.commands.training import watch
from midfill.config import Config
from midfill.engine.local.lora.files import describe
from midfill.engine.record import RuntimeFiles, find, is_running
from midfill.train import acceptance, history
from midfill.train.history import Entry, State
from midfill.train.job import ADAPTER, Job
from midfill.train.night import STOP_S, Limits, NightOutcome, spend
from midfill.train.priority import lower_priority
from midfill.types import MidfillError, one_line

ENGINE_IDLE_S = 60.0  # an engine that is not ended exits by itself
VERDICTS = (0, train_run.NOT_PROMOTED, train_run.UNCHANGED)
GONE_S = 5.0  # seconds at most until a killed process is gone, before another one may start


def leave(*_: object) -> NoReturn:
    """The system ends the service: stop everything that runs on the way out."""
    raise KeyboardInterrupt


def go(
    name: str, child: Child, reason: Callable[[], str], limits: Limits, *,
    clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.time,
) -> Entry | None:  # fmt: skip
    """Run one night of ``name``, with what the records say of earlier ones; return its entry, None if there was no
    time."""
    with contextlib.suppress(
        MidfillError, OSError
    ):  # the records may be of another version; training does not need them
        if (found := acceptance.judge(name, now())) is not None and found.kind in ("rolled back", "worse"):
            news.leave(said(name, found))
    ended = spend(child, reason, limits, clock=clock, sleep=sleep, say=say)
    entry = entry_of(name, ended, child, now())
    if entry is None:
        return None
    earlier = [(one.kind, one.reason) for one in history.read(name) if one.kind not in history.JUDGED][-1:]
    is_news = entry.kind != "failed" or earlier != [
        (entry.kind, entry.reason)
    ]  # the same failure every night is reported once
    history.add(name, entry)
    if is_news and (line := said(name, entry)):
        news.leave(line)
    say(line if is_news else entry.kind)
    return entry


def say(line: str) -> None:
    """Print for an observer: a terminal, systemd's journal. Cron would send each line by mail."""
    if line and sys.stderr is not None and (sys.stderr.isatty() or os.environ.get("JOURNAL_STREAM")):
        print(f"midfill: {line}", file=sys.stderr, flush=True)


def entry_of(name: str, ended: NightOutcome, child: Child, now: float) -> Entry | None:
    """Return the entry of a night; None if it did not train at all."""
    entry = Entry(now, "unfinished", minutes=round(ended.trained_s / 60, 1), n_stops=ended.n_stops)
    if ended.status is None:
        return (
            dataclasses.replace(entry, reason="goes on the next night", steps=history.n_steps(name))
            if ended.trained_s
            else None
        )
    if ended.status not in VERDICTS:
        return dataclasses.replace(entry, kind="failed", reason=child.error(ended.status))
    if ended.status == train_run.UNCHANGED:
        return dataclasses.replace(entry, kind="unchanged")
    try:
        figures = child.figures()
        gate = figures["gate"]
        (loss, *_) = gate["likelihood"]
        return dataclasses.replace(
            entry, kind="promoted" if figures["promoted"] else "refused", reason=gate["verdict"].partition(": ")[2],
            steps=figures["steps"], before=loss["before"], after=loss["after"], digest=figures["digest"],
            against=figures["against"], replaced=figures["replaced"],
            served=figures.get("served", ""), served_before=figures.get("served_before", ""),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return dataclasses.replace(entry, kind="failed", reason="the figures of the training could not be read")


def said(name: str, entry: Entry) -> str:
    """Return the line for the next start; "" if there is nothing to report."""
    if entry.kind == "promoted":
        return (
            f"{name} learned from your code while you were away, and is better: held-out loss {entry.before:.3f} "
            f'before, {entry.after:.3f} after ({entry.minutes:.0f} minutes). It is in use where adapter = "{name}"'
        )
    return {
        "refused": f"{name} was trained while you were away and is not better ({entry.reason}); nothing changes",
        "failed": f"training {name} while you were away failed: {entry.reason}",
        "rolled back": f"{name} is again what it was before: {entry.reason}",
        "worse": f"{name} helps less than what was there before it: {entry.reason}",
    }.get(entry.kind, "")


class Child:
    """`midfill train` as a process that is started and ended; never beside another one, whatever that trains."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        """``folder`` keeps its output."""
        self._command = tuple(command)
        self._out, self._err = folder / "night.out", folder / "night.err"
        self._runtime = paths.fitting(paths.runtime_dir() / "night")
        self._lock = train_run.lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> bool:
        """Start, or continue; return False if another one trains. Raises MidfillError."""
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return False
        env = {**safe_path.child_environment(), "MIDFILL_RUNTIME_DIR": str(self._runtime)}
        how: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            how = {"creationflags": subprocess.IDLE_PRIORITY_CLASS | subprocess.CREATE_NO_WINDOW}
        try:
            with _opened(self._out) as out, _opened(self._err) as err:
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
                    self._command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, **how
                )
        except OSError as error:
            self._lock.release()
            raise MidfillError(f"cannot start the training: {error.strerror}", "run: midfill doctor") from error
        return True

    @property
    def pid(self) -> int:
        """The process id; 0 while none runs."""
        return self._process.pid if self._process is not None else 0

    def status(self) -> int | None:
        """The exit status, once it has ended by itself."""
        status = self._process.poll() if self._process is not None else None
        if status is not None:
            self._over()
        return status

    def stop(self) -> int | None:
        """End it, and everything it has started, within a second. It saves its work if that is quick enough."""
        process, status = self._process, None
        if process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process.poll() is None:
                self._send(signal.SIGINT)
                end_engines(self._runtime)
            status = process.wait(STOP_S)
        self._over()
        return status if status in VERDICTS else None

    def _over(self) -> None:
        """Whether all of its processes are gone."""
        assert self._process is not None
        self._send(getattr(signal, "SIGKILL", signal.SIGTERM))
        self._process.wait()
        end_engines(self._runtime)
        # A process of the idle class needs some of the time that others leave, even to exit.
        end = time.monotonic() + GONE_S
        while hasattr(os, "killpg") and time.monotonic() < end and _has_members(self._process.pid):
            time.sleep(0.05)
        self._process = None
        self._lock.release()

    def _send(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.terminate()  # the worker sees that its input ends, and saves its work
            else:
                os.killpg(self._process.pid, number)

    def figures(self) -> Mapping[str, Any]:
        """Return its line of JSON. Raises OSError, ValueError, TypeError."""
        lines = self._out.read_text(encoding="utf-8").splitlines()
        found: Mapping[str, Any] = json.loads(lines[-1] if lines else "")
        return found

    def error(self, status: int) -> str:
        """Return what it printed before it failed."""
        with contextlib.suppress(OSError):
            lines = self._err.read_text(encoding="utf-8", errors="replace").splitlines()
            at = max((at for at, line in enumerate(lines) if line.startswith("midfill: ")), default=-1)
            if at >= 0:
                words = [
                    lines[at].removeprefix("midfill: "),
                    *(line.removeprefix("  -> ") for line in lines[at + 1 :][:1]),
                ]
                return one_line("; ".join(words))[:400]
        return (
            "out of memory, probably" if status == -getattr(signal, "SIGKILL", 9) else f"it ended with status {status}"
        )


def _has_members(group: int) -> bool:
    with contextlib.suppress(PermissionError):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
    return True


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    with os.fdopen(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as out:
        yield out


def end_engines(runtime: Path) -> None:
    """End every engine in a night's own runtime folder."""
    for file in runtime.glob("engine-*.json"):
        place = RuntimeFiles(runtime, file.stem.removeprefix("engine-"))
        if is_running(place) and (address := find(place)) is not None:
            with contextlib.suppress(OSError):
                os.kill(address.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def child(arguments: argparse.Namespace, config: Config) -> int:
    """Run `midfill train`, continuing from the adapter of its own name, perhaps on top of another, and from the
    interrupted run."""
    if arguments.priority == "idle":
        lower_priority()
    name = train_run.name_of(arguments)
    top, is_there = arguments.on_top_of, name in registry.names()
    present = name if is_there else config.adapter
    if top:
        present = f"{top} + {name}" if is_there else top
    config = dataclasses.replace(config, engine_idle_exit_s=ENGINE_IDLE_S)
    as_night = {**vars(arguments), "against": present, "start": name if top and is_there else None}
    return train_run.once(argparse.Namespace(**as_night), config, _ResumableRun(name, config.model))


class _ResumableRun:
    """One run, which may take several nights: it keeps its name while files change."""

    def __init__(self, name: str, model: str) -> None:
        self._name, self._model = name, model
        self._of = ""  # what is learned now, and by which model
        self._state = history.state(name)

    def begin(self, digest: str) -> bool:
        self._of = f"{digest} {self._model}"
        if self._of == self._state.done:
            return False
        if not self._state.run:
            self._keep(dataclasses.replace(self._state, run=self._of))
        return True

    def trained(self, job: Job, console: Console) -> Path:
        folder = history.folder(self._name)
        below = "+".join(describe(Path(folder)).digest for folder in (*job.under, *filter(None, [job.start])))
        of = f"{self._state.run} {self._model} {below}"
        if self._state.trained != of or not (folder / ADAPTER).is_dir():
            watch(dataclasses.replace(job, folder=str(folder), run=self._state.run), console)
            self._keep(dataclasses.replace(self._state, trained=of))
        return folder / ADAPTER

    def judged(self) -> None:
        self._keep(State(done=self._of))

    def _keep(self, state: State) -> None:
        history.keep(self._name, state)
        self._state = state
