"""Whether this machine runs on battery power. Asks the system without starting a program; no battery is no battery."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

SUPPLIES = Path("/sys/class/power_supply")
EVERY_S = 20.0  # a plug is seen so soon


class Power:
    """The last thing that is known of the power, asked for in a thread: a battery's controller may take its time."""

    def __init__(
        self, read: Callable[[], bool] | None = None, clock: Callable[[], float] = time.monotonic, *, wait: bool = False
    ) -> None:
        """``read`` says whether the machine is on battery; ``wait``: ask in this thread, for tests."""
        self._read, self._clock, self._wait = read or on_battery, clock, wait
        self._asked_at = float("-inf")
        self._known = False

    @property
    def on_battery(self) -> bool:
        """As of EVERY_S seconds ago at most, where somebody asks all the time. Never waits for the system."""
        now = self._clock()
        if now - self._asked_at >= EVERY_S:
            self._asked_at = now
            if self._wait:
                self._ask()
            else:
                threading.Thread(target=self._ask, name="midfill-power", daemon=True).start()
        return self._known

    def _ask(self) -> None:
        self._known = self._read()


def on_battery() -> bool:
    """Whether the machine runs on its battery; False where that is not known."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if sys.platform == "linux":
            return linux(SUPPLIES)
        if sys.platform == "darwin":
            return _macos()
        if sys.platform == "win32":
            return _windows()
    return False


def linux(folder: Path) -> bool:
    """What the kernel says of the supplies in ``folder``: a system battery discharges, and no mains is on line.

    The batteries of mice and phones (scope Device) are not the machine's. Raises OSError.
    """
    discharging = False
    for supply in folder.iterdir():
        kind = _word(supply / "type")
        if kind in ("Mains", "USB") and _word(supply / "online") == "1":
            return False
        if kind == "Battery" and _word(supply / "scope") != "Device":
            discharging = discharging or _word(supply / "status") == "Discharging"
    return discharging


def _word(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:  # not every supply has every file
        return ""


def _macos() -> bool:
    """IOPSGetProvidingPowerSourceType of IOKit: "Battery Power", "AC Power" or "UPS Power"."""
    kit = ctypes.CDLL("/System/Library/Frameworks/IOKit.framework/IOKit")
    core = ctypes.CDLL("/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation")
    kit.IOPSCopyPowerSourcesInfo.restype = ctypes.c_void_p
    kit.IOPSGetProvidingPowerSourceType.argtypes = [ctypes.c_void_p]
    kit.IOPSGetProvidingPowerSourceType.restype = ctypes.c_void_p
    core.CFStringGetCString.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_long, ctypes.c_uint32]
    core.CFRelease.argtypes = [ctypes.c_void_p]
    info = kit.IOPSCopyPowerSourcesInfo()
    if not info:
        return False
    try:
        name, utf8 = ctypes.create_string_buffer(64), 0x08000100
        source = kit.IOPSGetProvidingPowerSourceType(info)  # borrowed: it is not released
        known = source and core.CFStringGetCString(source, name, len(name), utf8)
        return bool(known) and name.value == b"Battery Power"
    finally:
        core.CFRelease(info)


class _SystemPowerStatus(ctypes.Structure):
    _fields_ = (
        ("ac_line", ctypes.c_ubyte),  # 0 off, 1 on, 255 unknown
        ("battery_flag", ctypes.c_ubyte),
        ("battery_percent", ctypes.c_ubyte),
        ("system_flag", ctypes.c_ubyte),
        ("battery_life_s", ctypes.c_ulong),
        ("battery_full_life_s", ctypes.c_ulong),
    )


def _windows() -> bool:
    status = _SystemPowerStatus()
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 - not there on other systems
    return bool(kernel.GetSystemPowerStatus(ctypes.byref(status))) and status.ac_line == 0


POWER = Power()  # of this machine, for who has no other
