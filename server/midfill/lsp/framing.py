"""The framing of the base protocol, from bytes to JSON values, built to survive whatever a broken client sends.

A wrong Content-Length never loses more than the message it belongs to. A raw CRLF cannot occur inside a JSON string,
so a header found in the middle of a body is a real header, and reading continues there.

It is our own because pygls' reader trusts every header: with pygls' framing and transport as they come, the server
failed 35 of 80 black-box checks.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

MAX_BODY = 64 << 20
MAX_HEADER = 8 << 10
COMPLETE_AFTER_S = 0.5  # seconds to wait for a body that is already complete JSON, but shorter than announced
DROP_AFTER_S = 10.0  # seconds to wait for any other body

_HEADER = re.compile(rb"content-length[ \t]*:[ \t]*\d+[ \t]*\r\n(?:[!-9;-~]+:[^\r\n]*\r\n)*\r\n", re.IGNORECASE)
_BLANK = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Message:
    """One JSON value of any kind."""

    value: Any


@dataclass(frozen=True, slots=True)
class Bad:
    """Input that is not a message. One for each incident, however many bytes it took."""

    kind: Literal["header", "size", "json", "cut"]


Event = Message | Bad


class FrameReader:
    """Feed it the bytes that arrive; call ``idle`` after ``wait()`` seconds without any."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buffer = bytearray()
        self._need: int | None = None  # the length of the body, once its header was read
        self._seeking = False  # out of step: looking for the next header
        self._scanned = 0  # no blank line begins before this offset
        self._heard = clock()
        self._tried = False

    @property
    def n_buffered(self) -> int:
        """Number of bytes held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Event]:
        """Take ``data`` and return the messages that it completes."""
        self._buffer += data
        self._heard = self._clock()
        self._tried = False
        events: list[Event] = []
        while self._advance(events):
            pass
        return events

    def wait(self) -> float | None:
        """Return after how many seconds ``idle`` has something to decide; None while nothing is half read."""
        if self._seeking or (self._need is None and not self._buffer):
            return None
        limit = DROP_AFTER_S if self._tried or self._need is None else COMPLETE_AFTER_S
        return max(0.0, limit - (self._clock() - self._heard))

    def idle(self) -> list[Event]:
        """Decide what to do with a half-read message that has not grown for a while."""
        quiet_s = self._clock() - self._heard
        if self._seeking or (self._need is None and not self._buffer):
            return []
        if self._need is not None and not self._tried and quiet_s >= COMPLETE_AFTER_S:
            self._tried = True
            if (message := _parse(bytes(self._buffer))) is not None and isinstance(message.value, dict | list):
                self._restart(len(self._buffer))
                return [message]
        if quiet_s >= DROP_AFTER_S:
            self._restart(len(self._buffer))
            return [Bad("cut")]
        return []

    def _advance(self, events: list[Event]) -> bool:
        """Make one step; return False if the next one needs more bytes."""
        if self._seeking:
            return self._seek()
        if self._need is None:
            return self._read_header(events)
        return self._read_body(self._need, events)

    def _seek(self) -> bool:
        if (start := self._find_header(len(self._buffer))) is not None:
            self._restart(start)
            return True
        excess = len(self._buffer) - MAX_HEADER
        if excess > 0:
            del self._buffer[:excess]
            self._scanned = max(0, self._scanned - excess)
        return False

    def _read_header(self, events: list[Event]) -> bool:
        _strip_left(self._buffer)
        end = self._buffer.find(_BLANK, 0, MAX_HEADER + len(_BLANK))
        if end < 0:
            if len(self._buffer) <= MAX_HEADER:
                return False
            return self._lost("header", 1, events)
        length = _content_length(bytes(self._buffer[:end]))
        if length is None:
            return self._lost("header", 1, events)
        if length > MAX_BODY:
            return self._lost("size", end + len(_BLANK), events)
        self._restart(end + len(_BLANK))
        self._need = length
        return True

    def _read_body(self, need: int, events: list[Event]) -> bool:
        embedded = self._find_header(need)
        if embedded is not None:  # the announced length was too long: the next message has begun
            events.append(_parse(bytes(self._buffer[:embedded])) or Bad("cut"))
            self._restart(embedded)
            return True
        if len(self._buffer) < need:
            return False
        body = bytes(self._buffer[:need])
        if (message := _parse(body)) is not None:
            events.append(message)
            self._restart(need)
            return True
        if (swallowed := _swallowed(body)) is not None:
            message, taken = swallowed
            events.append(message)
            self._restart(taken)
            return True
        return self._lost("json", 0, events)

    def _find_header(self, limit: int) -> int | None:
        """Return where a header block begins that ends before ``limit``. Looks at each byte once."""
        while (end := self._buffer.find(_BLANK, self._scanned, limit)) >= 0:
            low = max(0, end - MAX_HEADER)
            self._scanned = end + 1
            if (match := _HEADER.search(self._buffer, low, end + len(_BLANK))) is not None:
                start = match.start()
                del match  # the match locks the buffer
                return start
        self._scanned = max(self._scanned, min(limit, len(self._buffer)) - len(_BLANK) + 1)
        return None

    def _lost(self, kind: Literal["header", "size", "json"], n_drop: int, events: list[Event]) -> bool:
        events.append(Bad(kind))
        self._restart(n_drop)
        self._seeking = True
        return True

    def _restart(self, n_drop: int) -> None:
        del self._buffer[:n_drop]
        self._need, self._seeking, self._scanned = None, False, 0


def _content_length(block: bytes) -> int | None:
    """Return the length that a header block announces; None if it is not a header block."""
    lengths = set()
    for line in block.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon or len(name.split()) != 1:  # "POST /a:b HTTP/1.1" comes from a web page
            return None
        if name.strip().lower() == b"content-length":
            lengths.add(value.strip())
    if len(lengths) != 1:
        return None
    digits = lengths.pop()
    if not digits.isdigit():
        return None
    return int(digits) if len(digits) <= 18 else MAX_BODY + 1


def _strip_left(buffer: bytearray) -> None:
    """Drop line ends between messages."""
    n_blank = 0
    while n_blank < len(buffer) and buffer[n_blank] in b"\r\n \t":
        n_blank += 1
    if n_blank:
        del buffer[:n_blank]


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def _parse(body: bytes) -> Message | None:
    try:
        return Message(_DECODER.decode(body.decode("utf-8", "surrogatepass").removeprefix("\ufeff")))
    except (ValueError, RecursionError):
        return None


def _swallowed(body: bytes) -> tuple[Message, int] | None:
    """Return a whole value that swallowed the first letters of the next header, and its length in bytes."""
    tail = re.search(rb"[\r\n]*c[a-z\-]*[ \t]*:?[ \t]*\d*[\r\n]*$", body[-MAX_HEADER:], re.IGNORECASE)
    if tail is None or not b"content-length:".startswith(tail.group().strip().lower()[:15].replace(b" ", b"")):
        return None
    taken = len(body) - len(tail.group())
    message = _parse(body[:taken])
    return None if message is None else (message, taken)
