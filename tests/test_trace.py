"""The story of a request: its first line says what was shown, or why nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from midfill.trace import MAX_TEXT, Trace, from_plain, story, trace_of
from midfill.types import Completion, Facts, NamesFacts, PromptFacts, Snippet, Stats
from tests.support import at


def traced(**values: Any) -> Trace:
    trace = Trace(model="m", finish_reason="unit", answer_s=0.25)
    for name, value in values.items():
        setattr(trace, name, value)
    return trace


@pytest.mark.parametrize(
    ("trace", "first"),
    [
        (traced(n_shown=5, n_candidates=1), "Shown: 5 characters, from the model, after 250 ms."),
        (traced(n_shown=5, n_candidates=3), "Shown: 5 characters and 2 more, from the model, after 250 ms."),
        (traced(n_shown=5, n_candidates=1, hit="typed through"), "Shown: 5 characters, from the cache, after 250 ms."),
        (
            traced(n_shown=5, n_candidates=1, hit="growing", answer_s=2.0),
            "Shown: 5 characters, from a generation that was still growing, after 2.0 s.",
        ),
        (traced(), "Nothing was shown: the model wrote nothing here."),
        (traced(finish_reason=""), "Nothing was shown: it ended before the model wrote anything."),
        (traced(n_raw=3), "Nothing was shown: the model wrote only white space."),
        (
            traced(n_raw=30, rules=[("trim_end", 2), ("drop_repeated_line", 28)]),
            "Nothing was shown: the rule drop_repeated_line removed 28 of the 30 characters that the model wrote.",
        ),
        (
            traced(refused="text_right", why="there is much text to the right of the cursor"),
            "Nothing was shown: there is much text to the right of the cursor.",
        ),
    ],
)
def test_the_first_line(trace: Trace, first: str) -> None:
    assert story(trace).split("\n")[0] == first


def whole() -> Trace:
    snippet = Snippet("secret-b.py", "b" * 90, "imports", 0.5)
    facts = Facts(
        "automatic", "m", "mine", scope="code", debounce_s=0.1, rules=(("trim_end", 1),), confidence=0.875,
        prompt=PromptFacts((snippet,), n_prefix=100, n_suffix=50, n_snippets=20, budget=1024),
    )  # fmt: skip
    trace = trace_of(
        Completion(
            "secret_value", at("a = 1\nsecret = ‸", path="secret-name.py"), True, "engine", "unit",
            Stats(n_cached=90, n_decoded=7, n_drafted=4, n_accepted=2, ttft_s=0.2), "secret_value\n", "abc",
            facts=facts,
        )
    )  # fmt: skip
    trace.answer_s = 0.25
    return trace


def test_the_whole_story() -> None:
    text = story(whole())
    for part in (
        "secret-name.py:2:10 python", "automatic, in code", "adapter mine", "100 tokens before the cursor, 50 after",
        "20 of other files; 90 reused from the cache; budget 1024", "secret-b.py (imports 0.50, 90 characters)",
        "'secret_value\\n'", "1 character (trim_end)", "end of the statement or block", "0.88",
        "waited for the next key 100 ms", "first token 200 ms", "7 decoded, 2 of 4 guessed", "abc",
    ):  # fmt: skip
        assert part in text


@pytest.mark.parametrize(("names", "expected"), [
    (NamesFacts("cart", "jedi", 3, True, True), "all 3 of cart, from jedi; one of them was chosen"),
    (NamesFacts("cart", "client", 3, False, False), "3 of cart, from client; made likelier"),
    (
        NamesFacts("cart", "client", 3, True, True, by_usage=True),
        "all 3 of cart, from client; one of them was chosen, those first that other files use in similar code",
    ),
    (NamesFacts("cart", "usage", 3, False, False, by_usage=True), "3 of cart, as other files use them; made likelier"),
    (
        NamesFacts("cart.add", "jedi", 2, True, False, True, "parameters"),
        "all 2 parameters of cart.add, from jedi; made likelier",
    ),
    (
        NamesFacts("add", "index", 2, False, False, False, "parameters"),
        "2 parameters of add, from index; used to check the arguments",
    ),
])  # fmt: skip
def test_what_was_known_of_the_names(names: NamesFacts, expected: str) -> None:
    trace = traced()
    trace.take(Completion("", at("‸"), facts=Facts("automatic", prompt=PromptFacts(names=names))))
    assert expected in story(trace)
    hidden = from_plain(json.loads(json.dumps(trace.without_text())))
    assert names.receiver not in story(hidden).partition("names")[2]


def test_what_may_lie_on_the_disk_holds_no_text_and_no_names() -> None:
    values = whole().without_text()
    assert "secret" not in json.dumps(values)
    text = story(from_plain(json.loads(json.dumps(values))))
    assert "secret" not in text
    assert text.split("\n")[0] == story(whole()).split("\n")[0]
    assert "13 characters" in text  # how long what the model said was


def test_there_and_back() -> None:
    values = json.loads(json.dumps(whole().plain()))
    assert from_plain({**values, "unknown": 1}) == whole()


def test_a_long_text_is_cut_and_nothing_breaks_a_line() -> None:
    trace = traced(uri="file:///a\n\x1b[31mb", refused="x", why="a\nb\u202e")
    trace.take(Completion("x" * 9000, at("‸"), raw="y\n" * 9000))
    assert (len(trace.raw), trace.n_raw, len(trace.shown), trace.n_shown) == (MAX_TEXT, 18000, MAX_TEXT, 9000)
    text = story(trace)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.split("\n")[0] == "Nothing was shown: a\ufffdb\ufffd."
