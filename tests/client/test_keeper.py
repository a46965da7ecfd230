"""The engine's parent process, with small programs in place of the engine: it bounds the log and records how the engine
ended."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from midfill.client import ends, keeper

FLOOD = (
    "import os\n"
    "for number in range(300):\n"
    "    os.write(2, (b'%06d' % number) + b'x' * 65000 + b'\\n')\n"  # past Python, as native code does
    "    os.write(1, b'y' * 1000 + b'\\n')\n"
    "os.write(2, b'midfill: the end\\n')\n"
)


def kept(tmp_path: Path, program: str, log: str | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run ``program`` under a keeper."""
    command = json.dumps([sys.executable, "-c", program])
    where = str(tmp_path / "engine.log") if log is None else log
    full = [sys.executable, "-I", "-S", keeper.__file__, where, str(tmp_path / "end"), command]
    return subprocess.run(full, capture_output=True, timeout=120, check=False)


def test_the_log_is_a_ring_while_it_runs(tmp_path: Path) -> None:
    assert kept(tmp_path, FLOOD).returncode == 0
    files = sorted(tmp_path.glob("engine.log*"))
    assert [file.name for file in files] == ["engine.log", "engine.log.1"]
    assert sum(file.stat().st_size for file in files) <= 5_000_000
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    assert files[0].read_bytes().endswith(b"midfill: the end\n")
    assert not (tmp_path / "end").exists()  # it left as it should


@pytest.mark.parametrize("log", ["", "/proc/no/such/folder/engine.log", "/dev/full"])
def test_an_engine_needs_no_log(tmp_path: Path, log: str) -> None:
    assert kept(tmp_path, FLOOD + "raise SystemExit(7)", log).returncode == 7
    assert ends.read(tmp_path / "end") is not None


@pytest.mark.parametrize(
    ("program", "code", "message", "remedy"),
    [
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9,
            "the engine was killed, probably by the system because memory ran out", "close other programs",
        ),
        (
            "import os; os.write(2, b'free(): invalid\\x1b pointer\\n'); os.abort()", -6,
            "the engine crashed (SIGABRT): free(): invalid? pointer", "run: midfill doctor",
        ),
        (
            "import os; os.write(2, b'OpenBLAS error: Memory allocation still failed\\n'); os._exit(1)", 1,
            "the engine ran out of memory", "close other programs",
        ),
        (
            "import os; os.write(2, b'terminate called: an instance of std::bad_alloc\\n'); os.abort()", -6,
            "the engine ran out of memory", "close other programs",
        ),
        ("raise SystemExit(3)", 3, "the engine ended with code 3", "run: midfill doctor"),
        (
            "import sys; sys.exit('midfill: no such device\\n  -> set device\\n')", 1, "no such device", "set device",
        ),
        (
            "import os; print('x' * 100_000, flush=True); os.write(2, b'midfill: stuck for 15 s\\n'); os._exit(70)", 70,
            "the engine ended with code 70: stuck for 15 s", "run: midfill doctor",
        ),
        (
            # A child of the engine holds its output longer than it lives.
            "import os, time\nif os.fork() == 0:\n    time.sleep(60)\nos.write(2, b'midfill: gone\\n'); os._exit(5)", 5,
            "the engine ended with code 5: gone", "run: midfill doctor",
        ),
    ],
)  # fmt: skip
def test_how_it_ended(tmp_path: Path, program: str, code: int, message: str, remedy: str) -> None:
    assert kept(tmp_path, program).returncode == (code if code >= 0 else 128 - code)
    end = ends.read(tmp_path / "end")
    assert end is not None
    assert end.code == code
    told = ends.told(end)
    assert told.message == message
    assert told.remedy.startswith(remedy)
    assert stat.S_IMODE((tmp_path / "end").stat().st_mode) == 0o600


def test_who_killed_it_is_not_forgotten(tmp_path: Path) -> None:
    """A front end that ends a stuck engine records that first; the keeper does not say that the system killed it."""
    end = tmp_path / "end"
    program = (
        "import json, os, signal\n"
        f"open({str(end)!r}, 'w').write(json.dumps("
        "{'pid': os.getpid(), 'keeper': 0, 'code': 0, 'last': 'it did not answer for 15 s'}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    kept(tmp_path, program)
    found = ends.read(end)
    assert found is not None
    assert ends.told(found).message == "the engine stopped: it did not answer for 15 s"


async def test_only_the_end_of_that_process_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "WAIT_S", 0.2)
    kept(tmp_path, "raise SystemExit(3)")
    end = ends.read(tmp_path / "end")
    assert end is not None
    assert await ends.of(tmp_path / "end", end.pid) == end == await ends.of(tmp_path / "end", end.keeper)
    assert await ends.of(tmp_path / "end", end.pid + 100_000) is None
    for garbage in ("", "{}", "[]", '{"pid": "x", "keeper": 1, "code": 1, "last": ""}', "[" * 9999):
        (tmp_path / "end").write_text(garbage)
        assert ends.read(tmp_path / "end") is None


def test_a_keeper_outlives_a_signal_to_the_group(tmp_path: Path) -> None:
    """It still has to write down the engine's last words."""
    program = "import os, signal; os.kill(os.getppid(), signal.SIGTERM); os.write(2, b'midfill: last\\n'); os._exit(9)"
    assert kept(tmp_path, program).returncode == 9
    end = ends.read(tmp_path / "end")
    assert end is not None
    assert end.last == "last"
