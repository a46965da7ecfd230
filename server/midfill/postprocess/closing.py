"""Brackets and ends of lines: nothing is closed twice, nothing stays open, and the text around keeps its layout."""

from __future__ import annotations

import re

from midfill.postprocess.place import Place, closers_of, opens_block
from midfill.postprocess.rule import (
    everywhere,
    not_in_prose,
    rule,
    where_braces_open,
    where_brackets_pair,
    where_style_indents,
    where_trailing_commas_fail,
)
from midfill.syntax.lexical import CLOSERS, OPENERS, scan, unopened, unopened_at
from midfill.syntax.names import indent

# A shorter line that also occurs below is a coincidence.
MIN_LINE = 4
# A statement spans at most this many lines.
MAX_HEADER = 20
_TRAILING_COMMA = re.compile(r",(?=\s*[)\]}])")
# A line with such an end continues with the text right of it.
_GOES_ON = re.compile(r"[-+*&|^=<!.([{@~$ \t]\Z")
_SENTENCE = re.compile(r"[.!?:;)|]\Z")
_ITEM = re.compile(r"\s*(?:[-*+#>|]|\d+[.)]|\\\w)")
_BY_INDENT = frozenset({"python", "yaml"})  # a deeper line means a body
_DECORATED = re.compile(r"(?:async\s+)?(?:def|class)\b|@")


@rule(everywhere)
def drop_doubled_space(middle: str, place: Place) -> str:
    """Drop leading white space if the cursor already follows some, in a line or at its indentation."""
    if place.joint and place.after[:1] in (" ", "\t"):  # its indentation continues right of the cursor
        return middle
    return middle.lstrip(" \t") if place.before.endswith((" ", "\t")) else middle


@rule(where_style_indents)
def own_indentation(middle: str, place: Place) -> str:
    """Indent by tabs in a file that does so, and by spaces in one that does not."""
    lines = middle.split("\n")
    if len(lines) == 1 and place.before:
        return middle
    start = 1 if place.before else 0
    if place.tabs:
        return "\n".join(lines[:start] + [_to_tabs(line) for line in lines[start:]])
    if place.is_indented and place.step > 1 and any(line.startswith("\t") for line in lines[start:]):
        return "\n".join(lines[:start] + [_to_spaces(line, place.step) for line in lines[start:]])
    return middle


def _to_tabs(line: str) -> str:
    n = indent(line)
    white = line[:n]
    return white.replace("    ", "\t").replace("  ", "\t") + line[n:] if " " in white else line


def _to_spaces(line: str, step: int) -> str:
    n = indent(line)
    return line[:n].replace("\t", " " * step) + line[n:]


@rule(everywhere)
def drop_suffix_overlap(middle: str, place: Place) -> str:
    """Cut the tail that is already to the right of the cursor."""
    rest = place.after.rstrip()
    if not rest.strip():
        return middle
    for start in range(min(len(rest), len(middle)), 0, -1):
        if (
            rest[:start].strip()
            and middle.endswith(rest[:start])
            and _is_whole(rest, start)
            and not _closes_own(middle, start, place)
        ):
            return middle[: len(middle) - start]
    return middle


def _is_whole(rest: str, length: int) -> bool:
    """Whether the first ``length`` characters of ``rest`` are a real overlap: all of it, or closers."""
    return length == len(rest) or all(char in ")]}>\"'`;, " for char in rest[:length])


def _closes_own(middle: str, length: int, place: Place) -> bool:
    """Whether the tail closes what the middle itself opened: then it is not the closer that is already there."""
    if place.state.string:
        return False
    kept = middle[: len(middle) - length]
    if place.traits.prose:
        opener = next((opener for opener, closer in OPENERS.items() if middle[-1] == closer), "")
        return bool(opener) and kept.count(opener) > kept.count(middle[-1])
    state = scan(kept, place.language)
    return bool(state.string) or (state.depth > 0 and unopened_at(middle, place.language) is None)


@rule(everywhere)
def drop_what_follows(middle: str, place: Place) -> str:
    """Drop what is already below: last lines that close, or all of it."""
    below = (place.below or "").rstrip()
    if not below or place.after.strip():
        return middle
    lines = middle.rstrip().split("\n")
    while len(lines) > 1 and lines[-1].rstrip() == below and _is_superfluous(lines, place):
        middle = "\n".join(lines[:-1])
        lines = middle.rstrip().split("\n")
    if (place.before + lines[0]).strip() == below.strip() and len(lines) == 1 and len(below.strip()) >= MIN_LINE:
        return ""
    return middle


def _is_superfluous(lines: list[str], place: Place) -> bool:
    """Whether the last line closes more than the others opened, or repeats what the file says anyway."""
    closer = lines[-1].strip()
    if not place.traits.is_closer(closer):
        return len(closer) >= MIN_LINE
    if closer[0] not in CLOSERS or not place.traits.has_brackets:
        first = next((line for line in [place.before + lines[0], *lines[1:]] if line.strip()), "")
        return place.kind == "line" or indent(lines[-1]) < indent(first)
    return scan(place.before + "\n".join(lines[:-1]), place.language).depth <= 0


@rule(where_trailing_commas_fail)
def drop_trailing_comma(middle: str, place: Place) -> str:
    """Drop a comma before a closing bracket, in the middle or right after it; not if the file has such commas."""
    if place.kind in ("comment", "string", "docstring") or (place.language == "jsonc" and _has_commas(place)):
        return middle
    following = (place.after if place.after.strip() else place.below or "").strip()
    for match in reversed(list(_TRAILING_COMMA.finditer(middle + following[:1]))):
        if scan(middle[: match.start()], place.language, place.state).is_code:
            middle = middle[: match.start()] + middle[match.end() :]
    return middle


def _has_commas(place: Place) -> bool:
    return _TRAILING_COMMA.search(place.prefix) is not None or _TRAILING_COMMA.search(place.suffix) is not None


@rule(where_brackets_pair)
def balance(middle: str, place: Place) -> str:
    """Cut before a closer of a bracket that is not open."""
    if place.kind in ("comment", "docstring", "string"):
        return middle
    state, cut = place.state, unopened_at(middle, place.language)
    if cut is None:
        return middle
    whole = scan(middle, place.language, state)
    if whole.n_unopened <= state.n_unopened:
        return middle
    for at, char in enumerate(middle):
        if char in CLOSERS and scan(middle[: at + 1], place.language, state).n_unopened > state.n_unopened:
            return middle[:at]
    return middle


@rule(everywhere)
def trim_end(middle: str, place: Place) -> str:
    """Drop trailing white space, except a space between two words; a middle of only white space becomes empty."""
    kept = middle.rstrip()
    spaces = middle[len(kept) :]
    is_between = bool(kept) and bool(spaces) and not spaces.strip(" ") and place.after[:1].isalnum()
    return kept + " " if is_between else kept


@rule(where_braces_open)
def open_body(middle: str, place: Place) -> str:
    """Open the brace that the text below closes, if its body is already there."""
    if not middle.strip() or place.below is None or place.after.strip() or place.kind not in ("line", "block"):
        return middle
    lines = (place.before + middle).split("\n")
    if indent(place.below) <= indent(lines[-1]) or lines[-1].rstrip().endswith(("{", ";", ",", "(", "[", "=>")):
        return middle
    state = scan(middle, place.language, place.state)
    closed = place.closed_below if place.is_whole and state.is_code else ""
    return middle.rstrip() + " {" if closed == "}" + closers_of(state.brackets) else middle


@rule(where_brackets_pair)
def only_open(middle: str, place: Place) -> str:
    """Return only the opening bracket whose content is below, if the middle repeats that content without opening it."""
    content = place.content
    if content is None or content.is_open or not content.openers or place.kind != "line":
        return middle
    said = middle.strip()
    return content.openers[-1] if content.is_said(said + " ") and not said.startswith(content.openers[-1]) else middle


@rule(not_in_prose)
def closer_line(middle: str, place: Place) -> str:
    """Put the closer right of the cursor on a line of its own if what it closes begins on one."""
    if place.kind != "inside" or not place.opens_line or not middle.strip() or middle.partition("\n")[0].strip():
        return middle
    return middle.rstrip() + "\n" + place.before[: place.base]


@rule(everywhere)
def own_line(middle: str, place: Place) -> str:
    """Give a middle before code its own line: its line end, and the indentation of what comes after it. A middle that
    continues with the text right of the cursor stays on that line; one that would break that line is not shown."""
    if not place.joint or not middle.strip() or middle.endswith(place.joint):
        return middle
    if "\n" not in middle.strip("\n") and _goes_on(middle, place):
        return middle
    lines = [line for line in (place.before + middle).split("\n") if line.strip()]
    depth = indent(place.before + place.after)
    if place.traits.has_brackets and _leaves_open(lines, depth, place):
        return ""
    if place.language in _BY_INDENT and not place.state.brackets and not _fits_above(lines, depth, place):
        return ""
    return middle.rstrip() + place.joint


def _goes_on(middle: str, place: Place) -> bool:
    if place.traits.prose:
        return _SENTENCE.search(middle.rstrip()) is None and _ITEM.match(middle) is None
    if place.after[:1].isspace():
        return False
    if place.traits.has_brackets and scan(place.before + middle, place.language).depth > 0:
        return not middle.rstrip().endswith(",") and unopened_at(place.after, place.language) is not None
    return _GOES_ON.search(middle) is not None and not opens_block(place.before + middle, place.language)


def _leaves_open(lines: list[str], depth: int, place: Place) -> bool:
    """Whether a bracket stays open whose content cannot be the code after it, which is indented by ``depth``."""
    return scan("\n".join(lines) + "\n", place.language).depth > 0 and depth <= indent(lines[-1])


def _fits_above(lines: list[str], depth: int, place: Place) -> bool:
    """Whether ``lines`` are indented like those of a block above code that is indented by ``depth``."""
    first, last, above = indent(lines[0]), indent(lines[-1]), _depth_above(place)
    if place.language == "python" and lines[-1].lstrip().startswith("@"):
        return first == depth and _DECORATED.match(place.after.strip()) is not None
    is_body = opens_block(place.above, place.language)
    if (first <= above) is is_body:
        return False
    if opens_block(lines[-1], place.language) or scan("\n".join(lines) + "\n", place.language).depth > 0:
        return last < depth
    return min(map(indent, lines)) >= depth and (not is_body or depth in (first, *range(above + 1)))


def _depth_above(place: Place) -> int:
    """Return the indentation of the statement that ends above the cursor."""
    lines = [line for line in place.prefix.split("\n")[:-1] if line.strip()][-MAX_HEADER:]
    for start in range(len(lines) - 1, -1, -1):
        if not unopened("\n".join(lines[start:]), place.language):
            return indent(lines[start])
    return indent(place.above)
