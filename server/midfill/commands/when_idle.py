"""``midfill train --when-idle``: the service that trains at night is shown, installed, removed; and the night itself.

The night is a small process that waits and watches. It starts and stops a command, which is `midfill train` with
``--night-child``, and that starts the worker, the scoring, and an engine in a runtime folder of its own: one that
editors use would keep the low priority of the night that started it.
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

from filelock import FileLock, Timeout
from rich.console import Console

from midfill import news, paths, registry, safe_path
from midfill.commands import train, units
from midfill.commands.training import Training, check_installed, data_lines, watch
from midfill.commands.units import Plan, Service
from midfill.config import Config
from midfill.engine.local.adapter_files import describe
from midfill.engine.record import Place, find, is_running
from midfill.train import acceptance, history
from midfill.train.history import Entry, State
from midfill.train.idleness import Idleness
from midfill.train.job import ADAPTER, Job
from midfill.train.night import STOP_S, Ended, Limits, spend
from midfill.train.priority import lower_priority
from midfill.train.worker import check_enough, gather, summary
from midfill.types import MidfillError, one_line

# Options of `midfill train` that are this module's own, or of the one time only.
OWN = frozenset({"folders", "name", "budget", "when_idle", "yes", "night", "night_child", "run", "usual", "command"})
NOT_AT_NIGHT = ("estimate", "start", "against", "gate", "force", "restart", "minutes", "priority")
TRAINED_SHARE = 0.7  # of the budget; the rest is for reading, measuring and the gate
ENGINE_IDLE_S = 60.0  # an engine that was not ended leaves
VERDICTS = (0, train.NOT_PROMOTED, train.UNCHANGED)
GONE_S = 5.0  # longest wait until what was killed is gone, before another one may start
CONTROL_S = 30.0  # longest wait for a service manager
# Where midfill keeps things: a service manager knows nothing of what a shell has set.
VARIABLES = tuple(
    f"{prefix}_{name}"
    for prefix, names in (
        ("MIDFILL", ("CONFIG", "CONFIG_DIR", "CACHE_DIR", "DATA_DIR", "STATE_DIR", "RUNTIME_DIR")),
        ("XDG", ("CONFIG_HOME", "CACHE_HOME", "DATA_HOME", "STATE_HOME")),
    )
    for name in names
)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Install, remove, or be a part of a night; the exit status. Raises MidfillError."""
    if arguments.night_child:
        return _child(arguments, config)
    if wrong := [name for name in NOT_AT_NIGHT if getattr(arguments, name) != arguments.usual[name]]:
        option = "--no-gate" if wrong[0] == "gate" else "--" + wrong[0]
        raise MidfillError(f"{option} cannot be used with --when-idle", "a night goes on from the adapter of its name")
    if not 1 <= arguments.budget <= 24 * 60:
        raise MidfillError(f"--budget {arguments.budget:g} is out of range", "use 1 to 1440 minutes")
    if arguments.night:
        return _night(arguments)
    return _install(arguments, config) if arguments.when_idle else _remove(arguments)


# ---- the service -----------------------------------------------------------------------------------------------------


def service_of(arguments: argparse.Namespace) -> Service:
    """What the system is to start. Raises MidfillError."""
    program = Path(sys.executable)
    if sys.platform == "win32" and (quiet := program.with_name("pythonw.exe")).is_file():
        program = quiet  # without a window
    command = (
        str(program), "-P", "-m", "midfill", "train", *_folders(arguments), f"--name={train.name_of(arguments)}",
        "--night", f"--budget={arguments.budget:g}", *_forwarded(arguments),
    )  # fmt: skip
    named = {name: value for name in VARIABLES if (value := os.environ.get(name))}
    return Service(
        train.name_of(arguments),
        command,
        {name: str(paths.expanded(value).absolute()) for name, value in named.items()},
    )


def _folders(arguments: argparse.Namespace) -> list[str]:
    return [str(paths.expanded(folder).absolute()) for folder in arguments.folders]


def _forwarded(arguments: argparse.Namespace) -> list[str]:
    """The options that were given and are for every night."""
    found: list[str] = []
    for name, value in vars(arguments).items():
        if name in OWN or name in NOT_AT_NIGHT or name not in arguments.usual or value == arguments.usual[name]:
            continue
        option = "--" + name.replace("_", "-")
        if name == "held_out":
            found += [option, *(str(paths.expanded(folder).absolute()) for folder in value)]
        elif name == "model" and Path(value).exists():
            found.append(f"{option}={paths.expanded(value).absolute()}")
        else:
            found.append(option if value is True else f"{option}={value}")
    return found


def plan_of(service: Service) -> Plan:
    """For this system."""
    if sys.platform == "darwin":
        return units.launchd(service, Path.home(), os.getuid())
    if sys.platform == "win32":
        return units.task_scheduler(service, paths.data_dir() / "training")
    home = os.environ.get("XDG_CONFIG_HOME")
    return units.systemd(service, Path(home) if home else Path.home() / ".config")


def _install(arguments: argparse.Namespace, config: Config) -> int:
    check_installed()
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    job = train.job_of(arguments, config)
    collection, texts, held_out = gather(job)
    for line in data_lines(summary(collection, texts, held_out)):
        console.print(line, markup=False)
    check_enough(collection, texts, held_out)
    service = service_of(arguments)
    plan = plan_of(service)
    if plan.manager == "systemd" and not _runs(("systemctl", "--user", "show-environment")):
        raise MidfillError(
            "there is no systemd session of yours that could start it",
            f"put this line into your crontab (crontab -e): {units.cron(service)}",
        )
    _show(plan, arguments.budget)
    if not arguments.yes and not _agreed(f"Install it in {plan.manager}?"):
        print("nothing was installed")
        return 1
    try:
        for file, text in plan.files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding=plan.encoding)
    except OSError as error:
        raise MidfillError(f"cannot write {file}: {error.strerror}", "make its folder writable") from error
    for command in plan.begin:
        if not _runs(command):
            _take_away(plan)
            raise MidfillError(f"{' '.join(command)} failed", "nothing was installed; try it by hand to see why")
    print(f"installed; `midfill adapters history {service.name}` shows its nights, --no-when-idle removes it")
    return 0


def _show(plan: Plan, budget: float) -> None:
    print(
        f"Every evening at {units.HOUR}:00 {plan.manager} starts a process that waits until the computer is idle\n"
        f"and on mains power. Then it trains for up to {budget:g} minutes, and stops as soon as you come back."
    )
    for file, text in plan.files:
        print(f"\n{file}\n")
        print("\n".join(f"    {line}" for line in text.rstrip().splitlines()))
    print("\nThen it runs:\n")
    for command in plan.begin:
        print("    " + " ".join(command))
    print(f"\n{plan.remark}")


def _agreed(question: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise MidfillError("there is no terminal to ask in", "add --yes to install what is shown")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _remove(arguments: argparse.Namespace) -> int:
    plan = plan_of(service_of(arguments))
    if not any(file.exists() for file, _ in plan.files):
        print(f"nothing is installed in {plan.manager} for {train.name_of(arguments)}")
        return 0
    _take_away(plan)
    print(f"removed from {plan.manager}: {', '.join(str(file) for file, _ in plan.files)}")
    return 0


def _take_away(plan: Plan) -> None:
    for command in plan.end:
        _runs(command)
    try:
        for file, _ in plan.files:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise MidfillError(f"cannot remove {file}: {error.strerror}", "remove it by hand") from error
    if plan.manager == "systemd":
        _runs(plan.begin[0])  # it reads its units again


def _runs(command: Sequence[str]) -> bool:
    """Whether it went well."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, timeout=CONTROL_S, check=False)  # noqa: S603 - fixed words
        return done.returncode == 0
    return False


# ---- the night -------------------------------------------------------------------------------------------------------


def _night(arguments: argparse.Namespace) -> int:
    """Wait, train, give way, and write down what came of it. A second one for the same adapter leaves at once."""
    name = train.name_of(arguments)
    folder = paths.private_dir(history.folder(name))
    try:
        own = FileLock(folder / ".night").acquire(timeout=0)
    except Timeout:
        print(f"a night of {name} is going on already", file=sys.stderr)
        return 0
    minutes = arguments.budget * TRAINED_SHARE
    command = (
        sys.executable, "-P", "-m", "midfill", "train", *_folders(arguments), f"--name={name}", "--night-child",
        f"--minutes={minutes:g}", *_forwarded(arguments),
    )  # fmt: skip
    signal.signal(signal.SIGTERM, _leave)
    idleness = Idleness()
    try:
        go(name, Child(command, folder), idleness.reason, Limits(budget_s=arguments.budget * 60))
    except KeyboardInterrupt:
        _say("ended; the next night goes on")
    finally:
        idleness.close()
        own.lock.release()
    return 0


def _leave(*_: object) -> NoReturn:
    """The system ends the service: what runs is stopped on the way out."""
    raise KeyboardInterrupt


def go(
    name: str, child: Child, reason: Callable[[], str], limits: Limits, *,
    clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], float] = time.time,
) -> Entry | None:  # fmt: skip
    """One night of ``name``, with what the records say of earlier ones; its entry, None where there was no time."""
    with contextlib.suppress(MidfillError, OSError):  # the records may be of another version; training needs none
        if (found := acceptance.judge(name, now())) is not None and found.kind in ("rolled back", "worse"):
            news.leave(said(name, found))
    ended = spend(child, reason, limits, clock=clock, sleep=sleep, say=_say)
    entry = entry_of(name, ended, child, now())
    if entry is None:
        return None
    earlier = [(one.kind, one.reason) for one in history.read(name) if one.kind not in history.JUDGED][-1:]
    is_news = entry.kind != "failed" or earlier != [(entry.kind, entry.reason)]  # what fails each night is said once
    history.add(name, entry)
    if is_news and (line := said(name, entry)):
        news.leave(line)
    _say(line if is_news else entry.kind)
    return entry


def _say(line: str) -> None:
    """For who looks on: a terminal, systemd's journal. Cron would send each line by mail."""
    if line and sys.stderr is not None and (sys.stderr.isatty() or os.environ.get("JOURNAL_STREAM")):
        print(f"midfill: {line}", file=sys.stderr, flush=True)


def entry_of(name: str, ended: Ended, child: Child, now: float) -> Entry | None:
    """What is written down of a night; None of one without a moment of training."""
    entry = Entry(now, "unfinished", minutes=round(ended.trained_s / 60, 1), n_stops=ended.n_stops)
    if ended.status is None:
        return (
            dataclasses.replace(entry, reason="goes on the next night", steps=history.n_steps(name))
            if ended.trained_s
            else None
        )
    if ended.status not in VERDICTS:
        return dataclasses.replace(entry, kind="failed", reason=child.error(ended.status))
    if ended.status == train.UNCHANGED:
        return dataclasses.replace(entry, kind="unchanged")
    try:
        figures = child.figures()
        gate = figures["gate"]
        (loss, *_) = gate["likelihood"]
        return dataclasses.replace(
            entry, kind="promoted" if figures["promoted"] else "refused", reason=gate["verdict"].partition(": ")[2],
            steps=figures["steps"], before=loss["before"], after=loss["after"], digest=figures["digest"],
            against=figures["against"], replaced=figures["replaced"],
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return dataclasses.replace(entry, kind="failed", reason="the figures of the training could not be read")


def said(name: str, entry: Entry) -> str:
    """The line that waits for the next start; "" where there is nothing to say."""
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
    """`midfill train` as a process that is started and ended; never beside another one, whatever it trains."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        """``folder`` keeps what it prints."""
        self._command = tuple(command)
        self._out, self._err = folder / "night.out", folder / "night.err"
        self._runtime = paths.fitting(paths.runtime_dir() / "night")
        self._lock = train.lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> bool:
        """Begin, or go on; False where another one trains. Raises MidfillError."""
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
        """Of the process that runs; 0 while none does."""
        return self._process.pid if self._process is not None else 0

    def status(self) -> int | None:
        """Its exit status once it has ended by itself."""
        status = self._process.poll() if self._process is not None else None
        if status is not None:
            self._over()
        return status

    def stop(self) -> int | None:
        """End it, and all that it has started, within a second. It saves itself if that is quick enough."""
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
        """Nothing of it is left."""
        assert self._process is not None
        self._send(getattr(signal, "SIGKILL", signal.SIGTERM))
        self._process.wait()
        end_engines(self._runtime)
        # A process of the idle class needs some of the time that others leave, even to be gone.
        end = time.monotonic() + GONE_S
        while hasattr(os, "killpg") and time.monotonic() < end and _has_members(self._process.pid):
            time.sleep(0.05)
        self._process = None
        self._lock.release()

    def _send(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                self._process.terminate()  # the worker sees that its input ends, and saves itself
            else:
                os.killpg(self._process.pid, number)

    def figures(self) -> Mapping[str, Any]:
        """Its line of JSON. Raises OSError, ValueError, TypeError."""
        lines = self._out.read_text(encoding="utf-8").splitlines()
        found: Mapping[str, Any] = json.loads(lines[-1] if lines else "")
        return found

    def error(self, status: int) -> str:
        """What it said before it failed."""
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
    """End every engine of a runtime folder that is a night's own."""
    for file in runtime.glob("engine-*.json"):
        place = Place(runtime, file.stem.removeprefix("engine-"))
        if is_running(place) and (address := find(place)) is not None:
            with contextlib.suppress(OSError):
                os.kill(address.pid, getattr(signal, "SIGKILL", signal.SIGTERM))


# ---- what is started and stopped -------------------------------------------------------------------------------------


def _child(arguments: argparse.Namespace, config: Config) -> int:
    """`midfill train`, going on from the adapter of its own name and from the run that was stopped."""
    if arguments.priority == "idle":
        lower_priority()
    name = train.name_of(arguments)
    present = name if name in registry.names() else config.adapter
    config = dataclasses.replace(config, engine_idle_exit_s=ENGINE_IDLE_S)
    return train.once(argparse.Namespace(**{**vars(arguments), "against": present}), config, _Run(name, config.model))


class _Run:
    """One run, though it may take several nights: it keeps its name while files change under it."""

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

    def trained(self, job: Job, console: Console) -> Training:
        folder = history.folder(self._name)
        of = f"{self._state.run} {self._model} {describe(Path(job.start)).digest if job.start else ''}"
        if self._state.trained != of or not (folder / ADAPTER).is_dir():
            watch(dataclasses.replace(job, folder=str(folder), run=self._state.run), console)
            self._keep(dataclasses.replace(self._state, trained=of))
        return Training(folder / ADAPTER)

    def judged(self) -> None:
        self._keep(State(done=self._of))

    def _keep(self, state: State) -> None:
        history.keep(self._name, state)
        self._state = state
