"""Line or block: where a middle stops (its stop boundary), decided while it still grows.

That is the rest of a line, the inside of brackets, a string, a comment; on a blank line a statement with its body, or
the rest of a block. In every language, a line opens a block if the next one is indented deeper. The text below the
cursor decides too: an existing body is not written again, a block that continues gets the statements it lacks, and one
that ends is written to its end. Once a boundary is decided, more text never moves it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from midfill.postprocess.place import Place, code_of, opens_block
from midfill.postprocess.reader import MiddleReader
from midfill.syntax.lexical import scan, string_end, unopened_at
from midfill.syntax.names import indent

_FIRST = re.compile(r"(?:\}\s*)?(?:else\s+)?(?:if|elif|elsif|for|while|try|begin|except|rescue|unless|when|case)\b|\}")
_WORD = re.compile(r"[A-Za-z_]\w*")
_TAG = re.compile(r"<(/?)([A-Za-z][\w.:-]*)(?:[^<>]|=>)*?(/?)>")


def stop_boundary(middle: str, place: Place) -> int | None:
    """Return where ``middle`` stops, or None while that is undecided."""
    match place.kind:
        case "comment" | "rest":
            return _newline(middle)
        case "string":
            return _string_end(middle, place)
        case "docstring":
            return _docstring_end(middle, place)
        case "inside":
            return _inside_end(middle, place)
        case "line":
            return _line_end(middle, place)
        case _:
            return _block_end(middle, place)


def lacks(middle: str, place: Place) -> bool:
    """Whether ``middle``, at whose end the model stopped by itself, is surely incomplete on a blank line: something is
    open, its last line opens a block without a body, names that are read below are bound nowhere, or names that are
    bound above are read nowhere."""
    if place.kind != "block" or not middle.strip():
        return False
    lines = [line for line in (place.before + middle).split("\n") if line.strip()]
    state = scan("\n".join(lines) + "\n", place.language)
    if (place.traits.has_brackets and state.depth > 0) or (state.string and not place.traits.prose):
        return not (place.below is not None and place.traits.is_closer(place.below.strip()))
    below = None if place.below is None else indent(place.below)
    if opens_block(lines[-1], place.language):
        return below is None or below <= indent(lines[-1])
    if below is not None and _second(place) and not _has_first(lines, below, place.language):
        return True
    names = place.names(indent(lines[0]))
    return not names.needed | names.unused <= set(_WORD.findall(middle))


def awaits_body(place: Place) -> bool:
    """Whether the cursor is after a line that opens a block without a body below."""
    return place.kind == "line" and opens_block(place.before, place.language) and not _body_follows(place)


def _second(place: Place) -> bool:
    """Whether the line below is the second part of a statement, such as ``else``, and not the body of the
    line above."""
    return place.below is not None and place.traits.second.match(place.below.strip()) is not None


def _has_first(lines: list[str], depth: int, language: str) -> bool:
    """Whether the last of ``lines`` that is not deeper than ``depth`` may be the first part of such a statement."""
    last = next((line for line in reversed(lines) if indent(line) <= depth), None)
    if last is None:
        return True
    return indent(last) == depth and (opens_block(last, language) or _FIRST.match(last.strip()) is not None)


def _newline(middle: str) -> int | None:
    end = middle.find("\n")
    return end if end >= 0 else None


def _string_end(middle: str, place: Place) -> int | None:
    end, line_end = string_end(middle, place.language, place.state.string), _newline(middle)
    if end is not None and line_end is not None and end > line_end:
        return line_end
    if end is None or end == line_end or place.after.strip():
        return end if end is not None else line_end
    return line_end  # the string's own line continues after it


def _docstring_end(middle: str, place: Place) -> int | None:
    """Return the end of a docstring: the closing quotes, a blank line, or the line below; a line that was begun ends
    with itself."""
    closing = place.state.string or place.state.comment
    at = middle.find(closing)
    ends = [at + len(closing)] if at >= 0 else []
    if place.before.strip() in ("", closing, "/*", "/**", "*"):
        ends += [at for at in (middle.find("\n\n", 1), _below_at(middle, place)) if at >= 0]
    elif not ends and (line_end := _newline(middle)) is not None:
        ends.append(line_end)
    return min(ends, default=None)


def _below_at(middle: str, place: Place) -> int:
    """Return the end of the line before the one that repeats the text below; -1 if there is none."""
    start = 0
    for end in _line_ends(middle):
        if start and place.below is not None and middle[start:end].rstrip() == place.below.rstrip():
            return start - 1
        start = end + 1
    return -1


def _inside_end(middle: str, place: Place) -> int | None:
    """Return the position of the closer to the right of the cursor, or of the line's end if nothing was opened before
    it."""
    is_element = place.after.lstrip().startswith("</")
    closer = _end_tag(middle) if is_element else unopened_at(middle, place.language)
    line_end = _newline(middle)
    if line_end is not None and not middle[:line_end].strip() and place.opens_line:
        return closer  # its content spans several lines
    if closer is not None and (line_end is None or closer < line_end):
        return closer
    for at in _line_ends(middle):
        if closer is not None and closer < at:
            return closer
        if at > 0 and scan(middle[:at], place.language).depth <= 0:
            return at
    return closer


def _end_tag(middle: str) -> int | None:
    """Return where ``middle`` has the first end tag whose element it did not open."""
    opened: list[str] = []
    for match in _TAG.finditer(middle):
        ends, name, empty = match.groups()
        if not ends:
            opened += [] if empty else [name]
        elif name in opened:
            del opened[len(opened) - 1 - opened[::-1].index(name) :]
        else:
            return match.start()
    return None


def _line_ends(middle: str) -> Iterator[int]:
    at = middle.find("\n")
    while at >= 0:
        yield at
        at = middle.find("\n", at + 1)


def _line_end(middle: str, place: Place) -> int | None:
    end = _newline(middle)
    line = place.before + (middle if end is None else middle[:end])
    if place.content is not None and (at := _opening_end(line, place, complete=end is not None)) is not None:
        return at
    if end is None:
        return None
    state = scan(line, place.language)
    is_open = place.traits.has_brackets and (state.depth > 0 or bool(state.string))
    if _body_follows(place):
        return end
    if not is_open and place.traits.ends_statement(code_of(line, place.language)):
        return end
    return MiddleReader(middle, place, place.base, after_line=True).end()


def _opening_end(line: str, place: Place, *, complete: bool) -> int | None:
    """Return where the middle ends in the cursor's ``line``, whose content is below."""
    content, n_before = place.content, len(place.before)
    assert content is not None
    if not content.is_open:
        at = content.opening_end(line, place.language, complete=complete)
        return None if at is None else max(0, at - n_before)
    closes = bool(content.openers) and unopened_at(line[n_before:], place.language) is not None
    return 0 if closes or content.is_said(line[n_before:]) else None


def _body_follows(place: Place) -> bool:
    """Whether the body of the block that the cursor's line opens is below it already."""
    if place.below is None:
        return False
    if indent(place.below) > place.base:
        return True
    closer = place.traits.holder(code_of(place.before, place.language))
    return bool(closer) and _is_filled(closer, place)


def _is_filled(closer: str, place: Place) -> bool:
    """Whether there are lines below that are not deeper, up to one that begins with ``closer``."""
    for number, line in enumerate(line for line in place.suffix.split("\n")[1:] if line.strip()):
        if indent(line) < place.base:
            return False
        if indent(line) == place.base and line.strip().startswith(closer):
            return number > 0
    return False


def _block_end(middle: str, place: Place) -> int | None:
    end = _newline(middle)
    if end is None and place.content is None:
        return None
    line_end = len(middle) if end is None else end
    if not (place.before + middle[:line_end]).strip():
        if end is None:
            return None
        first = _after_one_blank(middle, end)
        if first is None:
            return None
        if first < 0:  # it leaves the cursor's block: nothing fits here
            return 0
        return MiddleReader(middle, place, indent(middle[end + 1 : first]), after_line=False).end()
    return MiddleReader(middle, place, indent(place.before + middle[:line_end]), after_line=False).end()


def _after_one_blank(middle: str, blank: int) -> int | None:
    """Return the end of the line after a blank one that ends at ``blank``; -1 if that is blank too, None if it is not
    there yet."""
    end = middle.find("\n", blank + 1)
    if end < 0:
        return None
    return end if middle[blank + 1 : end].strip() else -1
