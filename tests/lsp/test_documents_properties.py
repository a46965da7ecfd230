"""The text store against a reference, with examples that are made to break it."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from midfill.lsp.documents import ContentChange, Documents, Span
from midfill.lsp.positions import Encoding
from tests.lsp.made import URI, offset

PIECES = ("a", "b ", "\t", "\n", "\r", "\r\n", "\f", "\v", "\x1c", "\u2028", "\u2029", "\x85", "é", "e\u0301", "中",
          "😀", "\U00010000", "\ud83d", "\ude00", "\ud800", "\ufeff", "\x00", "def f():\n")  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
SMALL = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
POSITIONS = st.tuples(st.integers(0, 12), st.one_of(st.integers(0, 12), st.sampled_from((10**6, 2**31 - 1, 10**30))))
EDITS = st.lists(
    st.one_of(st.tuples(SMALL, POSITIONS, POSITIONS), SMALL.map(lambda text: (text, None, None))), max_size=12
)
ENCODINGS = st.sampled_from(("utf-8", "utf-16", "utf-32"))


def joined(text: str) -> str:
    """Two halves of a pair that meet are one character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if _has_pair(text) else text


def _has_pair(text: str) -> bool:
    return re.search("[\ud800-\udbff][\udc00-\udfff]", text) is not None


@settings(max_examples=150, deadline=None)
@given(TEXTS, EDITS, ENCODINGS, st.integers(1, 4))
def test_any_edits_equal_the_reference(
    text: str,
    edits: list[tuple[str, tuple[int, int] | None, tuple[int, int] | None]],
    encoding: Encoding,
    n_at_once: int,
) -> None:
    store = Documents()
    store.encoding = encoding
    store.open(URI, "python", 0, text)
    text = joined(text)
    version = 0
    for at in range(0, len(edits), n_at_once):
        some = edits[at : at + n_at_once]
        version += 1
        store.change(
            URI,
            version,
            [ContentChange(new, Span(*start, *end) if start and end else None) for new, start, end in some],
        )
        for new, start, end in some:
            if start and end:
                low, high = sorted((offset(text, *start, encoding), offset(text, *end, encoding)))
                text = joined(text[:low] + new + text[high:])
            else:
                text = joined(new)
        document = store.get(URI)
        assert document is not None
        if document.stale:  # a range that is not there: nothing is known until the full text comes
            store.change(URI, version + 1, [ContentChange(text)])
            version += 1
        assert document.text == text
        assert document.n_chars == len(text)
        assert document.lines == re.split("(?<=\n)|(?<=\r)(?!\n)", text)


@settings(max_examples=150, deadline=None)
@given(TEXTS, POSITIONS, ENCODINGS)
def test_a_snapshot_is_the_text_around_its_cursor(text: str, position: tuple[int, int], encoding: Encoding) -> None:
    store = Documents()
    store.encoding = encoding
    store.open(URI, "python", 0, text)
    snapshot = store.snapshot(URI, *position)
    if snapshot is None:
        return
    whole = joined(text)
    at = offset(whole, *position, encoding)
    unix = re.compile("\r\n?")
    head, tail = whole[:at], whole[at:]
    bare = (head.removeprefix("\ufeff"), tail if head else tail.removeprefix("\ufeff"))
    assert (snapshot.prefix, snapshot.suffix) == (unix.sub("\n", bare[0]), unix.sub("\n", bare[1]))
    assert "\r" not in snapshot.text
