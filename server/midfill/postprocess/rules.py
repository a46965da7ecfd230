"""From the model's output to what is shown: pure rules over (middle, place).

Each rule can be switched off by its name, and names the languages it applies to (`rule.WHERE`).
"""

from __future__ import annotations

from midfill.postprocess.arguments import drop_unfit_arguments
from midfill.postprocess.boundary import stop_boundary
from midfill.postprocess.closing import (
    balance,
    closer_line,
    drop_doubled_space,
    drop_suffix_overlap,
    drop_trailing_comma,
    drop_what_follows,
    only_open,
    open_body,
    own_indentation,
    own_line,
    trim_end,
)
from midfill.postprocess.finished import leave_finished_line
from midfill.postprocess.foreign import drop_copyright, drop_invisible, drop_markup, drop_spelled_token
from midfill.postprocess.invented import drop_invented
from midfill.postprocess.other_language import drop_other_language
from midfill.postprocess.pairs import close_string, close_what_it_opened, drop_second_closer
from midfill.postprocess.place import Place, opens_block
from midfill.postprocess.repeats import (
    drop_repeated_block,
    drop_repeated_line,
    drop_repeated_prefix,
    end_run,
)
from midfill.postprocess.rule import WHERE, Rule, everywhere, rule
from midfill.syntax.lexical import START, scan
from midfill.syntax.names import indent

__all__ = [
    "FINISH",
    "LAYOUT",
    "NAMES",
    "PIPELINE",
    "WHERE",
    "Rule",
    "balance",
    "close_string",
    "close_what_it_opened",
    "closer_line",
    "drop_copyright",
    "drop_doubled_space",
    "drop_invented",
    "drop_invisible",
    "drop_markup",
    "drop_other_language",
    "drop_repeated_block",
    "drop_repeated_line",
    "drop_repeated_prefix",
    "drop_second_closer",
    "drop_spelled_token",
    "drop_suffix_overlap",
    "drop_trailing_comma",
    "drop_unfit_arguments",
    "drop_what_follows",
    "end_run",
    "first_unit",
    "leave_finished_line",
    "only_open",
    "open_body",
    "own_indentation",
    "own_line",
    "trim_end",
    "whole_lines",
]  # fmt: skip


@rule(everywhere)
def first_unit(middle: str, place: Place) -> str:
    """Keep the text up to the stop boundary: the rest of the line, the statement, the block (boundary.py)."""
    end = stop_boundary(middle, place)
    return middle if end is None else middle[:end]


PIPELINE: tuple[Rule, ...] = (
    drop_invisible, drop_markup, drop_spelled_token, drop_repeated_prefix, leave_finished_line, first_unit,
    drop_invented, drop_unfit_arguments, drop_other_language, drop_copyright, drop_repeated_line, drop_repeated_block,
    end_run, drop_doubled_space, own_indentation, drop_suffix_overlap, drop_what_follows, balance, drop_second_closer,
    drop_trailing_comma, trim_end,
)  # fmt: skip
# For a finished middle.
FINISH: tuple[Rule, ...] = (only_open, open_body, close_string, close_what_it_opened)
# For a middle that has ended for any reason.
LAYOUT: tuple[Rule, ...] = (closer_line, own_line)
NAMES = frozenset(rule.__name__ for rule in PIPELINE + FINISH + LAYOUT)


def whole_lines(middle: str, place: Place) -> str:
    """Return the complete lines of a middle that was broken off, up to the last one after which nothing is open except
    what the cursor's line opens: a body may be shown as far as it goes."""
    lines = middle.split("\n")
    opened = scan(place.before + lines[0] + "\n", place.language, START).depth if place.kind == "line" else 0
    for n in range(len(lines) - 1, 0, -1):
        kept = "\n".join(lines[:n])
        state = scan(place.before + kept + "\n", place.language, START)
        is_closed = state.is_code and (state.depth <= max(0, opened) or not place.traits.has_brackets)
        if is_closed and kept.strip() and not _waits(lines, n, place):
            return kept
    return middle if len(lines) == 1 else lines[0]


def _waits(lines: list[str], n: int, place: Place) -> bool:
    """Whether the last of ``n`` lines opens a block whose body would be missing, or is in a bracket that is still
    open."""
    last = place.before + lines[0] if n == 1 else lines[n - 1]
    inner = [indent(line) for line in lines[place.kind != "block" :] if line.strip()]
    if place.traits.closes_blocks and n > 1 and inner and indent(last) > min(inner):
        return True
    if place.below is not None and indent(place.below) > indent(last):
        return False
    is_deeper = bool(lines[n].strip()) and indent(lines[n]) > indent(last)
    return is_deeper or opens_block(last, place.language)
