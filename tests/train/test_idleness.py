"""Whether the user is at the computer: what each system reports, and what midfill concludes from it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from midfill.train import idleness
from midfill.train.idleness import Idleness, Load, Sessions, of_ioreg, of_logind, of_ps, of_stat


def session(**values: str) -> str:
    usual = {"Class": "user", "Type": "wayland", "State": "active", "IdleHint": "no", "IdleSinceHint": "0",
             "LockedHint": "no"}  # fmt: skip
    return "".join(f"{name}={value}\n" for name, value in {**usual, **values}.items())


@pytest.mark.parametrize(
    ("sessions", "unused"),
    [
        ([], None),
        ([session()], None),  # a desktop that never sets the hint: "no" means nothing
        ([session(IdleSinceHint="1700000000000000")], 0.0),
        ([session(IdleHint="yes", IdleSinceHint="1700000000000000")], math.inf),
        ([session(LockedHint="yes")], math.inf),
        ([session(Type="tty")], 0.0),
        ([session(Type="tty", IdleHint="yes")], math.inf),
        ([session(IdleHint="yes"), session(Type="tty")], 0.0),
        ([session(IdleHint="yes"), session(Type="tty", State="closing")], math.inf),
        ([session(IdleHint="yes"), session(Class="greeter", IdleSinceHint="5")], math.inf),
        ([session(), session(IdleHint="yes")], math.inf),
        (["Failed to connect to bus"], None),
    ],
)
def test_logind(sessions: list[str], unused: float | None) -> None:
    assert of_logind("\n".join(sessions)) == unused


def test_sessions_are_listed_now_and_then() -> None:
    asked: list[tuple[str, ...]] = []
    now = 0.0

    def say(*command: str) -> str:
        asked.append(command)
        return (
            "  3 1000 me seat0 tty2\n 12 1000 me - pts/1\n" if "list-sessions" in command else session(IdleHint="yes")
        )

    subject = Sessions(say, lambda: now)
    assert [subject.unused_s(), subject.unused_s()] == [math.inf, math.inf]
    assert [command[1] for command in asked] == ["list-sessions", "show-session", "show-session"]
    assert asked[1][2:4] == ("3", "12")
    now = 11.0
    subject.unused_s()
    assert [command[1] for command in asked[3:]] == ["list-sessions", "show-session"]


def test_without_logind_nothing_is_known() -> None:
    assert Sessions(lambda *_: "").unused_s() is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ('  | |   "HIDIdleTime" = 1500000000\n', 1.5),
        ('"HIDIdleTime" = 0', 0.0),
        ("", None),
        ('"HIDIdleTime" = x', None),
    ],
)
def test_ioreg(text: str, seconds: float | None) -> None:
    assert of_ioreg(text) == seconds


def test_ps_counts_what_is_not_nice() -> None:
    assert of_ps("  0   1:02.50\n 19 100:00.00\n-5   0:01.00\n  0 1:00:00.00\n  x 1:00.00\n") == 62.5 + 1 + 3600


def test_stat_counts_what_is_not_nice() -> None:
    assert of_stat("cpu  120 30 70 900 5 0 2 0 0 0\ncpu0 1 2 3\n") == 120
    for text in ("", "cpu", "cpu x"):
        with pytest.raises((ValueError, IndexError)):
            of_stat(text)


def test_load_is_that_of_the_last_second() -> None:
    now, used = 0.0, 0.0
    load = Load(lambda: used, lambda: now)
    found = []
    for _ in range(8):
        found.append(load.cores)
        now, used = now + 0.5, used + 0.25
    used += 10
    found.append(load.cores)
    assert found[:2] == [None, None]
    assert found[2:8] == [0.5] * 6
    assert found[8] == pytest.approx(10.5)
    assert Load(lambda: None).cores is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/stat")
def test_training_itself_is_no_work() -> None:
    """A child of low priority does not count among the cores that others use."""
    code = "from midfill.train.priority import lower_priority\nlower_priority()\nprint(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        ticks = os.sysconf("SC_CLK_TCK")

        def spent() -> float:
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
            return int(fields[11]) / ticks

        nice, own = (int(idleness.STAT.read_text().split()[2]) / ticks for _ in range(1)), spent()
        (nice_before,) = nice
        while spent() - own < 0.5:
            time.sleep(0.05)
        assert (
            int(idleness.STAT.read_text().split()[2]) / ticks - nice_before >= 0.4
        )  # counted where of_stat looks away
        child.kill()


class Asked:
    were_asked = False

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("charge", "unused", "asked", "cores", "reason"),
    [
        (None, math.inf, False, 0.1, ""),
        (None, None, False, None, ""),  # nothing is known: nothing is against it
        (0.9, math.inf, False, 0.1, "on battery"),
        (None, 0.2, False, 0.1, "keyboard or mouse in use"),
        (None, 60.0, False, 0.1, ""),
        (None, math.inf, True, 0.1, "suggestions are asked for"),
        (None, math.inf, False, 0.9, "other programs use 0.9 cores"),
    ],
)
def test_reasons(charge: float | None, unused: float | None, asked: bool, cores: float | None, reason: str) -> None:
    engines = Asked()
    engines.were_asked = asked
    now = 0.0
    load = Load(lambda: None if cores is None else cores * now, lambda: now)
    subject = Idleness(load, lambda: unused, engines, lambda: charge)  # type: ignore[arg-type]
    subject.reason()
    now = 2.0
    assert subject.reason() == reason


def test_this_machine_answers() -> None:
    """On every machine, asking does not fail."""
    subject = Idleness()
    assert isinstance(subject.reason(), str)
    subject.close()
