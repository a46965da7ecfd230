"""No module is imported from the working directory: opening a repository must not run its ``asyncio.py``.

Importing this takes folders out of ``sys.path`` that PYTHONPATH names relative to the working directory; an empty entry
(``PYTHONPATH=/x:``) is the working directory itself. The package imports it before everything else. What Python imports
earlier than that cannot be saved here (SECURITY.md). Nothing may be imported here but what has been imported already.
"""

# ruff: noqa: PTH100, PTH117 - pathlib would be imported from where it must not be

import os
import sys

ENGINE_KEY = "MIDFILL_ENGINE_KEY"


def absolute(path: str) -> list[str]:
    """Return the entries of a PYTHONPATH that name the same folder wherever a process runs."""
    return [entry for entry in path.split(os.pathsep) if os.path.isabs(entry)]


def drop_relative(path: str) -> None:
    """Remove from ``sys.path`` the folders that PYTHONPATH names relative to the working directory."""
    entries = path.split(os.pathsep) if path else []
    named = {os.path.abspath(entry) for entry in absolute(path)}
    unsafe = {os.path.abspath(entry) for entry in entries if not os.path.isabs(entry)} - named
    if unsafe:
        sys.path[:] = [entry for entry in sys.path if not entry or os.path.abspath(entry) not in unsafe]


def child_environment(env: dict[str, str] | None = None, *, with_key: bool = False) -> dict[str, str]:
    """Return ``env`` (None: this process's own) for a Python child that imports no module from its working directory.

    ``with_key``: the child asks an engine elsewhere, and so needs its key.
    """
    mine = {**(os.environ if env is None else env), "PYTHONSAFEPATH": "1"}
    if not with_key:
        mine.pop(ENGINE_KEY, None)
    if "PYTHONPATH" in mine:
        mine["PYTHONPATH"] = os.pathsep.join(absolute(mine["PYTHONPATH"]))
        if not mine["PYTHONPATH"]:
            del mine["PYTHONPATH"]
    return mine


if not sys.flags.ignore_environment:
    drop_relative(os.environ.get("PYTHONPATH", ""))
