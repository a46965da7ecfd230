"""The training process, watched: its lines of JSON become a progress bar, and stopping here stops it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from midfill import safe_path
from midfill.engine import environment
from midfill.train.job import Job
from midfill.types import MidfillError, one_line

SAY_EVERY = 20  # steps between two lines, without a terminal
INTERRUPTED = 3  # exit status of a training that was stopped
GO_ON = "run the same command again: it goes on from its checkpoint"
# Tensors of hundreds of megabytes come and go at each step: their memory stays with the process.
KEEP_MEMORY = ":glibc.malloc.mmap_threshold=8589934592:glibc.malloc.trim_threshold=17179869184"


def watch(job: Job, console: Console) -> Path:
    """Run the training process to its end and return the adapter's folder.

    Raises MidfillError with the process's message, and KeyboardInterrupt if it was stopped."""
    done: Path | None = None
    with _TrainingProgress(console) as shown, worker("midfill.train.worker", dataclasses.asdict(job)) as lines:
        for message in lines:
            if message["kind"] == "done":
                done = Path(message["folder"])
            elif message["kind"] == "interrupted":
                console.print("stopped; the same command continues from here")
                raise KeyboardInterrupt
            else:
                shown.show(message)
    if done is None:
        raise MidfillError("the training process ended early", GO_ON)
    return done


def watch_estimate(job: Job, console: Console) -> dict[str, Any]:
    """Run the training process for an estimate; return what it found. Raises MidfillError, KeyboardInterrupt."""
    with _TrainingProgress(console) as shown, worker("midfill.train.worker", dataclasses.asdict(job)) as lines:
        for message in lines:
            if message["kind"] == "estimate":
                return message
            shown.show(message)
    raise MidfillError("the training process ended early", GO_ON)


def check_installed() -> None:
    """Raise MidfillError if a package is missing that training needs."""
    for package in ("torch", "transformers", "peft"):
        if importlib.util.find_spec(package) is None:
            raise MidfillError(f"{package} is not installed, which training needs", "pip install 'midfill[train]'")


@contextlib.contextmanager
def worker(module: str, job: Mapping[str, Any]) -> Iterator[Iterator[dict[str, Any]]]:
    """Yield the messages of a process of ``midfill.train`` to its end. Raises MidfillError with its message."""
    check_installed()
    env = safe_path.child_environment()
    environment.complete(env)
    if env["GLIBC_TUNABLES"] == environment.MALLOC:
        env["GLIBC_TUNABLES"] += KEEP_MEMORY
    with _process(module, env) as process:
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # it died at once: its status says how
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        yield _messages(process)


def _messages(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        message = json.loads(line)
        if message["kind"] == "error":
            raise MidfillError(message["message"], message["remedy"])
        yield message
    if status := process.wait():
        if status == INTERRUPTED:
            return
        raise MidfillError(f"the training process ended ({_why(status)})", GO_ON)


@contextlib.contextmanager
def _process(module: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Start a process that ends when this one does, because its standard input closes. SIGINT reaches both; it saves
    first."""
    process = subprocess.Popen(  # noqa: S603 - a module of ours
        [sys.executable, "-P", "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, encoding="utf-8", env=env,
    )  # fmt: skip
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reports when it is ready
    try:
        yield process
    finally:
        signal.signal(signal.SIGINT, before)
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.wait()


def _why(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-status).name
            return f"{name}, probably out of memory" if name == "SIGKILL" else name
    return f"status {status}"


class _TrainingProgress:
    """A bar in a terminal, otherwise a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (
            TextColumn("  {task.description:<22}"), BarColumn(28), TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[says]}"),
        )  # fmt: skip
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._bar: TaskID | None = None
        self._stage, self._held_out = "", ""

    def __enter__(self) -> _TrainingProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, message: dict[str, Any]) -> None:
        """Show a message of the training process."""
        if message["kind"] == "data":
            for line in data_lines(message):
                self._console.print(line)
        elif message["kind"] == "accepted":
            self._console.print(f"{message['n']:,} texts that you accepted and kept come more often")
        elif message["kind"] == "stage":
            if message["stage"] != self._stage:
                self._stage = message["stage"]
                self._console.print(f"  {self._stage}…")
        elif message["kind"] == "step":
            self._step(message)

    def _step(self, step: dict[str, Any]) -> None:
        if step["held_out"] is not None:
            self._held_out = f", held out {step['held_out']:.3f}"
        pace = f"{step['tokens_per_s']:.0f} tokens/s, {clock(step['left_s'])} left"
        says = f"loss {step['loss']:.3f}{self._held_out}, {pace}"
        if self._console.is_terminal:
            if self._bar is None:
                self._bar = self._bars.add_task("training", total=step["n_steps"], says="")
            self._bars.update(self._bar, completed=step["step"], total=step["n_steps"], says=says)
        elif step["step"] % SAY_EVERY == 0 or step["step"] in (1, step["n_steps"]):
            self._console.print(f"  step {step['step']} of {step['n_steps']}: {says}", soft_wrap=True)


def clock(seconds: float) -> str:
    """Return ``5:07``, or with hours ``1:02:03``."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def data_lines(data: dict[str, Any]) -> list[str]:
    """Return what training learns from, for users."""
    total = max(1, sum(data["languages"].values()))
    languages = ", ".join(f"{name} {n / total:.0%}" for name, n in list(data["languages"].items())[:6])
    lines = [
        f"{data['n_train']:,} files, {data['n_chars'] / 1e6:.2f} million characters ({languages}); "
        f"{data['n_held_out']:,} files held out"
    ]
    if data["left_out"]:
        lines.append("left out: " + ", ".join(f"{reason} ({n:,})" for reason, n in data["left_out"].items()))
    if data["secrets"]:
        lines.append("without lines that look like a secret: " + ", ".join(map(one_line, data["secrets"][:5])))
    licences = sorted(set(data["licences"].values()))
    lines.append(f"licences: {', '.join(licences)}")
    return lines
