"""A rule over (middle, place), and the languages that it applies to."""

from __future__ import annotations

import functools
from collections.abc import Callable

from midfill.postprocess.place import Place
from midfill.postprocess.traits import Traits

Rule = Callable[[str, Place], str]
Where = Callable[[Traits], bool]

# The scope of each rule, by the rule's name.
WHERE: dict[str, Where] = {}


def everywhere(_language: Traits) -> bool:
    """In every language, prose included."""
    return True


def not_in_prose(language: Traits) -> bool:
    """In everything but prose; markup and unknown languages are included."""
    return not language.prose


def in_code(language: Traits) -> bool:
    """In languages that have no prose outside of strings and comments."""
    return language.is_code


def where_brackets_pair(language: Traits) -> bool:
    """In languages in which a closing bracket always closes one."""
    return language.has_brackets


def where_braces_open(language: Traits) -> bool:
    """In languages in which a brace opens a block."""
    return language.has_braces


def where_trailing_commas_fail(language: Traits) -> bool:
    """In languages in which a comma before a closing bracket is an error."""
    return language.refuses_trailing_commas


def where_style_indents(language: Traits) -> bool:
    """In languages in which tabs and spaces are a matter of the file's style."""
    return not language.prose and language.id != "makefile"


def where_lines_differ(language: Traits) -> bool:
    """In languages in which a line that repeats the previous one adds nothing."""
    return language.id not in ("asm", "diff")


def rule(where: Where) -> Callable[[Rule], Rule]:
    """Return a decorator for a rule that leaves a middle unchanged in languages that ``where`` does not name."""

    def decorate(apply: Rule) -> Rule:
        @functools.wraps(apply)
        def held(middle: str, place: Place) -> str:
            return apply(middle, place) if where(place.traits) else middle

        WHERE[apply.__name__] = where
        return held

    return decorate
