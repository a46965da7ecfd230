"""Many commands in one environment, each in a fork of a process that has imported the command line once.

``python tests/cli_stage.py PLAN``: a JSON file with "commands" (name -> arguments), "before" (names of PREPARE) and
"gone" (packages that are not installed). Prints JSON: name -> [exit status, output].
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMANDS = ("adapters", "complete", "doctor", "eval", "explain", "model", "replay", "stats", "train")
LIMIT_S = 200


def _limit(kind: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (value, value))


def _close(number: int, name: str) -> Callable[[], None]:
    def close() -> None:
        os.close(number)
        setattr(sys, name, None)  # as Python finds it

    return close


def _gone() -> None:
    left = Path("left")
    left.mkdir(exist_ok=True)
    os.chdir(left)
    Path("../left").rmdir()


def _full() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def _unread() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)


PREPARE: dict[str, Callable[[], None]] = {
    "a full disk": _limit(resource.RLIMIT_FSIZE, 0),
    "few open files": _limit(resource.RLIMIT_NOFILE, 24),
    "standard input closed": _close(0, "stdin"),
    "standard output closed": _close(1, "stdout"),
    "standard error closed": _close(2, "stderr"),
    "output full": _full,
    "nobody reads": _unread,
    "the folder it stands in is gone": _gone,
}


class HiddenPackages:
    """Hides packages as if they were not installed."""

    def __init__(self, names: list[str]) -> None:
        self._names, self._real = names, importlib.util.find_spec

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in self._names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def asked(self, name: str, package: str | None = None) -> Any:
        return None if name.partition(".")[0] in self._names else self._real(name, package)


def run(arguments: list[str], before: list[str]) -> tuple[int, str]:
    """Run one command in a fork. Only the parent returns from this; the child exits as a command does."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_S)
        os.close(reading)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.close(writing)
        for name in before:
            PREPARE[name]()
        from midfill.cli import main

        sys.exit(main(arguments))
    os.close(writing)
    said = b""
    while data := os.read(reading, 1 << 16):
        said += data
    os.close(reading)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), said.decode("utf-8", "replace")


def main() -> None:
    """Run the whole plan."""
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if plan["gone"]:
        gone = HiddenPackages(plan["gone"])
        importlib.util.find_spec = gone.asked
        sys.meta_path.insert(0, gone)
    importlib.import_module("midfill.cli")
    for name in COMMANDS:
        with contextlib.suppress(ImportError):
            importlib.import_module(f"midfill.commands.{name}")
    gc.freeze()  # else each fork ends by collecting, and so copying, everything that was imported: 0.3 s of its 0.45 s
    answers = {name: run(arguments, plan["before"]) for name, arguments in plan["commands"].items()}
    sys.stdout.write(json.dumps(answers))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
