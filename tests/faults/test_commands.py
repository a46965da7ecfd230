"""Commands whose engine dies while it works: one line, a remedy, and nothing from another engine's log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.conftest import SITE
from tests.fuzz.wire import folders

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux signals")

MEMORY = "close other programs, set context_tokens lower, or choose a smaller model"
DOCTOR = "run: midfill doctor"
# What happens to the engine, the message, and the remedy.
DEATHS = {
    "SIGKILL": ("the engine was killed, probably by the system because memory ran out", MEMORY),
    "SIGSEGV": ("the engine crashed (SIGSEGV)", DOCTOR),
    "SIGABRT": ("the engine crashed (SIGABRT)", DOCTOR),
    "3": ("the engine ended with code 3", DOCTOR),
    "no such device": ("no such device", "set device"),
    "keeper": (
        "the engine stopped unexpectedly",
        "run the command again: it starts a new engine",
    ),  # with whoever knows the reason
}
COMMANDS = {
    "complete": ["complete", "a.py:1"],
    "complete --json": ["complete", "a.py:1", "--json"],
    "explain": ["explain", "a.py:1"],
    "replay": ["replay", "b.py", "--chars", "9", "--places", "1"],
}


def run(home: Path, runtime: Path, arguments: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``midfill`` on a scripted engine of its own, which dies as ``env`` says."""
    mine = folders(home, model=str(home / "echo"), adapter="none", candidates=1) | {"MIDFILL_RUNTIME_DIR": str(runtime)}
    (home / "a.py").write_text("mark_7 = call(\n")
    (home / "b.py").write_text("".join(f"def f{n}(a, b):\n    return a + b * {n}\n\n\n" for n in range(40)))
    log = home / "STATE" / "log"
    log.mkdir(parents=True, exist_ok=True)
    log.joinpath("engine.log").write_text("midfill: of another engine\n  -> of another log\n")
    return subprocess.run(
        [sys.executable, "-P", "-m", "midfill", *arguments], env={**os.environ, **mine, "PYTHONPATH": SITE, **env},
        cwd=home, capture_output=True, text=True, timeout=240, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the lines of both outputs without the progress of loading; there must be no traceback."""
    both = done.stdout + done.stderr
    assert "Traceback" not in both, both
    assert "of another" not in both, both
    return [line for line in both.replace("\r", "\n").splitlines() if line.strip()]


def test_the_control(tmp_path: Path, runtime: Path) -> None:
    done = run(tmp_path, runtime, COMMANDS["complete"])
    assert (done.returncode, said(done)) == (0, ["x_7, y_7, z_7)"])


@pytest.mark.parametrize(
    ("death", "moment"), [*((death, "stream") for death in DEATHS), ("SIGKILL", "start"), ("no such device", "start")]
)
def test_the_engine_dies(tmp_path: Path, runtime: Path, death: str, moment: str) -> None:
    """In the middle of its answer, after the first words; and while it loads."""
    message, remedy = DEATHS[death]
    done = run(tmp_path, runtime, COMMANDS["complete"], TEST_DEATH=death, TEST_DEATH_AT=moment)
    assert (done.returncode, said(done)) == (1, [f"midfill: {message}", f"  -> {remedy}"])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command(tmp_path: Path, runtime: Path, command: str) -> None:
    done = run(tmp_path, runtime, COMMANDS[command], TEST_DEATH="SIGKILL", TEST_DEATH_AT="stream")
    assert done.returncode == 1
    assert said(done)[-2:] == [f"midfill: {DEATHS['SIGKILL'][0]}", f"  -> {MEMORY}"]
