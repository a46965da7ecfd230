"""Holes of every language: cut by ``eval.cutting`` if that knows the grammar's kinds, otherwise by what lines show.

A header is a line whose next line is indented deeper: in any language, that line opened something. Markup and prose
have no calls or names to cut, but they have lines, blocks by their indentation, and words.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from midfill.eval.cutting import KINDS, Code, Span
from midfill.eval.holes import Hole, is_sound
from midfill.eval.languages.groups import group_of, language_of
from midfill.syntax import languages

HEADER, SEVERAL = "header-end", "several-lines"
ALL_KINDS = (HEADER, "line", "rest-of-line", SEVERAL, "mid-word", "call-arguments")
AROUND = 120, 40  # least characters before and after a hole
MAX_FILE = 40_000  # characters: the model sees only a part of a longer file
MAX_BODY = 8  # most lines that are taken out below a header
PER_FILE, TRIES = 3, 12  # candidates of one kind in a file
MAX_FILES = 20  # of one language of a project
# Grammars whose leaves are not tokens of code.
_BY_LINES = frozenset(
    {"markdown", "yaml", "html", "css", "scss", "vue", "sql", "makefile", "dockerfile", "shellscript"}
)
_WORD = re.compile(r"[^\W\d_]\w{4,}")
_START = re.compile(r"(?<=[\s(\[{,:=<>\"'])[\w\"'$@.#-]")

Cut = Callable[[str, str], Iterator[Span]]


def holes_of(texts: Mapping[str, str], n_of_group: int, seed: int = 1) -> list[Hole]:
    """Return at most ``n_of_group`` holes of each group of languages; the same ones each time.

    ``texts``: by path, which begins with the project. Kinds, languages and projects come in turns.
    """
    rng = random.Random(seed)  # noqa: S311 - the same holes each time
    by_group: dict[str, dict[tuple[str, str], list[Hole]]] = {}
    for path in _chosen(texts, rng):
        text = texts[path]
        language = language_of(path, text)
        for hole in _of_file(path, text, language, rng):
            by_group.setdefault(group_of(language), {}).setdefault((hole.kind, language), []).append(hole)
    return [hole for group in by_group for hole in _drawn(by_group[group], n_of_group, rng)]


def _chosen(texts: Mapping[str, str], rng: random.Random) -> list[str]:
    """Return the paths of the files that are read: some of each language of each project."""
    found: dict[tuple[str, str], list[str]] = {}
    for path, text in sorted(texts.items()):
        if language := language_of(path, text):
            found.setdefault((path.partition("/")[0], language), []).append(path)
    return [path for paths in found.values() for path in rng.sample(paths, min(MAX_FILES, len(paths)))]


def in_turns(holes: Sequence[Hole]) -> list[Hole]:
    """Return headers first, then one hole of each group in turn, so that a run that ends early covers all groups
    alike."""
    queues: dict[str, list[Hole]] = {}
    for hole in sorted(holes, key=lambda hole: hole.kind != HEADER):
        queues.setdefault(group_of(hole.language), []).append(hole)
    turns = max(map(len, queues.values()), default=0)
    return [queue[turn] for turn in range(turns) for queue in queues.values() if turn < len(queue)]


def _of_file(path: str, text: str, language: str, rng: random.Random) -> Iterator[Hole]:
    if len(text) > MAX_FILE:
        return
    project, _, inner = path.partition("/")
    for kind, spans in spans_of(text, language).items():
        # Drawn before they are judged: a file has thousands, and judging reads all of it.
        drawn = rng.sample(spans, min(TRIES, len(spans)))
        for start, end in itertools.islice((span for span in drawn if is_sound(text, *span, AROUND)), PER_FILE):
            yield Hole(
                project,
                kind,
                text[:start],
                text[start:end],
                text[end:],
                inner,
                f"{path}:{start}-{end}:{kind}",
                language,
            )


def _drawn(found: Mapping[tuple[str, str], list[Hole]], n: int, rng: random.Random) -> list[Hole]:
    """Draw ``n`` holes: kinds in turn, within a kind its languages in turn, within a language the projects in turn."""
    queues = {key: _by_project(holes, rng) for key, holes in found.items()}
    order = {kind: sorted(language for each, language in found if each == kind) for kind in ALL_KINDS}
    drawn: list[Hole] = []
    taken: dict[str, list[Span]] = {}
    while len(drawn) < n and any(queues.values()):
        for kind in ALL_KINDS:
            for _ in range(len(order[kind])):
                order[kind].append(language := order[kind].pop(0))
                if len(drawn) < n and (hole := _next(queues[kind, language], taken)) is not None:
                    drawn.append(hole)
                    break
    return drawn


def _by_project(holes: Sequence[Hole], rng: random.Random) -> list[Hole]:
    """Return the holes so that projects alternate; the last one is taken first."""
    shuffled = rng.sample(list(holes), len(holes))
    counts: dict[str, int] = {}
    turns = []
    for hole in shuffled:
        counts[hole.source] = turn = counts.get(hole.source, 0) + 1
        turns.append((turn, hole))
    return [hole for _, hole in sorted(turns, key=lambda one: one[0], reverse=True)]


def _next(queue: list[Hole], taken: dict[str, list[Span]]) -> Hole | None:
    while queue:
        hole = queue.pop()
        start, end = len(hole.prefix), len(hole.prefix) + len(hole.middle)
        spans = taken.setdefault(f"{hole.source}/{hole.path}", [])
        if not any(start < high + 200 and low < end + 200 for low, high in spans):
            spans.append((start, end))
            return hole
    return None


def spans_of(text: str, language: str) -> dict[str, list[Span]]:
    """Return the spans of every kind that could be cut in a file."""
    found = {kind: list(cut(text, language)) for kind, cut in _LINE_KINDS.items()}
    code = None if language in _BY_LINES else Code.read(text, language)
    if code is not None:
        found |= {kind: list(cut(code)) for kind, cut in KINDS.items() if kind != "block"}
        found[SEVERAL] = list(KINDS["block"](code)) or found[SEVERAL]
        spoken = set(code.rows)
        found[HEADER] = [span for span in found[HEADER] if text.count("\n", 0, span[0]) in spoken]
    return found


def _lines(text: str) -> list[tuple[int, str]]:
    """Return (offset, line without its end) of every line."""
    found, at = [], 0
    for line in text.split("\n"):
        found.append((at, line))
        at += len(line) + 1
    return found


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())


def header_end(text: str, language: str) -> Iterator[Span]:
    """From the end of a line that opens something to the end of the lines that are deeper than it."""
    if languages.of(language).prose:
        yield from _below_headings(text)
        return
    lines = _lines(text)
    for row, (start, line) in enumerate(lines[:-1]):
        if not line.strip() or not _says(line, language) or not lines[row + 1][1].strip():
            continue
        body = _deeper(lines, row, _depth(line))
        if 1 <= len(body) <= MAX_BODY and line.rstrip() == line and not line.rstrip().endswith((",", ";")):
            yield start + len(line), _end(lines[body[-1]])


def _below_headings(text: str) -> Iterator[Span]:
    """Prose: the text under a heading, to the end of its paragraph."""
    lines = _lines(text)
    for row, (start, line) in enumerate(lines):
        if line.startswith("#"):
            body = row + 2 if row + 2 < len(lines) and not lines[row + 1][1].strip() else row + 1
            last = body
            while last + 1 < len(lines) and lines[last + 1][1].strip():
                last += 1
            if body < len(lines) and lines[body][1].strip() and last - body < MAX_BODY:
                yield start + len(line), _end(lines[last])


def _deeper(lines: Sequence[tuple[int, str]], row: int, depth: int) -> list[int]:
    """Return the rows below ``row`` that are deeper than ``depth``, including blank ones between them."""
    body: list[int] = []
    for below in range(row + 1, len(lines)):
        line = lines[below][1]
        if line.strip() and _depth(line) <= depth:
            break
        body.append(below)
    while body and not lines[body[-1]][1].strip():
        body.pop()
    return body


def _end(line: tuple[int, str]) -> int:
    return line[0] + len(line[1].rstrip())


def _says(line: str, language: str) -> bool:
    """Whether a line is more than a comment or brackets."""
    opening = languages.of(language).comment[0]
    bare = line.strip()
    is_comment = (opening and bare.startswith(opening)) or bare.startswith(("*", "/*", "//", "<!--"))
    return len(re.findall(r"\w", bare)) > 1 and not is_comment


def whole_line(text: str, language: str) -> Iterator[Span]:
    """A line without its indentation."""
    for start, line in _lines(text):
        if _says(line, language):
            yield start + _depth(line), start + len(line.rstrip())


def rest_of_line(text: str, language: str) -> Iterator[Span]:
    """From the start of a word that is not the line's first to the end of the line."""
    for start, line in _lines(text):
        if _says(line, language):
            for found in _START.finditer(line, _depth(line) + 2):
                yield start + found.start(), start + len(line.rstrip())


def mid_word(text: str, language: str) -> Iterator[Span]:
    """From the middle of a word to the end of its line."""
    for start, line in _lines(text):
        if _says(line, language):
            for found in _WORD.finditer(line):
                yield start + (found.start() + found.end()) // 2, start + len(line.rstrip())


def several_lines(text: str, language: str) -> Iterator[Span]:
    """Two to six lines of one indentation or deeper, without blank lines between them."""
    lines = _lines(text)
    for row, (start, line) in enumerate(lines):
        if not _says(line, language):
            continue
        for n in (2, 4, 6):
            group, below = lines[row : row + n], lines[row + n : row + n + 1]
            if (
                len(group) == n
                and all(one.strip() and _depth(one) >= _depth(line) for _, one in group)
                and _depth(group[-1][1]) == _depth(line)
                and not any(_depth(one) > _depth(line) for _, one in below)
            ):
                yield start + _depth(line), _end(group[-1])


_LINE_KINDS: dict[str, Cut] = {
    HEADER: header_end,
    "line": whole_line,
    "rest-of-line": rest_of_line,
    SEVERAL: several_lines,
    "mid-word": mid_word,
}
