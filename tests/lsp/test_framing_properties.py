"""The frame reader: bytes cut anywhere, with anything in between, with wrong lengths."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from midfill.lsp.framing import MAX_HEADER, Bad, Event, FrameReader, Message
from tests.lsp.made import PIECES, frame, shown

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20)),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(st.text(max_size=5), below, max_size=3)),
    max_leaves=8,
)
MESSAGES = st.dictionaries(st.text(max_size=6), VALUES, min_size=1, max_size=3)
GARBAGE = st.one_of(st.binary(max_size=80), st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))


def fed(data: bytes, cuts: list[int]) -> list[Event]:
    """Return what a reader makes of ``data`` that comes in pieces."""
    reader = FrameReader()
    events: list[Event] = []
    bounds = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    for start, end in itertools.pairwise(bounds):
        events += reader.feed(data[start:end])
    return events


@settings(max_examples=150, deadline=None)
@given(st.lists(MESSAGES, max_size=6), st.lists(st.integers(0, 10**6), max_size=8), st.booleans())
def test_sound_frames_arrive_however_they_are_cut(values: list[dict[str, Any]], cuts: list[int], escaped: bool) -> None:
    bodies = [json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass") for value in values]
    data = b"".join(b"Content-Length: %d\r\n\r\n%b" % (len(body), body) for body in bodies)
    assert shown(fed(data, cuts)) == values


@settings(max_examples=200, deadline=None)
@given(GARBAGE, st.lists(st.integers(0, 10**6), max_size=8))
def test_garbage_loses_at_most_one_message(garbage: bytes, cuts: list[int]) -> None:
    data = garbage + frame({"first": 1}) + frame({"second": 2}) + frame({"third": 3})
    events = fed(data, cuts)
    assert Message({"second": 2}) in events
    assert events[-1] == Message({"third": 3})


@settings(max_examples=150, deadline=None)
@given(MESSAGES, st.integers(0, 10**12), st.lists(st.integers(0, 10**6), max_size=5))
def test_a_wrong_length_is_made_good(value: dict[str, Any], length: int, cuts: list[int]) -> None:
    data = frame(value, length) + frame({"second": 2}) + frame({"third": 3})
    events = fed(data, cuts)
    assert events[-1] == Message({"third": 3})
    assert sum(isinstance(event, Bad) for event in events) <= 2


@settings(max_examples=200, deadline=None)
@given(st.lists(GARBAGE, max_size=40))
def test_nothing_piles_up(pieces: list[bytes]) -> None:
    reader = FrameReader()
    for piece in pieces:
        reader.feed(b"Content-Length: 99999999999\r\n\r\n" + piece)
        assert reader.n_buffered <= MAX_HEADER + len(piece) + 40
