"""Arguments that a callee does not take: a name that it lacks, or more arguments than it has parameters, when all its
parameters are known."""

from __future__ import annotations

import re

from midfill.postprocess.place import Place
from midfill.postprocess.rule import rule
from midfill.postprocess.traits import Traits
from midfill.syntax.calls import CONSTRUCTS, READ, arguments, is_unfit, opened


def where_calls_are_read(language: Traits) -> bool:
    """In languages in which a surplus argument is an error, and calls look like calls."""
    return language.id in READ


@rule(where_calls_are_read)
def drop_unfit_arguments(middle: str, place: Place) -> str:
    """End before an argument that its callee does not take. A word at the end may still become a name that it takes."""
    calls, state = place.known.calls, place.state
    if not calls or not middle or not state.is_code:
        return middle
    before = opened(place.prefix, place.language, state.brackets) if state.brackets else ()
    unfit = [
        one.cut for one in arguments(middle, place.language, state, before, place.before)
        if (signature := calls.get(one.call.callee)) is not None and is_unfit(one, signature, place.language)
        and not _is_bound(signature.callee, middle[: one.cut])
    ]  # fmt: skip
    return middle[: min(unfit)] if unfit else middle


def _is_bound(callee: str, text: str) -> bool:
    """Whether ``text`` may give the name another meaning: it says the name other than to call it or a member of it."""
    name = re.escape(callee.removeprefix(CONSTRUCTS).partition(".")[0])
    return re.search(rf"(?<![\w.]){name}\b(?!\s*[.(])|\b(?:def|class)\s+{name}\b", text) is not None
