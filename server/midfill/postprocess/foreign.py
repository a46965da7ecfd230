"""What does not belong in a file: invisible characters, the model's words to the user, other people's names."""

from __future__ import annotations

import re
import unicodedata

from midfill.postprocess.place import Place
from midfill.postprocess.rule import everywhere, in_code, rule

_JOINERS = "\u200c\u200d"  # several scripts and emoji are written with them


@rule(everywhere)
def drop_invisible(middle: str, place: Place) -> str:
    """Drop control, bidirectional, zero-width and filler characters, unless the cursor's line has them already.

    They can make code read differently from how it runs (Boucher & Anderson 2021, "Trojan Source", arXiv:2111.00169). A
    space of another width, or a no-break space, becomes a plain space in code, and stays in prose.
    """
    if middle.isascii() and (middle.isprintable() or _CONTROL.search(middle) is None):
        return middle
    line = place.before + place.after + (_JOINERS if place.traits.prose else "")
    if place.kind not in ("comment", "docstring", "string") and not place.traits.prose:
        middle = _SPACE.sub(lambda space: space[0] if space[0] in line else " ", middle)
    return "".join(
        char
        for char, before in zip(middle, place.before[-1:] + middle if place.before else "\n" + middle, strict=False)
        if char in "\n\t" or char in line or not _is_invisible(char, before)
    )


def _is_invisible(char: str, before: str) -> bool:
    """Whether ``char`` after ``before`` would be invisible."""
    if char.isascii() and char.isprintable():
        return False
    if "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef":  # variation selectors
        return not (
            unicodedata.category(before) in ("So", "Sm", "Po", "Nd") or unicodedata.name(before, "").startswith("CJK")
        )
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") or _IGNORABLE.match(char) is not None


_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# Unicode's Default_Ignorable_Code_Point beside the categories above, and letters and symbols that are drawn blank.
_IGNORABLE = re.compile(
    "[\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\uffa0\ufff0-\ufff8\U0001d159"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_FENCE = re.compile(r"\s*(?:```[^\n]*|~~~[\w+-]*[ \t]*)(?:\n|\Z)")
_PROSE = re.compile(
    r"\s*(?:(?:Sure|Certainly|Of course)[,.! ]|Here(?:'s| is| are) "
    r"|(?:To|The|This|You|I) (?:\w+ ){2,}.*[:.]\s*(?:\n|$))"
)


@rule(in_code)
def drop_markup(middle: str, place: Place) -> str:
    """Take code out of the fence that an instruct model puts around it; drop its words to the user."""
    if place.kind in ("comment", "docstring", "string"):
        return middle
    while (match := _FENCE.match(middle)) is not None:  # some models open it twice
        middle = re.split(r"\n[ \t]*(?:```|~~~)", middle[match.end() :], maxsplit=1)[0]
    if (at := middle.find("\n```")) >= 0:
        middle = middle[:at]
    return "" if _PROSE.match(middle) and not place.before.strip() else middle


# ``<|cursor|>``: a model's control token, spelled as text. Elm and F# have the operator, followed by a space.
_CONTROL_TOKEN = re.compile(r"<\|(?:[a-z_]|\Z)")


@rule(everywhere)
def drop_spelled_token(middle: str, place: Place) -> str:
    """End before the name of a control token, unless the document has such names."""
    match = _CONTROL_TOKEN.search(middle)
    return middle if match is None or "<|" in place.prefix or "<|" in place.suffix else middle[: match.start()]


_MARK = re.compile(r"copyright|\(c\)|©|all rights reserved|@author|\bauthors?\s*:|__author__", re.IGNORECASE)
_CLAIM = re.compile(
    r"(?:(?i:copyright|\(c\)|©)|SPDX-FileCopyrightText:)(?:[\s,.:–-]|(?i:\(c\)|©|by\b|copyright)|\d{4})*"
    r"(?P<holder>[A-Z][\w.'’&-]*(?:[ \t]+[A-Z][\w.'’&-]*)*)"
    r"|(?:@author|(?i:\bauthors?)\s*:|__author__\s*=)\s*[\"']?(?P<author>[A-Z][\w.'’-]*(?:[ \t]+[A-Z][\w.'’-]*)*)"
)


@rule(everywhere)
def drop_copyright(middle: str, place: Place) -> str:
    """End before a line that claims authorship for a name that the file does not have, unless the user began that
    line."""
    if _MARK.search(middle) is None:
        return middle
    start, said = 0, place.before
    for line in middle.split("\n"):
        is_begun = start == 0 and _MARK.search(place.before) is not None
        if not is_begun and _claims((said if start == 0 else "") + line, place):
            return middle[: max(0, start - 1)]
        start += len(line) + 1
    return middle


def _claims(line: str, place: Place) -> bool:
    for match in _CLAIM.finditer(line):
        name = match["holder"] or match["author"]
        is_text = name.isupper() and not any(char.isdigit() for char in match[0])  # "THE COPYRIGHT HOLDERS"
        if not is_text and name not in place.prefix and name not in place.suffix:
            return True
    return False
