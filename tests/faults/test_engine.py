"""An engine that is stopped without ending, one that is stuck, one whose clock jumps, and one of another version."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from midfill import __version__
from tests.faults.conftest import SITE, FaultyWindow, Open, settings_of
from tests.fuzz.wire import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux signals and /proc")
PATIENCE_S = 120.0


def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def rewrite(one: FaultyWindow, number: int) -> None:
    """Send another text, with its number as its version."""
    changes = [{"text": f"mark_{number} = call(\n"}]
    change = {"textDocument": {"uri": "file:///a.py", "version": number}, "contentChanges": changes}
    one.wire.notify("textDocument/didChange", change)


def test_a_stopped_engine_is_found_out_and_replaced(window: Open) -> None:
    """After SIGSTOP the socket takes connections and says nothing. Requests end at their deadline, then another engine
    is started."""
    one = window({"first_answer_s": 1})
    until(lambda: one.text().startswith("x_7"))
    old = one.engine
    os.kill(old, signal.SIGSTOP)
    # Another text, or the answer would come out of the cache.
    rewrite(one, 8)
    assert one.text() == ""
    assert one.call("midfill/status")["state"]
    until(lambda: one.engine not in (0, old))
    until(lambda: one.text().startswith("x_8"))
    assert one.popups == []
    assert not Path(f"/proc/{old}").exists() or "Z" in Path(f"/proc/{old}/stat").read_text().split()[2]


def test_a_stuck_worker_ends_its_process(window: Open, tmp_path: Path) -> None:
    one = window(TEST_STUCK_S="2")
    assert one.text().startswith("x_7")
    old = one.engine
    one.send("midfill/debugBlock", {"seconds": 50})
    until(lambda: one.engine not in (0, old))
    until(lambda: one.text().startswith("x_7"))
    assert "did not get on" in (tmp_path / "STATE" / "log" / "engine.log").read_text()
    assert one.popups == []


def test_a_clock_that_jumps_changes_nothing(window: Open, tmp_path: Path) -> None:
    """time.time() goes back a year and forth a century at every call, in the front end, its children and the engine."""
    site = tmp_path / "clock"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import runpy, time\n"
        "real, n = time.time, [0]\n"
        "def jumping():\n    n[0] += 1\n    return real() + (-1, 100)[n[0] % 2] * 31_536_000.0\n"
        "time.time = jumping\n"
        f"runpy.run_path({str(REPOSITORY / 'tests/soak/site/sitecustomize.py')!r})\n"
    )
    one = window(PYTHONPATH=os.pathsep.join([str(site), SITE]))
    start = time.monotonic()
    assert one.text().startswith("x_7")
    pid = one.engine
    for number in range(8, 14):
        change = {
            "textDocument": {"uri": "file:///a.py", "version": number},
            "contentChanges": [{"text": f"mark_{number} = call(\n"}],
        }
        one.wire.notify("textDocument/didChange", change)
        assert one.text().startswith(f"x_{number}")
    time.sleep(2)  # the engine's idle clock and its watcher have looked
    assert one.text()
    assert one.engine == pid
    assert one.states[-1]["state"] in ("ready", "generating")
    assert time.monotonic() - start < PATIENCE_S


def test_two_versions_side_by_side(window: Open, tmp_path: Path) -> None:
    """The engine of the other installation is asked to leave; it finishes the requests that run, and one of ours is
    started."""
    other = tmp_path / "other"
    shutil.copytree(REPOSITORY / "server" / "midfill", other / "midfill", ignore=shutil.ignore_patterns("__pycache__"))
    about = other / "midfill" / "__init__.py"
    about.write_text(about.read_text().replace(__version__, "0.0.9"))
    path = SITE.replace(str(REPOSITORY / "server"), str(other))
    old = window(PYTHONPATH=path)
    assert old.text().startswith("x_7")
    assert settings_of(old.runtime)["version"] == "0.0.9"
    before = old.engine
    old.wire.close()
    new = window()
    assert new.text().startswith("x_7")
    assert settings_of(new.runtime)["version"] == __version__
    assert new.engine != before
    until(lambda: not Path(f"/proc/{before}/cmdline").exists() or not Path(f"/proc/{before}/cmdline").read_bytes())
