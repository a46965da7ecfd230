"""``midfill train --when-idle``: shows, installs and removes the service that trains at night, and begins a night."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from midfill import paths
from midfill.commands import night, train_run, units
from midfill.commands.training import check_installed, data_lines
from midfill.commands.units import Installation, Service
from midfill.config import Config
from midfill.train import history
from midfill.train.idleness import Idleness
from midfill.train.night import Limits
from midfill.train.worker import check_enough, gather, summary
from midfill.types import MidfillError

# Options of `midfill train` that belong to this module, or to a single run.
OWN = frozenset({"folders", "name", "budget", "when_idle", "yes", "night", "night_child", "run", "usual", "command"})
NOT_AT_NIGHT = ("estimate", "start", "against", "gate", "force", "restart", "minutes", "priority")
TRAINED_SHARE = 0.7  # of the budget; the rest is for reading, measuring and the gate
CONTROL_S = 30.0  # seconds at most to wait for a service manager
# The variables that move midfill's folders: a service manager does not know what a shell has set.
VARIABLES = tuple(
    f"{prefix}_{name}"
    for prefix, names in (
        ("MIDFILL", ("CONFIG", "CONFIG_DIR", "CACHE_DIR", "DATA_DIR", "STATE_DIR", "RUNTIME_DIR")),
        ("XDG", ("CONFIG_HOME", "CACHE_HOME", "DATA_HOME", "STATE_HOME")),
    )
    for name in names
)


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Install, remove, or run a part of a night; return the exit status. Raises MidfillError."""
    if arguments.night_child:
        return night.child(arguments, config)
    if wrong := [name for name in NOT_AT_NIGHT if getattr(arguments, name) != arguments.usual[name]]:
        option = "--no-gate" if wrong[0] == "gate" else "--" + wrong[0].replace("_", "-")
        raise MidfillError(
            f"{option} cannot be used with --when-idle", "a night always continues from the adapter with the same name"
        )
    if not 1 <= arguments.budget <= 24 * 60:
        raise MidfillError(f"--budget {arguments.budget:g} is out of range", "use 1 to 1440 minutes")
    if arguments.night:
        return _night(arguments)
    return _install(arguments, config) if arguments.when_idle else _remove(arguments)


# ---- the service -----------------------------------------------------------------------------------------------------


def service_of(arguments: argparse.Namespace) -> Service:
    """Return the service that the system starts. Raises MidfillError."""
    program = Path(sys.executable)
    if sys.platform == "win32" and (quiet := program.with_name("pythonw.exe")).is_file():
        program = quiet  # without a window
    command = (
        str(program), "-P", "-m", "midfill", "train", *_folders(arguments), f"--name={train_run.name_of(arguments)}",
        "--night", f"--budget={arguments.budget:g}", *_forwarded(arguments),
    )  # fmt: skip
    named = {name: value for name in VARIABLES if (value := os.environ.get(name))}
    return Service(
        train_run.name_of(arguments),
        command,
        {name: str(paths.expanded(value).absolute()) for name, value in named.items()},
    )


def _folders(arguments: argparse.Namespace) -> list[str]:
    return [str(paths.expanded(folder).absolute()) for folder in arguments.folders]


def _forwarded(arguments: argparse.Namespace) -> list[str]:
    """Return the given options that apply to every night."""
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


def plan_of(service: Service) -> Installation:
    """Return the plan for this system."""
    if sys.platform == "darwin":
        return units.launchd(service, Path.home(), os.getuid())
    if sys.platform == "win32":
        return units.task_scheduler(service, paths.data_dir() / "training")
    home = os.environ.get("XDG_CONFIG_HOME")
    return units.systemd(service, Path(home) if home else Path.home() / ".config")


def _install(arguments: argparse.Namespace, config: Config) -> int:
    check_installed()
    console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    job = train_run.job_of(arguments, config)
    collection, texts, held_out = gather(job)
    for line in data_lines(summary(collection, texts, held_out)):
        console.print(line, markup=False)
    check_enough(collection, texts, held_out)
    service = service_of(arguments)
    plan = plan_of(service)
    if plan.manager == "systemd" and not _runs(("systemctl", "--user", "show-environment")):
        raise MidfillError(
            "you have no systemd session that could start it",
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


def _show(plan: Installation, budget: float) -> None:
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
        raise MidfillError(
            "midfill cannot ask, because there is no terminal", "add --yes to install the service that is shown"
        )
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _remove(arguments: argparse.Namespace) -> int:
    plan = plan_of(service_of(arguments))
    if not any(file.exists() for file, _ in plan.files):
        print(f"nothing is installed in {plan.manager} for {train_run.name_of(arguments)}")
        return 0
    _take_away(plan)
    print(f"removed from {plan.manager}: {', '.join(str(file) for file, _ in plan.files)}")
    return 0


def _take_away(plan: Installation) -> None:
    for command in plan.end:
        _runs(command)
    try:
        for file, _ in plan.files:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise MidfillError(f"cannot remove {file}: {error.strerror}", "remove it by hand") from error
    if plan.manager == "systemd":
        _runs(plan.begin[0])  # makes it read its units again


def _runs(command: Sequence[str]) -> bool:
    """Return whether it succeeded."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, timeout=CONTROL_S, check=False)  # noqa: S603 - fixed words
        return done.returncode == 0
    return False


def _night(arguments: argparse.Namespace) -> int:
    """Wait, train, give way, and record the result. A second night of the same adapter exits at once."""
    name = train_run.name_of(arguments)
    folder = paths.private_dir(history.folder(name))
    try:
        own = FileLock(folder / ".night").acquire(timeout=0)
    except Timeout:
        print(f"a night of {name} is already running", file=sys.stderr)
        return 0
    minutes = arguments.budget * TRAINED_SHARE
    command = (
        sys.executable, "-P", "-m", "midfill", "train", *_folders(arguments), f"--name={name}", "--night-child",
        f"--minutes={minutes:g}", *_forwarded(arguments),
    )  # fmt: skip
    signal.signal(signal.SIGTERM, night.leave)
    idleness = Idleness()
    try:
        night.go(name, night.Child(command, folder), idleness.reason, Limits(budget_s=arguments.budget * 60))
    except KeyboardInterrupt:
        night.say("ended; the next night goes on")
    finally:
        idleness.close()
        own.lock.release()
    return 0
