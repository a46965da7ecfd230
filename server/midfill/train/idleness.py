"""Whether the user works on this machine: keyboard and mouse, processes that use the cores,
requests to the user's engines.

If a system does not tell one of these, the others decide. A process of low priority does not count as the user's work:
that is how training itself is left out (priority.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from midfill import power
from midfill.train.engines import Engines

INPUT_S = 5.0  # a key pressed within this many seconds counts as use
WINDOW_S = 1.0  # seconds over which the load is measured
BUSY_CORES, BUSY_SHARE = 0.5, 0.25  # cores that other processes use: of several cores, of a single one
ASK_S = 1.0  # longest wait for a system program's answer
LIST_EVERY_S = 10.0  # sessions come and go
STAT = Path("/proc/stat")


class Load:
    """The cores that processes of normal priority use."""

    def __init__(self, used_s: Callable[[], float | None], clock: Callable[[], float] = time.monotonic) -> None:
        """``used_s``: seconds of processor time that they have used since some fixed moment."""
        self._used_s, self._clock = used_s, clock
        self._looks: deque[tuple[float, float]] = deque()

    @property
    def cores(self) -> float | None:
        """The mean over at least the last WINDOW_S seconds; None if it is not known, or not yet."""
        used, now = self._used_s(), self._clock()
        if used is None:
            return None
        while len(self._looks) > 1 and now - self._looks[1][0] >= WINDOW_S:
            self._looks.popleft()
        first = self._looks[0] if self._looks else None
        self._looks.append((now, used))
        if first is None or now - first[0] < WINDOW_S:
            return None
        return max(0.0, used - first[1]) / (now - first[0])


class Idleness:
    """Tells whether the user is away; asked again and again while training runs."""

    def __init__(
        self,
        load: Load | None = None,
        unused_s: Callable[[], float | None] | None = None,
        engines: Engines | None = None,
        charge: Callable[[], float | None] = power.charge,
    ) -> None:
        """``unused_s``: seconds since the last key or movement of the mouse, None if that is not known."""
        self._load, self._unused_s = load or Load(used_s), unused_s or _input()
        self._engines, self._charge = engines or Engines(), charge
        self._cores = os.cpu_count() or 1

    def reason(self) -> str:
        """Return why training has to wait, in words; "" while the user is away and the machine is on mains."""
        cores, were_asked = self._load.cores, self._engines.were_asked  # both count from one call to the next
        if self._charge() is not None:
            return "on battery"
        unused_s = self._unused_s()
        if unused_s is not None and unused_s < INPUT_S:
            return "keyboard or mouse in use"
        if were_asked:
            return "suggestions are asked for"
        if cores is not None and cores > min(BUSY_CORES, BUSY_SHARE * self._cores):
            return f"other programs use {cores:.1f} cores"
        return ""

    def close(self) -> None:
        """Close the connections to the engines."""
        self._engines.close()


def used_s() -> float | None:
    """Return the processor seconds of all users' processes of normal priority; None if the
    system does not tell them apart."""
    if sys.platform == "darwin":
        said = _said("/bin/ps", "-Ao", "nice=,time=")
        return of_ps(said) if said else None
    try:
        return of_stat(STAT.read_text(encoding="ascii")) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None


def of_stat(text: str) -> int:
    """Return the ticks of Linux's /proc/stat: user time without that of nice processes. The
    kernel's own time has no owner.

    Raises ValueError, IndexError.
    """
    return int(text.split("\n", 1)[0].split()[1])


def of_ps(text: str) -> float:
    """Return the seconds of lines "nice minutes:seconds" (or with hours)."""
    total = 0.0
    for nice, hours, minutes, seconds in re.findall(r"^\s*(-?\d+)\s+(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)\s*$", text, re.M):
        if int(nice) <= 0:
            total += int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)
    return total


def _input() -> Callable[[], float | None]:
    if sys.platform == "darwin":
        return lambda: of_ioreg(_said("/usr/sbin/ioreg", "-c", "IOHIDSystem", "-d", "4"))
    if sys.platform == "win32":
        return _of_windows
    return Sessions().unused_s


def of_ioreg(text: str) -> float | None:
    """Return the seconds without input from macOS's ``ioreg -c IOHIDSystem``, which gives
    nanoseconds; None without it."""
    found = re.search(r'"HIDIdleTime"\s*=\s*(\d{1,20})', text)
    return int(found[1]) / 1e9 if found else None


class Sessions:
    """What logind knows about all users who are logged in."""

    def __init__(
        self, say: Callable[..., str] | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self._say, self._clock = say or _said, clock
        self._ids: list[str] = []
        self._listed_at = float("-inf")

    def unused_s(self) -> float | None:
        """Return 0 while a session is used, infinity while none is, None if that is not known."""
        if self._clock() - self._listed_at >= LIST_EVERY_S:
            self._listed_at = self._clock()
            lines = self._say("loginctl", "list-sessions", "--no-legend").splitlines()
            self._ids = [line.split()[0] for line in lines if line.split()]
        if not self._ids:
            return None
        names = ("Class", "Type", "State", "IdleHint", "IdleSinceHint", "LockedHint")
        return of_logind(self._say("loginctl", "show-session", *self._ids, *(f"--property={name}" for name in names)))


def of_logind(text: str) -> float | None:
    """Return ``Sessions.unused_s`` from the output of ``loginctl show-session``, one block for each session.

    A desktop that has never set the hint does not tell: its "no" means nothing. For a
    terminal, logind finds out by itself.
    """
    known = False
    for block in text.split("\n\n"):
        session = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if session.get("Class") != "user" or session.get("State") == "closing":
            continue
        if "yes" in (session.get("IdleHint"), session.get("LockedHint")):
            known = True
        elif session.get("Type") == "tty" or session.get("IdleSinceHint", "0") != "0":
            return 0.0
    return math.inf if known else None


class _LastInput(ctypes.Structure):
    """Windows' LASTINPUTINFO."""

    _fields_ = (("size", ctypes.c_uint), ("ticks", ctypes.c_uint))


def _of_windows() -> float | None:
    last = _LastInput(ctypes.sizeof(_LastInput), 0)
    windll = ctypes.windll  # type: ignore[attr-defined,unused-ignore]
    if not windll.user32.GetLastInputInfo(ctypes.byref(last)):
        return None
    return float((windll.kernel32.GetTickCount() - last.ticks) & 0xFFFFFFFF) / 1000


def _said(*command: str) -> str:
    """Return a program's output; "" if it is missing, fails, or does not answer."""
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        done = subprocess.run(  # noqa: S603 - fixed words
            command, capture_output=True, text=True, errors="replace", timeout=ASK_S, check=True
        )
        return done.stdout
    return ""
