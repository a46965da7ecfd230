"""Exceptions in logs: their kind and place, never their text."""

from __future__ import annotations

import asyncio
import errno
import logging
import subprocess
import sys
from io import StringIO

import pytest

from midfill import faults
from midfill.types import MidfillError

CANARY = "def secret_of_the_user():"


def _raised() -> Exception:
    try:
        raise ValueError(CANARY) from KeyError(CANARY)
    except ValueError as error:
        return error


def test_kind_and_place_without_text() -> None:
    text = faults.described(_raised())
    assert text.startswith("ValueError at test_faults.py:")
    assert text.endswith(" in _raised")
    assert faults.described(ValueError(CANARY)) == "ValueError"


def test_a_log_at_every_level_and_of_the_loop() -> None:
    out = StringIO()
    handler, other = logging.StreamHandler(out), logging.StreamHandler(StringIO())
    handler.setFormatter(faults.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("midfill.faults")
    before = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        for first in (other, handler):  # another handler may have put the whole text into the record
            logger.addHandler(first)
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            logger.log(level, "failed", exc_info=_raised())

        async def fails() -> None:
            asyncio.get_running_loop().set_exception_handler(faults.loop_handler)
            asyncio.get_running_loop().call_soon(_raise)
            await asyncio.sleep(0.01)

        asyncio.run(fails())
    finally:
        logger.setLevel(before)
        logger.removeHandler(other)
        logger.removeHandler(handler)
    assert out.getvalue().count("ValueError at test_faults.py:") == 6
    assert CANARY not in out.getvalue()


def _raise() -> None:
    raise ValueError(CANARY)


def test_what_nothing_catches() -> None:
    program = (
        "import threading; from midfill import faults; faults.hook()\n"
        f"def fails(): raise ValueError({CANARY!r})\n"
        "class Dies:\n"
        "    def __del__(self): fails()\n"
        "thread = threading.Thread(target=fails); thread.start(); thread.join()\n"
        "Dies()\n"
        "fails()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("midfill: ValueError at <string>:2 in fails") == 3
    assert CANARY not in done.stderr
    assert "Traceback" not in done.stderr


def _caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "memory ran out"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object", name="torch._C"), "memory ran out"),
        (ImportError("a.so: cannot allocate memory in static TLS block"), "memory ran out"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory ran out"),
        (RuntimeError("can't start new thread"), "memory ran out"),
        (_caused(OSError("no such library"), OSError("a.so: failed to map segment")), "memory ran out"),
        (_caused(ImportError("numba", name="numba"), MemoryError()), "memory ran out"),
        (ImportError("numba", name="numba"), "numba is needed for this and not installed"),
        (ImportError("a.so: undefined symbol", name="_C"), "_C is missing or damaged"),
        (OSError(errno.ENOSPC, "No space left on device"), "the system refused: No space left on device"),
        (ValueError("out of memory"), "unexpected error: ValueError"),  # its text may be of the user's
        (_caused(MidfillError("ours", "do"), MemoryError()), "ours"),
    ],
)
def test_memory_that_ran_out(error: Exception, message: str) -> None:
    """Libraries say it in their own words, and some that a file is missing which could not be mapped."""
    assert faults.in_words(error).message == message
