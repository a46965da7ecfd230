"""Pictures of a terminal's screen as SVG: one, or several in sequence."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from rich.ansi import AnsiDecoder
from rich.color import ColorType
from rich.console import Console
from rich.style import Style
from rich.text import Text

WIDTH, HEIGHT, SIZE = 8.4, 18, 14  # of a cell and of the letters, in pixels
PAPER, INK = "#14161b", "#e0e2ea"
HARD_SPACE = "\u00a0"  # other spaces are merged into one
FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


@dataclass(frozen=True)
class Frame:
    """A screen as tmux returns it, its cursor, and how long it is shown."""

    styled: str
    cursor: tuple[int, int]  # column, row
    seconds: float = 1.0


def still(frame: Frame, columns: int, rows: int) -> str:
    """Return one screen as SVG."""
    return film([frame], columns, rows)


def film(frames: Sequence[Frame], columns: int, rows: int) -> str:
    """Return one screen after the other, repeated for ever. A line that is in several frames is written once."""
    width, height = columns * WIDTH + 20, rows * HEIGHT + 16
    lines: dict[str, str] = {}
    total, start = sum(frame.seconds for frame in frames), 0.0
    groups, moves = [], []
    for n, frame in enumerate(frames):
        groups.append(f'<g class="f{n}">{_screen(frame, rows, lines)}</g>')
        first, last = 100 * start / total, 100 * (start + frame.seconds) / total
        start += frame.seconds
        if len(frames) > 1:
            moves.append(
                f"@keyframes k{n}{{0%{{visibility:{'visible' if n == 0 else 'hidden'}}}"
                f"{first:.3f}%{{visibility:visible}}{last:.3f}%{{visibility:hidden}}}}"
                f".f{n}{{visibility:hidden;animation:k{n} {total:.2f}s step-end infinite}}"
            )
    return "".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}">',
        f"<style>text{{font:{SIZE}px {FONT}}}{''.join(moves)}</style>",
        f'<rect width="100%" height="100%" rx="6" fill="{PAPER}"/><defs>',
        *(f'<g id="{name}">{content}</g>' for content, name in lines.items()),
        '</defs><g transform="translate(10 8)">',
        *groups,
        "</g></svg>\n",
    ))  # fmt: skip


def _screen(frame: Frame, rows: int, lines: dict[str, str]) -> str:
    column, row = frame.cursor
    drawn = []
    for n, line in enumerate(itertools.islice(AnsiDecoder().decode(frame.styled), rows)):  # a style goes on below
        content = _line(line)
        if content:
            name = lines.setdefault(content, f"l{len(lines)}")
            drawn.append(f'<use href="#{name}" y="{n * HEIGHT}"/>')
    box = f'x="{column * WIDTH:g}" y="{row * HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    return "".join(drawn) + f'<rect {box} fill="{INK}" opacity=".6"/>'


def _line(line: Text) -> str:
    """Return runs of one style: their background, and the text itself, as wide as its cells."""
    drawn, column = [], 0
    for segment in line.render(_CONSOLE):
        text = segment.text.rstrip("\n")
        style = segment.style or Style()
        x, width = column * WIDTH, len(text) * WIDTH
        column += len(text)
        ink, paper = _colour(style, INK, front=True), _colour(style, PAPER, front=False)
        if style.reverse:
            ink, paper = paper, ink
        if paper != PAPER:
            drawn.append(f'<rect x="{x:g}" width="{width:g}" height="{HEIGHT}" fill="{paper}"/>')
        if word := text.strip():  # the white space at its ends is represented by its position
            x, width = x + WIDTH * (len(text) - len(text.lstrip())), len(word) * WIDTH
            look = ' font-weight="bold"' if style.bold else ""
            look += ' font-style="italic"' if style.italic else ""
            place = f'x="{x:g}" y="{HEIGHT - 4}" textLength="{width:g}"'
            drawn.append(f'<text {place} fill="{ink}"{look}>{escape(word.replace(" ", HARD_SPACE))}</text>')
    return "".join(drawn)


_CONSOLE = Console(width=400)


def _colour(style: Style, default: str, *, front: bool) -> str:
    colour = style.color if front else style.bgcolor
    if colour is None or colour.type is ColorType.DEFAULT:
        return default
    return colour.get_truecolor(foreground=front).hex
