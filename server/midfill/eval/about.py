"""Where and with what a measurement was made: the part that every line of JSON carries."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midfill.types import MidfillError


def machine() -> dict[str, Any]:
    """Return the machine that the measurement ran on."""
    return {"cpu": _cpu(), "cores": cores(), "system": platform.platform(terse=True)}


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions of the packages that take part; "" for one that is not installed."""
    found = {"python": platform.python_version()}
    for name in ("midfill", "torch", "transformers", "tokenizers"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


@functools.cache
def commit() -> str:
    """Return the commit of the running checkout; "" if it is not a checkout. Call this at the start: a checkout may
    change meanwhile."""
    here = Path(__file__).parent
    try:
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=9"],  # noqa: S607
            cwd=here, capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError:
        return ""
    return asked.stdout.strip()


def load_average() -> list[float]:
    """Return the machine's load average; [] if the system does not report it."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else []


def measured(bench: str, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the line of JSON of ``bench``: its figures, and where and with what they were measured."""
    about = {"machine": {**machine(), "load_average": load_average()}, "versions": versions(), "commit": commit()}
    return {"bench": bench, **about, **rounded(dict(figures))}


def rounded(value: Any) -> Any:
    """Return ``value`` with its floats rounded to six decimals, for JSON."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def need_matplotlib(otherwise: str = "leave --plot away") -> None:
    """Raise MidfillError if matplotlib is missing: better before the run than after it."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MidfillError("the plot needs matplotlib", f"pip install 'midfill[bench]', or {otherwise}")
