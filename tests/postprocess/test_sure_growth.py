"""While a middle grows, the shown text only gets longer, up to the text that is shown at its end. ``‸`` is the
cursor."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midfill.engine.base import Delta
from midfill.in_flight import Candidate
from midfill.postprocess import RULES, AdaptiveThresholds, Place, PostProcessor, closed
from midfill.postprocess.confidence import Thresholds
from midfill.types import Snapshot
from tests.postprocess.made import LANGUAGES, TEXTS, at_cursor
from tests.support import at

_PIECE = re.compile(r" ?\w{1,4}|\n[ \t]*|[^\w\s]{1,2}|\s")


def grown(
    snapshot: Snapshot, pieces: Sequence[tuple[str, tuple[float, ...]]], reason: str, *,
    gate: AdaptiveThresholds | None = None, off: tuple[str, ...] = (), max_tokens: int = 0,
) -> tuple[list[str], Candidate]:  # fmt: skip
    """Return the text that was published after each piece, and the candidate at its end."""
    candidate, published = Candidate(PostProcessor(snapshot, off, gate), max_tokens), list[str]()
    for text, logprobs in pieces:
        candidate.push(Delta(text, logprobs=logprobs))
        if candidate.reason:
            break
        published.append(candidate.published)
    candidate.end(reason)
    return published, candidate


def told(text: str, logprob: float = -0.1) -> list[tuple[str, tuple[float, ...]]]:
    return [(piece, (logprob,)) for piece in _PIECE.findall(text)]


@settings(max_examples=150, deadline=None)
@given(
    TEXTS, TEXTS, TEXTS, LANGUAGES, st.sampled_from(("stop", "length", "unit")),
    st.lists(st.sampled_from((-0.01, -0.3, -1.0, -3.0)), min_size=1, max_size=6),
    st.sets(st.sampled_from(sorted(RULES)), max_size=3), st.sampled_from((0, 20)),
)  # fmt: skip
def test_nothing_is_taken_back(
    prefix: str,
    suffix: str,
    raw: str,
    language: str,
    reason: str,
    probabilities: list[float],
    off: set[str],
    limit: int,
) -> None:
    likely = itertools.cycle(probabilities)
    pieces: list[tuple[str, tuple[float, ...]]] = [(piece, (next(likely),)) for piece in _PIECE.findall(raw)]
    snapshot = at_cursor(prefix, suffix, language)
    published, candidate = grown(
        snapshot, pieces, reason, gate=AdaptiveThresholds("automatic"), off=tuple(sorted(off)), max_tokens=limit
    )
    for one, following in itertools.pairwise([*published, candidate.shown]):
        assert following.startswith(one), (one, following)


JSX = """export function List({items}) {
  return (
    ‸
  );
}
"""
TALL = """<div>
      <h1>Items</h1>
      {items.map((item) => (
        <Row key={item.id} name={item.name} />
      ))}
    </div>"""


@pytest.mark.parametrize(
    ("buffer", "language", "middle"),
    [
        # a third line of a kind, which is dropped for as long as it may be one of a run
        ("def f(a, b):\n    ‸\n", "python", "x = a.one\n    y = a.two\n    z = g(a, b) + 1\n    return x + y + z"),
        # what the line below says, and more
        ("if a:\n    ‸\n    return b\n", "python", "b = 1\n    return b if c else d"),
        ("f(‸)\n", "python", "a, g(b), c"),
        ("const f = () => {‸}\n", "javascript", "\n  g();\n  h();\n"),
        (JSX, "javascriptreact", TALL),
        (JSX, "typescriptreact", TALL.replace("<div>", '<div className="list">')),
        ("<li>‸</li>\n", "javascriptreact", "{item.name} <b>{item.n}</b>"),
        ("func f() int {\n\t‸\n}\n", "go", "if x {\n\t\treturn 1\n\t}\n\treturn 2"),
        ("# A list of‸\n", "python", " names, and what they mean"),
        ("a = {\n    ‸\n}\n", "python", '"b": 1,\n    "c": [1, 2],'),
        ("‸", "python", "Sure = 1\nHere = 2"),
    ],
)
def test_at_the_end_it_is_what_the_rules_show(buffer: str, language: str, middle: str) -> None:
    """No growth keeps what the rules would drop: everything that was shown is what they show."""
    snapshot = at(buffer, language=language)
    for n in range(1, len(middle) + 1):
        published, candidate = grown(snapshot, told(middle[:n]), "stop")
        assert PostProcessor(snapshot).shown(candidate.raw, finished=True) == candidate.shown
        assert all(candidate.shown.startswith(one) for one in published)


@pytest.mark.parametrize(
    ("buffer", "language", "middle", "after"),
    [
        ("x = ‸\n", "python", "add(a, b)", 4),  # in its first line, token by token
        ("def f(a, b):\n    ‸\n", "python", "x = a.one\n    y = b + 2\n    return x + y\n", 20),
        ("func f() int {\n\t‸\n}\n", "go", "if x {\n\t\treturn 1\n\t}\n\treturn 2", 12),
        (JSX, "javascriptreact", TALL, 25),
    ],
)
def test_it_grows_all_the_same(buffer: str, language: str, middle: str, after: int) -> None:
    """Something stands long before the end, and more and more of it."""
    published, _ = grown(at(buffer, language=language), told(middle), "stop")
    assert len(set(published)) > len(published) / 3
    beginnings = [text for text in published if text]
    assert beginnings
    assert len(beginnings[0]) <= after


@pytest.mark.parametrize(
    ("buffer", "language", "middle", "shown"),
    [
        # broken off in a list of arguments: its last whole one, and what closes it
        ("x = ‸\n", "python", "add(a, b, first.na", "add(a, b)"),
        ("x = ‸\n", "python", "add(a, g(b, c), h(d, e.", "add(a, g(b, c), h(d))"),
        ("x = add(‸)\n", "python", "a, b, first.na", "a, b"),
        ("x := ‸\n", "go", "f(a, []int{1, 2}, b.", "f(a, []int{1, 2})"),
        ("x = ‸\n", "python", "add(first.na", "add("),  # none is whole
        ("x = ‸\n", "python", 'add(a, "b, c', "add(a)"),
        ("x = ‸\n", "python", "first.na", "first.na"),  # no list
        ("# call add(‸\n", "python", "a, b, fi", "a, b, fi"),  # no code
    ],
)
def test_broken_off_in_a_line(buffer: str, language: str, middle: str, shown: str) -> None:
    assert PostProcessor(at(buffer, language=language)).shown(middle, cut_short=True, finished=True) == shown


@pytest.mark.parametrize(
    ("buffer", "language", "middle", "shown"),
    [
        (
            "func f(x bool) int {\n\t‸\n}\n", "go", "if x {\n\t\tcall(one, two, three, four)\n\t\treturn ca",
            "if x {\n\t\tcall(one, two, three, four)\n\t}",
        ),
        (
            "‸\n", "python", "done = run(\n    first,\n    second=2,\n    third=va",
            "done = run(\n    first,\n    second=2,\n)",
        ),
        (
            "‸\n", "go", "done := run(\n\tfirst,\n\tsecond,\n\tthird.fo",
            "done := run(\n\tfirst,\n\tsecond,\n)",
        ),
        ("‸\n", "python", "one = 1\ntwo = 2\nthree = va", "one = 1\ntwo = 2"),
    ],
)  # fmt: skip
def test_broken_off_below_what_was_shown(buffer: str, language: str, middle: str, shown: str) -> None:
    pieces = told(middle)
    published, candidate = grown(at(buffer, language=language), pieces, "length", max_tokens=len(pieces))
    assert candidate.shown == shown
    assert shown.startswith(published[-1])
    assert "\n" in published[-1]


def test_a_line_that_is_shown_is_not_judged_again() -> None:
    """It was strong enough when it came to be shown; one that was weak then is never shown."""
    weak = [("aaa", (-0.2,)), (" = ", (-0.2,)), ("b", (-0.2,)), (" + c + d + e + f", (-9.0,) * 9)]
    gate = AdaptiveThresholds("automatic", default=Thresholds(-1.2, -0.9))
    published, candidate = grown(at("‸\n"), weak, "stop", gate=gate)
    assert published[2] == "aaa = b"
    assert candidate.shown.startswith("aaa = b")
    published, candidate = grown(at("‸\n"), weak[::-1], "stop", gate=gate)
    assert (set(published), candidate.shown) in (({""}, ""), (set(), ""))


@pytest.mark.parametrize(
    ("buffer", "language", "shown", "whole"),
    [
        ("x = ‸\n", "python", "add(a, b", "add(a, b)"),
        ("x = ‸\n", "python", "add([a, {b", "add([a, {b}])"),
        ("x = add(‸)\n", "python", "a, g(b", "a, g(b)"),
        ("‸\n", "javascript", "if (a) {\n  f(b)", "if (a) {\n  f(b)\n}"),
        ("if (a) {\n  ‸\n}\n", "javascript", "while (b) {\n    f();", "while (b) {\n    f();\n  }"),
        ("‸\n  body();\n}\n", "javascript", "if (a) {", "if (a) {"),  # closed below
        ("x = ‸\n", "python", "'add(a, b", "'add(a, b"),  # a string is not known to end there
        ("# ‸\n", "python", "see add(a", "see add(a"),
        ("‸\n", "markdown", "- see (a", "- see (a"),
        ("x = ‸\n", "python", "", ""),
    ],
)
def test_what_stands_at_the_deadline_is_closed(buffer: str, language: str, shown: str, whole: str) -> None:
    assert closed(shown, Place.of(at(buffer, language=language))) == whole
