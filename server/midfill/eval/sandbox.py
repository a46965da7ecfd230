"""Runs programs that a model wrote where they can do no harm: no files, processes or network; little time and memory.

``sandbox_child`` is the inside. Before the first program, ``need`` tests whether the walls hold on this machine.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from midfill.types import MidfillError

Outcome = Literal["passed", "failed", "timeout"]

TIMEOUT_S = 10.0
MEMORY_BYTES = 1 << 30
MAX_OUTPUT = 4096  # bytes that a program may write anywhere; what it writes is the word that says it passed
CHILD = Path(__file__).with_name("sandbox_child.py")

# What the walls must stop. This program reaches its end only if they do.
_ESCAPES = """
import os, socket, subprocess, threading
def refused(act):
    try:
        act()
    except (OSError, RuntimeError):
        return True
assert refused(lambda: socket.socket())
assert refused(lambda: open("made", "w"))
assert refused(lambda: os.mkdir("made"))
assert refused(lambda: os.kill(os.getppid(), 0))
assert refused(lambda: subprocess.run(["true"]))
assert refused(lambda: threading.Thread(target=print).start())
assert refused(os.fork)
"""


def run(program: str, *, timeout_s: float = TIMEOUT_S, memory_bytes: int = MEMORY_BYTES) -> Outcome:
    """Run ``program`` to its end: "passed" if it gets there without an error."""
    word = secrets.token_hex(16)
    limits = {
        "RLIMIT_AS": memory_bytes, "RLIMIT_CPU": int(timeout_s) + 1, "RLIMIT_FSIZE": MAX_OUTPUT, "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 32, "RLIMIT_NPROC": 0,
    }  # fmt: skip
    job = json.dumps({"program": program, "word": word, "limits": limits}).encode()
    with (
        tempfile.TemporaryDirectory(prefix="midfill-sandbox-") as folder,
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as said,
    ):
        given.write(job)
        given.seek(0)
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and script
            [sys.executable, "-I", "-S", "-X", "utf8", str(CHILD)], stdin=given, stdout=said,
            stderr=subprocess.DEVNULL, cwd=folder, env={}, start_new_session=True, close_fds=True,
        )  # fmt: skip
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return "timeout"
        finally:
            _end(child)
        said.seek(0)
        return "passed" if said.read(MAX_OUTPUT) == word.encode() else "failed"


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the whole process group, and wait until it is gone."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@functools.cache
def need() -> None:
    """Raise MidfillError if programs cannot be sandboxed: then none is run."""
    if not sys.platform.startswith("linux") or run(_ESCAPES) != "passed":
        raise MidfillError(
            "pass@1 runs what the model wrote, and this system cannot sandbox it",
            "use Linux with seccomp on x86-64 or arm64, or use --no-run for text metrics only",
        )
