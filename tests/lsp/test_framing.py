"""The frame reader: every row is bytes in, events out, however the bytes are cut."""

from __future__ import annotations

import random
from typing import Any

import pytest

from midfill.lsp.framing import MAX_HEADER, Bad, Event, FrameReader, Message
from tests.lsp.made import PIECES, frame, shown
from tests.support import Clock

A, B, C = {"a": 1}, {"b": "\r\n\r\n"}, {"c": [1]}
ROWS: dict[str, tuple[bytes, list[Any]]] = {
    "plain": (frame(A) + frame(B), [A, B]),
    "header case": (frame(A, header="cOnTeNt-lEnGtH"), [A]),
    "other headers": (b"X-Y: z\r\nContent-Type: application/x; charset=utf-8\r\n" + frame(A), [A]),
    "garbage before": (b"hello\r\n\r\n" + frame(A), ["header", A]),
    "garbage without line ends": (b"\x00\xff{}" + frame(A), ["header", A]),
    "long garbage": (b"x" * 3 * MAX_HEADER + frame(A) + frame(C), ["header", A, C]),
    "no number": (b"Content-Length: x\r\n\r\n" + frame(A), ["header", A]),
    "negative": (b"Content-Length: -5\r\n\r\n" + frame(A), ["header", A]),
    "two lengths": (b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + frame(A), ["header", "json", A]),
    "too small": (frame(A, 3) + frame(B) + frame(C), ["json", B, C]),
    "zero": (frame(A, 0) + frame(C), ["json", C]),
    "too large by a few": (frame(A, 12) + frame(B) + frame(C), [A, B, C]),
    "too large by a header": (frame(A, 30) + frame(B) + frame(C), [A, B, C]),
    "too large by a lot": (frame(A, 5000) + frame(B) + frame(C), [A, B, C]),
    "cut and too large": (frame(A, 5000)[:-3] + frame(B), ["cut", B]),
    "not json": (b"Content-Length: 4\r\n\r\n{{{{" + frame(A), ["json", A]),
    "not utf-8": (b'Content-Length: 4\r\n\r\n"\xff\xfe"' + frame(A), ["json", A]),
    "NaN": (b"Content-Length: 3\r\n\r\nNaN" + frame(A), ["json", A]),
    "deep": (frame(0, 200_000)[:-1] + b"[" * 200_000 + frame(A), ["json", A]),
    "refused": (frame(A, 10**12) + frame(B), ["size", B]),
    "absurd": (frame(A, 10**60) + frame(B), ["size", B]),
    "line ends between": (frame(A) + b"\r\n\r\n" + frame(B), [A, B]),
    "pretty body": (b'Content-Length: 14\r\n\r\n{\r\n\r\n"a": 1\r\n}' + frame(B), [A, B]),
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_rows(name: str, step: int) -> None:
    data, expected = ROWS[name]
    if len(data) > 50_000 and step == 1:
        step = 997
    reader = FrameReader()
    events: list[Event] = []
    for at in range(0, len(data), step):
        events += reader.feed(data[at : at + step])
    assert shown(events) == expected


def test_a_refused_body_takes_no_memory() -> None:
    reader = FrameReader()
    assert reader.feed(b"Content-Length: 1000000000000\r\n\r\n") == [Bad("size")]
    for _ in range(300):
        assert reader.feed(b"z" * 65536) == []
        assert reader.n_buffered <= MAX_HEADER + 65536
    assert shown(reader.feed(frame(A))) == [A]


def test_silence() -> None:
    clock = Clock(0.0)
    reader = FrameReader(clock)
    assert reader.wait() is None
    reader.feed(frame(A, 500))
    assert reader.wait() == 0.5
    assert reader.idle() == []
    clock.now = 0.6
    assert shown(reader.idle()) == [A]
    assert reader.wait() is None
    reader.feed(frame(A, 500)[:-2])
    clock.now = 1.2
    assert reader.idle() == []
    assert reader.wait() == pytest.approx(9.4)
    clock.now = 11.0
    assert reader.idle() == [Bad("cut")]
    assert shown(reader.feed(frame(B))) == [B]


def test_a_large_body_arrives_whole() -> None:
    reader = FrameReader()
    value = {"text": "x" * (20 << 20)}
    data = frame(value)
    events: list[Event] = []
    for at in range(0, len(data), 65536):
        events += reader.feed(data[at : at + 65536])
    assert shown(events) == [value]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_came_before_the_second_good_message_arrives(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        garbage = b"".join(rng.choices(PIECES, k=rng.randint(0, 12)))
        data = garbage + frame({"first": 1}) + frame({"second": 2}) + frame({"third": 3})
        reader = FrameReader()
        events: list[Event] = []
        while data:
            n_bytes = rng.choice((1, 5, 30, 1000))
            events += reader.feed(data[:n_bytes])
            data = data[n_bytes:]
        assert Message({"second": 2}) in events, garbage
        assert events[-1] == Message({"third": 3}), garbage
