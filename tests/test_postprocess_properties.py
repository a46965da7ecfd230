"""What is shown, for any text of a model at any place: sound, settled, and nothing that the model did not say."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from midfill.postprocess import RULES, Place, PostProcessor
from midfill.postprocess.foreign import _is_invisible
from midfill.postprocess.rules import FINISH, PIPELINE
from midfill.syntax.lexical import OPENERS
from tests.postprocess.made import LANGUAGES, TEXTS, at_cursor

CLOSING = ")]}\"'`#,"
MAX_QUOTE = 3  # characters that end a string


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, TEXTS, LANGUAGES, st.booleans(), st.booleans())
def test_any_text_at_any_place(
    prefix: str, suffix: str, raw: str, language: str, finished: bool, cut_short: bool
) -> None:
    snapshot = at_cursor(prefix, suffix, language)
    processor = PostProcessor(snapshot)
    processor.ends(raw)
    processor.stopped_early(raw, -1.0)
    shown = processor.shown(raw, finished=finished, cut_short=cut_short)
    line = snapshot.line_before + snapshot.line_after
    assert not [char for char in shown if char not in "\n\t" and char not in line and _is_invisible(char, "a")]
    # Without its indentation: what opens and closes one that it opened, its string's end, one brace, two commas.
    n_openers = sum(map(raw.count, OPENERS))
    assert len("".join(shown.split())) <= len("".join(raw.split())) + n_openers + MAX_QUOTE + 3
    # Before code on its line a whole line brings its end and the indentation of that code.
    assert (
        shown == shown.rstrip()
        or not shown.strip()
        or (snapshot.line_after.strip() and "\n" in shown)
        or (
            shown == shown.rstrip() + " " and snapshot.line_after[:1].isalnum()  # a space between two words
        )
    )
    assert {applied.rule for applied in processor.applied} <= RULES
    assert _is_within(shown, raw), (shown, raw)


def _is_within(shown: str, raw: str) -> bool:
    """Whether the characters of ``shown`` stand in ``raw`` in that order; white space, and what closes or opens at its
    end, aside."""
    text = "".join(shown.split())
    for kept in (text, text.removesuffix("{"), text.rstrip(CLOSING)):
        rest = iter("".join(raw.split()))
        if all(char in rest for char in kept):
            return True
    return False


# Of "x))" before ")" it takes one closer, as the text right of the cursor holds one: in "g(f(‸)" the other one is
# needed. What was cut once, "x)", looks like a middle that was never cut.
TAKES_ONE = {"drop_suffix_overlap"}


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS, TEXTS, LANGUAGES)
def test_a_rule_that_was_applied_has_nothing_left_to_do(prefix: str, suffix: str, raw: str, language: str) -> None:
    place = Place.of(at_cursor(prefix, suffix, language))
    for rule in PIPELINE + FINISH:
        if rule.__name__ not in TAKES_ONE:
            once = rule(raw, place)
            assert rule(once, place) == once, rule.__name__


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, TEXTS, LANGUAGES)
def test_what_is_shown_has_nothing_left_to_be_done(prefix: str, suffix: str, raw: str, language: str) -> None:
    """The whole pipeline: no rule makes work for one before it."""
    processor = PostProcessor(at_cursor(prefix, suffix, language), off=TAKES_ONE)
    once = processor.shown(raw, finished=True)
    assert processor.shown(once, finished=True) == once
