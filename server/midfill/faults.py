"""Exceptions as they may be written down: of which kind and where, never their text, which can hold source code."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import Any

N_FRAMES = 12  # the innermost ones are told

log = logging.getLogger(__name__)


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


class Formatter(logging.Formatter):
    """As logging's own, but of exceptions only what ``described`` tells."""

    def formatException(self, ei: Any) -> str:
        """``ei``: type, value and traceback."""
        return _described(ei[0], ei[2]) if ei and ei[0] is not None else ""

    def format(self, record: logging.LogRecord) -> str:
        """The record on lines of its own; a text that another handler has put together is not taken over."""
        record.exc_text = None
        text = super().format(record)
        record.exc_text = None
        return text


def loop_handler(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """For ``loop.set_exception_handler``; asyncio's own writes the exception's text into its message."""
    error = context.get("exception")
    log.error("in the background: %s", described(error) if error is not None else context.get("message"))


def hook() -> None:
    """What nothing else catches in this process is told without its text, on standard error."""

    def uncaught(kind: type[BaseException], _error: BaseException | None, trace: TracebackType | None) -> None:
        if not issubclass(kind, (KeyboardInterrupt, SystemExit)):
            say(f"midfill: {_described(kind, trace)}")

    sys.excepthook = uncaught
    threading.excepthook = lambda arguments: uncaught(
        arguments.exc_type, arguments.exc_value, arguments.exc_traceback
    )
    sys.unraisablehook = lambda arguments: uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)


def say(line: str) -> None:
    """``line`` on standard error, if there is one that takes it."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        pass
