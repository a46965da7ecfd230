"""Turns holes and saved answers into the records that the tables and the paired comparison are made of."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from midfill.eval.about import rounded
from midfill.eval.holes import Hole
from midfill.eval.languages.cut import HEADER
from midfill.eval.languages.foreign import wrong_language
from midfill.eval.languages.groups import group_of
from midfill.eval.languages.new_files import KIND as NEW_FILE
from midfill.eval.languages.new_files import MAX_TOKENS
from midfill.eval.languages.sound import errors_of
from midfill.eval.metrics import first_line_right, has_control, is_shown, repeats_suffix, whole_right
from midfill.eval.run import AFTER, BEFORE, Record
from midfill.types import MidfillError

NEW_FILES = "new files"
_FIELDS = tuple(field.name for field in dataclasses.fields(Hole))


def write_holes(holes: Iterable[Hole], file: Path) -> int:
    """Write one line of JSON for each hole; return how many."""
    lines = [json.dumps({**dataclasses.asdict(hole), **_limit(hole)}) for hole in holes]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)


def _limit(hole: Hole) -> dict[str, int]:
    return {"max_tokens": MAX_TOKENS} if hole.kind == NEW_FILE else {}


def holes_from(lines: Iterable[Mapping[str, Any]]) -> dict[str, Hole]:
    """Return the holes by id. Raises MidfillError."""
    try:
        return {line["id"]: Hole(**{name: line[name] for name in _FIELDS}) for line in lines}
    except (KeyError, TypeError) as error:
        raise MidfillError(
            f"a line is not a hole: {error}", "name a file that midfill eval languages cut wrote"
        ) from error


def records_of(holes: Mapping[str, Hole], answers: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Return a record for each answer to one of ``holes``; ``kind`` is its group of languages, ``note`` the kind of
    hole."""
    return [_record(holes[answer["id"]], answer) for answer in answers if answer["id"] in holes]


def judged(hole: Hole, text: str) -> dict[str, float]:
    """Return every metric that applies to the hole; true is 1."""
    other = wrong_language(hole.language, hole.prefix, text)
    found: dict[str, bool] = {"shown": is_shown(hole, text)}
    if hole.kind != NEW_FILE:
        found |= {"first_line": first_line_right(hole, text), "whole": whole_right(hole, text)}
        found |= {"repeats_suffix": repeats_suffix(hole, text)}
    if hole.kind == HEADER:
        found["shown_at_headers"] = found["shown"]
    found |= {"wrong_language": bool(other), "control_tokens": has_control(hole, text)}
    if hole.kind != NEW_FILE and (errors := errors_of(hole.language, hole.prefix, text, hole.middle, hole.suffix)):
        found |= {"breaks": errors.is_broken, "unsound": errors.is_unsound}
    return {name: float(value) for name, value in found.items()}


def _record(hole: Hole, answer: Mapping[str, Any]) -> Record:
    is_new = hole.kind == NEW_FILE
    found: Record = rounded(
        {
            **answer,
            "kind": NEW_FILES if is_new else group_of(hole.language),
            "hole": hole.kind,
            "source": hole.source,
            "language": hole.language,
            "path": hole.path,
            "metrics": judged(hole, answer["text"]),
            "other": wrong_language(hole.language, hole.prefix, answer["text"]),
            "before": hole.prefix[-BEFORE:],
            "middle": hole.middle,
            "after": hole.suffix[:AFTER],
        }
    )
    return found
