"""Which frames of a film went back."""

from __future__ import annotations

import pytest
from scripts.drive.film import Film, GhostText, Key, went_back


def film(*events: tuple[float, str, str]) -> Film:
    """Return a film of (time, "frame" or "key", text)."""
    return Film(
        [GhostText(at, text) for at, kind, text in events if kind == "frame"],
        [Key(at, text) for at, kind, text in events if kind == "key"],
    )


@pytest.mark.parametrize(
    ("events", "backs"),
    [
        ([(1, "frame", "one"), (2, "frame", "one two")], []),  # it grows
        ([(1, "frame", "one two"), (9, "frame", "one")], [("one two", "one")]),
        ([(1, "frame", "one two"), (9, "frame", "")], [("one two", "")]),
        ([(1, "frame", "one"), (9, "frame", "two")], [("one", "two")]),
        ([(1, "frame", "one two"), (2, "key", "o"), (2.1, "frame", "ne two")], []),  # typed along
        ([(1, "frame", "one two"), (2, "key", "o"), (2.1, "frame", "ne")], [("one two", "ne")]),
        ([(1, "frame", "one two"), (2, "key", "o"), (2.1, "frame", "")], [("one two", "")]),
        ([(1, "frame", "one two"), (2, "key", "x"), (2.1, "frame", "")], []),  # disagreed with
        ([(1, "frame", "one two"), (2, "key", ""), (2.1, "frame", "")], []),  # Escape, Tab, Enter, a cursor key
        ([(1, "frame", "one two"), (2, "key", ""), (3.5, "frame", "")], [("one two", "")]),  # long ago
        ([(1, "frame", "one"), (2, "key", "o"), (2.1, "key", "n"), (2.2, "frame", "e")], []),  # two keys a frame
        (
            [
                (1, "frame", "one"),
                (2, "key", "o"),
                (2.1, "frame", "ne more"),
                (2.2, "key", "n"),
                (2.3, "frame", "e more"),
            ],
            [],
        ),
        ([(1, "frame", "one"), (2, "key", "o"), (2.1, "key", "x"), (2.2, "frame", "ne"), (2.3, "frame", "")], []),
        ([(1, "frame", "one"), (2, "key", "o"), (2.1, "frame", "one")], []),
    ],
)
def test_went_back(events: list[tuple[float, str, str]], backs: list[tuple[str, str]]) -> None:
    assert [(back.before, back.after) for back in went_back(film(*events))] == backs


@pytest.mark.parametrize(
    ("events", "seconds"),
    [
        ([(1, "key", "a")], None),
        ([(1, "key", "a"), (1.5, "frame", "x")], 0.5),
        ([(1, "frame", "ax"), (2, "key", "a"), (2.1, "frame", "x")], 0.0),
        ([(1, "frame", "ab"), (2, "key", "c"), (2.1, "frame", ""), (2.75, "frame", "x"), (3, "frame", "xy")], 0.75),
        ([(1, "frame", "ab"), (2, "key", "c"), (2.1, "frame", "")], None),
    ],
)
def test_after_last_key(events: list[tuple[float, str, str]], seconds: float | None) -> None:
    assert film(*events).after_last_key() == seconds


def test_first_text_after_a_time() -> None:
    seen = film((1, "frame", "old"), (2, "frame", ""), (3, "frame", "new"))
    assert seen.first_text_after(1.5) == 1.5
    assert seen.first_text_after(3.5) is None
