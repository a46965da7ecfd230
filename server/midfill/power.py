"""Whether this machine runs on its battery, and how much of it is left."""

from __future__ import annotations

import contextlib
import ctypes
import re
import subprocess
import sys
import time
from pathlib import Path

LINUX = Path("/sys/class/power_supply")
ASK_S = 1.0  # longest wait for a program that reports it, in seconds
KEPT_S = 30.0  # an answer stays valid this long, in seconds

_known: tuple[float, float | None] | None = None


def charge() -> float | None:
    """Return how much is left of the battery that this machine runs on, 0 to 1; None on mains power, or if unknown.
    May take some milliseconds."""
    global _known
    if _known is None or time.monotonic() - _known[0] > KEPT_S:
        _known = time.monotonic(), _read()
    return _known[1]


def _read() -> float | None:
    with contextlib.suppress(OSError, ValueError, AttributeError, subprocess.SubprocessError):
        if sys.platform == "darwin":
            command = ["/usr/bin/pmset", "-g", "batt"]
            said = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=True)  # noqa: S603
            return of_pmset(said.stdout)
        if sys.platform == "win32":
            return _of_windows()
        return of_folder(LINUX)
    return None


def of_folder(folder: Path) -> float | None:
    """Return it from a folder like Linux's: the lowest of the machine's own batteries in use. Raises OSError."""
    levels = [level for supply in sorted(folder.iterdir()) if (level := _of_supply(supply)) is not None]
    return min(levels, default=None)


def _of_supply(supply: Path) -> float | None:
    def says(name: str) -> str:
        with contextlib.suppress(OSError, ValueError):
            return (supply / name).read_text(encoding="ascii").strip()
        return ""

    # A mouse or a keyboard has the scope "Device".
    is_used = says("type") == "Battery" and says("status") == "Discharging" and says("scope") != "Device"
    level = says("capacity")
    return min(1.0, int(level) / 100) if is_used and level.isdecimal() else None


def of_pmset(said: str) -> float | None:
    """Return it from the output of macOS's ``pmset -g batt``."""
    level = re.search(r"(\d{1,3})%;\s*discharging", said)
    return min(1.0, int(level[1]) / 100) if level is not None and "'Battery Power'" in said else None


class _PowerStatus(ctypes.Structure):
    """Windows' SYSTEM_POWER_STATUS."""

    _fields_ = (
        ("ac_line", ctypes.c_ubyte), ("flag", ctypes.c_ubyte), ("percent", ctypes.c_ubyte), ("saver", ctypes.c_ubyte),
        ("seconds", ctypes.c_ulong), ("full_seconds", ctypes.c_ulong),
    )  # fmt: skip


def _of_windows() -> float | None:
    status = _PowerStatus()
    known = ctypes.windll.kernel32.GetSystemPowerStatus(ctypes.byref(status))  # type: ignore[attr-defined,unused-ignore]
    return status.percent / 100 if known and status.ac_line == 0 and status.percent <= 100 else None
