"""What callees take, by the labels of other language servers' signature help.

A label is the text of a whole head, and a parameter's label is its part of that text. If the parts do not make up what
is between the head's parentheses, nothing is known: some servers give names alone, from which a ``*`` does not show.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from midfill.context.knowledge.callees import is_private
from midfill.context.knowledge.functions import GUESSED, RESOLVED, taken
from midfill.context.knowledge.names import CLIENT
from midfill.syntax.calls import Parameter, Signature, of_overloads

MAX_SIGNATURES = 40  # of one callee: overloads; more do not count as all
MAX_PARAMETERS = 60
MAX_LABEL = 4000  # characters
# In these languages the servers know all that a callee takes.
COMPLETE = frozenset({"python", *(language for family in RESOLVED.values() for language in family)})
_READ = COMPLETE | frozenset(GUESSED)
_MARKS = r"(?:[*/]\s*,\s*)*"  # Python's, if they are no parameters of their own
_NAME = re.compile(r"([^\W\d]\w*)\s*(?:[:=]|\Z)")


def signature_in(told: Sequence[Any], callee: str, language: str) -> Signature | None:
    """Return what ``callee`` takes, from SignatureInformation values, one for each overload; None if one of them cannot
    be read."""
    found = [_overload(one, language) for one in told[:MAX_SIGNATURES]] if language in _READ else []
    overloads = [one for one in found if one is not None]
    if not found or len(overloads) < len(found):
        return None
    return Signature(
        callee, of_overloads([one.parameters for one in overloads]),
        any(one.any_position for one in overloads), any(one.any_name for one in overloads),
        language in COMPLETE and len(told) <= MAX_SIGNATURES, CLIENT,
    )  # fmt: skip


def _overload(one: Any, language: str) -> Signature | None:
    if not isinstance(one, dict) or not isinstance(label := one.get("label"), str) or len(label) > MAX_LABEL:
        return None
    parts = _parts(label, one.get("parameters"))
    if parts is None:
        return None
    return _python(parts) if language == "python" else taken(parts, language)


def _parts(label: str, parameters: Any) -> list[str] | None:
    """Return what is between the parentheses of a head, by the labels of its parameters; None if these are not all."""
    if not isinstance(parameters, list) or len(parameters) > MAX_PARAMETERS:
        return None
    texts = [_text(label, one.get("label") if isinstance(one, dict) else None) for one in parameters]
    if not all(texts):
        return None
    between = rf"\s*,\s*({_MARKS})".join(re.escape(text) for text in texts if text)
    whole = re.search(rf"\(\s*({_MARKS}){between}\s*(?:,\s*(/)?\s*)?\)", label)
    if whole is None or (not texts and "(" in label[: whole.start()]):
        return None
    marks = [re.findall(r"[*/]", found or "") for found in whole.groups()]
    parts = [*marks[0]]
    for text, behind in zip(texts, marks[1:], strict=False):
        parts += [str(text), *behind]
    return parts


def _text(label: str, of_part: Any) -> str:
    """Return a parameter's label, a text or two offsets in UTF-16 units; "" for anything else."""
    if isinstance(of_part, str):
        return of_part.strip()
    if not isinstance(of_part, list) or [type(one) for one in of_part] != [int, int] or min(of_part) < 0:
        return ""
    start, end = (2 * one for one in of_part)
    return label.encode("utf-16-le", "replace")[start:end].decode("utf-16-le", "replace").strip()


def _python(parts: Sequence[str]) -> Signature | None:
    found: list[Parameter] = []
    by_position, any_position, any_name = True, False, False
    for part in parts:
        if part == "/":
            found = [Parameter(one.name, one.by_position, by_name=False) for one in found]
        elif part == "*":
            by_position = False
        elif part == "...":
            any_position = any_name = True
        elif part.startswith("**"):
            any_name = True
            any_position |= ":" not in part  # pyright's ``**P`` of a ParamSpec
        elif part.startswith("*"):
            by_position, any_position = False, True
        elif (name := _NAME.match(part)) is not None:
            found.append(Parameter(name[1], by_position, by_name=not (by_position and is_private(name[1]))))
            any_name |= name[1].startswith("_")  # attrs names it without, and pyright does not know
        else:
            return None
    return Signature("", tuple(found), any_position, any_name)
