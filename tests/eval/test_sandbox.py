"""A program that a model wrote can compute, and nothing else. Each row really tries something else."""

from __future__ import annotations

import shutil
import socket
import sys
from pathlib import Path

import pytest

from midfill.eval import sandbox
from midfill.eval.sandbox_child import ALLOWED, MACHINES, instructions
from midfill.types import MidfillError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sandbox needs Linux")


@pytest.mark.parametrize(("program", "outcome"), [
    ("assert 1 + 1 == 2", "passed"),
    ("import math, re, collections, hashlib, itertools, typing, string, random, datetime", "passed"),
    ("print('x' * 1_000_000)", "passed"),  # nobody reads it, and it does not fill a pipe
    ("import sys; sys.stderr.write('x' * 1_000_000)", "passed"),
    ("open('/etc/passwd').read()", "passed"),  # reading is no harm where nothing can be sent
    ("assert False", "failed"),
    ("x = (", "failed"),
    ("a\x00b", "failed"),
    ("import sys; assert sys.stdin.read() == ''; sys.stdin.seek(0); assert not sys.stdin.read()", "passed"),
    ("raise SystemExit(0)", "failed"),  # no test has passed
    ("import os; os._exit(0)", "failed"),
    ("def f(): f()\nf()", "failed"),
    ("(lambda: 0)(" * 5000 + ")" * 5000, "failed"),
])  # fmt: skip
def test_programs(program: str, outcome: str) -> None:
    assert sandbox.run(program) == outcome


@pytest.mark.parametrize("flags", ["'w'", "'a'", "'r+'", "'x'"])
@pytest.mark.parametrize("place", ["here", "outside", "there"])
def test_no_file_is_written(tmp_path: Path, place: str, flags: str) -> None:
    file = tmp_path / "there"
    file.write_text("kept")
    name = {"here": "made", "outside": str(tmp_path / "made"), "there": str(file)}[place]
    assert sandbox.run(f"open({name!r}, {flags}).write('gone')") == "failed"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert file.read_text() == "kept"


@pytest.mark.parametrize("act", [
    "os.remove({there!r})",
    "os.rename({there!r}, {there!r} + '2')",
    "os.chmod({there!r}, 0)",
    "os.truncate({there!r}, 0)",
    "os.symlink({there!r}, {there!r} + '2')",
    "os.link({there!r}, {there!r} + '2')",
    "os.mkdir({there!r} + '2')",
    "os.utime({there!r}, (0, 0))",
    "os.mkfifo({there!r} + '2')",
])  # fmt: skip
def test_nothing_on_disk_changes(tmp_path: Path, act: str) -> None:
    file = tmp_path / "there"
    file.write_text("kept")
    before = file.stat()
    assert sandbox.run("import os\n" + act.format(there=str(file))) == "failed"
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (file.stat().st_mode, file.stat().st_mtime, file.read_text()) == (before.st_mode, before.st_mtime, "kept")


@pytest.mark.parametrize("act", [
    "while True: os.fork()",
    "os.posix_spawn('/bin/true', ['true'], {})",
    "__import__('subprocess').run(['true'])",
    "os.execv('/bin/true', ['true'])",
    "__import__('threading').Thread(target=print).start()",
    "os.kill(os.getppid(), 9)",
    "os.setsid()",
    "__import__('resource').setrlimit(__import__('resource').RLIMIT_AS, (-1, -1))",
    "__import__('ctypes').CDLL(None).ptrace(16, os.getppid(), 0, 0) and 1/0",
])  # fmt: skip
def test_no_process_is_started_or_touched(act: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "sandbox_child.py"  # a path that only this test's processes have
    shutil.copy(sandbox.CHILD, own)
    monkeypatch.setattr(sandbox, "CHILD", own)
    assert sandbox.run("assert True") == "passed"
    assert sandbox.run("import os\n" + act) == "failed"
    assert not [process for process in Path("/proc").iterdir() if _runs(process, own)]


def _runs(process: Path, script: Path) -> bool:
    try:
        return str(script).encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX"])
def test_no_network(family: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        program = f"import socket\nsocket.socket(socket.{family}).connect(('127.0.0.1', {port}))"
        assert sandbox.run(program) == "failed"
        with pytest.raises(TimeoutError):
            server.accept()


def test_memory() -> None:
    assert sandbox.run("x = 'x' * (200 << 20)", memory_bytes=1 << 30) == "passed"
    assert sandbox.run("x = 'x' * (200 << 20)", memory_bytes=150 << 20) == "failed"
    assert sandbox.run("x = []\nwhile True: x.append('x' * (1 << 20) + str(len(x)))") == "failed"


@pytest.mark.parametrize("program", [
    "while True: pass",
    "import time; time.sleep(1000)",
    "import signal\nfor n in (1, 2, 3, 10, 12, 15, 24): signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
])  # fmt: skip
def test_time(program: str) -> None:
    assert sandbox.run(program, timeout_s=0.5) == "timeout"


def test_the_program_sees_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_SECRET", "canary")
    program = (
        "import os, sys\nassert not any('MIDFILL' in key for key in os.environ)\nassert 'midfill' not in sys.modules"
    )
    assert sandbox.run(program) == "passed"
    assert sandbox.run("import tree_sitter") == "failed"  # no packages
    assert sandbox.run("import os\nassert os.listdir('.') == []") == "passed"


def test_filters_are_well_formed() -> None:
    """Every jump stays inside, every way ends in a verdict, and the architectures let the same through."""
    for machine in MACHINES:
        program = instructions(machine)
        assert len(program) < 4096
        assert program[-1][0] == 0x06
        for at, (code, yes, no, _) in enumerate(program):
            assert code == 0x06 or at + 1 + max(yes, no) < len(program)
    for numbers in ALLOWED.values():
        assert all(number >= -1 for number in numbers)
    for column in (0, 1):
        known = [numbers[column] for numbers in ALLOWED.values() if numbers[column] >= 0]
        assert len(known) == len(set(known))


def test_where_the_walls_do_not_hold_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.need.cache_clear()
    sandbox.need()
    sandbox.need.cache_clear()
    monkeypatch.setattr(sandbox, "CHILD", Path(__file__).with_name("no_walls.py"))
    with pytest.raises(MidfillError, match="cannot sandbox it"):
        sandbox.need()
    sandbox.need.cache_clear()
