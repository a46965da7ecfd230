"""Lines in another language than the file's: a small model that hardly knows a language writes one that it knows."""

from __future__ import annotations

from midfill.postprocess.closing import balance
from midfill.postprocess.place import Place
from midfill.postprocess.rule import in_code, rule
from midfill.syntax.lexical import scan
from midfill.syntax.telltales import KNOWN, is_comment, told

# Lines around the cursor that show what the file mixes.
AROUND = 400


@rule(in_code)
def drop_other_language(middle: str, place: Place) -> str:
    """End before the first line that is surely in another language, unless the file contains such lines itself."""
    if place.language not in KNOWN or place.kind in ("string", "comment", "docstring"):
        return middle
    # ``if a:)`` is no Python, but ``if a:``, which is left when the closer goes.
    ends = (_first_foreign(text, place) for text in dict.fromkeys((middle, balance(middle, place))))
    return next((middle[:end] for end in ends if end is not None), middle)


def _first_foreign(middle: str, place: Place) -> int | None:
    """Return where the text before the first line in another language ends."""
    at = 0
    for n, line in enumerate(middle.split("\n")):
        whole, start = (place.before + line, len(place.before)) if n == 0 else (line, 0)
        other = _told(whole, place.language, start) if line.strip() else ""
        if other and _is_code(middle[:at], place) and not _holds(place, other):
            return max(0, at - 1)
        at += len(line) + 1
    return None


def _told(line: str, language: str, start: int = 0) -> str:
    """Like `told`; what is right in C++ is right in a header, which is named like a C header."""
    if is_comment(line, language) or (language == "c" and not told(line, "cpp", start)):
        return ""
    return told(line, language, start)


def _is_code(before: str, place: Place) -> bool:
    return scan(before, place.language, place.state).is_code


def _holds(place: Place, other: str) -> bool:
    lines = place.prefix.split("\n")[-AROUND:-1] + place.suffix.split("\n")[1:AROUND]
    return any(_told(line, place.language) == other for line in lines)
