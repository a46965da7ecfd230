"""The edge of the command line: every error becomes one line for users and what to do, never a traceback."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable

from midfill.faults import in_words
from midfill.types import MidfillError

BROKEN_PIPE = 141  # as a shell reports a command whose reader has left
INTERRUPTED = 130


def guarded(action: Callable[[], int], command: str = "", *, one_line: bool = False) -> int:
    """Return what ``action`` returns, or the exit status for what it raised, after printing that on standard error."""
    _be_able_to_print()
    try:
        code = action()
        _flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _give_up_stdout()
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the last edge: a person reads what is printed here
        _tell(in_words(error, command), one_line=one_line)
        with contextlib.suppress(OSError, ValueError):
            _flush()
            return 1
        _give_up_stdout()
        return 1
    return code


def _tell(error: MidfillError, *, one_line: bool) -> None:
    lines = [f"midfill: {error}"] if one_line else [f"midfill: {error.message}"]
    if error.remedy and not one_line:
        lines.append(f"  -> {error.remedy}")
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print("\n".join(lines), file=sys.stderr, flush=True)


def _be_able_to_print() -> None:
    """Make printing safe: characters that a terminal or pipe cannot show become escapes; a closed one takes nothing."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - as long as we live
        elif isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    """Write out what was printed, or raise the reason here and not at the interpreter's end."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _give_up_stdout() -> None:
    """Standard output has no reader, or its disk is full: the interpreter's own flush at the end must not
    fail again."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
