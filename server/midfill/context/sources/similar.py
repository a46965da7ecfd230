"""Code like the code around the cursor, and lines that continue where the cursor's line stops.

Windows: first files, by the inverse document frequency of the words they share with the cursor's surroundings (BM25's
weight, Robertson and Zaragoza 2009, without term frequencies, which say little about code); then windows of the best
files, by the share of that weight which they hold. Lines: places in other files with the same last few tokens as before
the cursor; what follows there is often what follows here.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator

from midfill.context.focus import Focus
from midfill.context.index import MIN_WORD, WORD, SourceFile
from midfill.context.view import Excerpt, View

LINES_BEFORE, LINES_AFTER = 16, 6  # of the query
WINDOW, STEP = 14, 7  # lines
MAX_COMMON = 0.3  # a word in more than this share of the files carries no information
MAX_FILES = 10
MAX_WINDOWS = 4
MAX_LINES = 3000  # of one file
VISITED = 1.3  # a file that was visited recently
MIN_SCORE = 0.35  # with BASE
BASE = 0.2  # code is worth more than signatures that are equally near
MAX_SCORE = 0.9
SAME = {2: 0.5, 3: 0.7, 4: 0.85, 5: 1.0}  # by the number of equal tokens; more count like the most
MAX_SAME = 8  # tokens
MAX_LINES_SAID = 3
MAX_SEARCHED = 300  # files
MARGIN = 2  # lines around such a line
NAME = "similar"

_TOKEN = re.compile(r"\w+|[^\w\s]")


def find(view: View, focus: Focus) -> Iterator[Excerpt]:
    """Yield the windows most like the lines around the cursor, and the lines most like its own."""
    said = list(_lines(view, focus))
    yield from said
    query = _words([*focus.before[:LINES_BEFORE], *focus.after[:LINES_AFTER]])
    weights = _weights(view, focus, query)
    windows = [window for file in _files(view, focus, weights) for window in _windows(view, file, weights)]
    windows.sort(key=lambda window: -window.score)
    taken: list[Excerpt] = []
    for window in windows:
        if len(taken) == MAX_WINDOWS or window.score < MIN_SCORE:
            break
        if not any(_overlap(window, one) for one in (*taken, *said)):
            taken.append(window)
    yield from taken


def _overlap(window: Excerpt, other: Excerpt) -> bool:
    return window.file is other.file and window.start < other.end and other.start < window.end


# ---- lines -----------------------------------------------------------------------------------------------------------


def _lines(view: View, focus: Focus) -> Iterator[Excerpt]:
    """Yield lines that have the text before the cursor, the longest match first, each with another continuation."""
    line = focus.before[0][-300:]
    tokens = list(_TOKEN.finditer(line))[-MAX_SAME:]
    continuations: set[str] = set()
    for n in range(len(tokens), 1, -1):
        text = line[tokens[-n].start() :].rstrip()
        words = [word for word in WORD.findall(text) if len(word) >= MIN_WORD]
        if not words:
            continue
        for file, at in _places(view, focus, text, words):
            following = _TOKEN.match(file.text[at : at + 200].lstrip(" "))
            if following is None or following[0] in continuations:
                continue
            continuations.add(following[0])
            row = file.text.count("\n", 0, at)
            end = min(row + MARGIN + 1, len(file.lines))
            yield Excerpt(file, max(0, row - MARGIN), end, SAME[min(n, max(SAME))], NAME)
            if len(continuations) == MAX_LINES_SAID:
                return


def _places(view: View, focus: Focus, text: str, words: list[str]) -> Iterator[tuple[SourceFile, int]]:
    """Yield where other files have ``text``, and the position after it; in the files with its rarest word, one place in
    each."""
    keys = min((view.index.users(word) for word in words), key=len)
    order = sorted(keys, key=lambda key: (key not in view.visited, key))
    for key in order[:MAX_SEARCHED]:
        file = view.index.files[key]
        if key != focus.key and file.family == focus.family and (at := file.text.find(text)) >= 0:
            before = file.text[at - 1 : at]
            if not (before.isalnum() and text[0].isalnum()):
                yield file, at + len(text)


# ---- windows ---------------------------------------------------------------------------------------------------------


def _weights(view: View, focus: Focus, query: set[str]) -> dict[str, float]:
    """Return each word of the query that other files use, with its inverse document frequency."""
    n_files = len(view.index.files)
    weights: dict[str, float] = {}
    for word in query:
        users = view.index.users(word)
        n = len(users) - (focus.key in users)
        if 0 < n <= max(3, MAX_COMMON * n_files):
            weights[word] = math.log(1 + (n_files - n + 0.5) / (n + 0.5))
    return weights


def _files(view: View, focus: Focus, weights: dict[str, float]) -> list[SourceFile]:
    totals: defaultdict[str, float] = defaultdict(float)
    for word, weight in weights.items():
        for key in view.index.users(word):
            totals[key] += weight
    totals.pop(focus.key, None)
    for key in view.visited:
        if key in totals:
            totals[key] *= VISITED
    best = sorted(totals, key=lambda key: (-totals[key], key))
    files = (view.index.files[key] for key in best[: 4 * MAX_FILES])
    return [file for file in files if file.family == focus.family][:MAX_FILES]


def _windows(view: View, file: SourceFile, weights: dict[str, float]) -> Iterator[Excerpt]:
    lines = file.lines[:MAX_LINES]
    words = [set(WORD.findall(line[:400])) & weights.keys() for line in lines]
    total = sum(weights.values())
    bonus = VISITED if file.key in view.visited else 1.0
    for start in range(0, max(1, len(lines) - WINDOW // 2), STEP):
        end = min(start + WINDOW, len(lines))
        shared = set().union(*words[start:end])
        if shared:
            score = BASE + bonus * sum(weights[word] for word in shared) / total
            yield Excerpt(file, start, end, min(MAX_SCORE, score), NAME)


def _words(lines: list[str]) -> set[str]:
    return {word for line in lines for word in WORD.findall(line[:400]) if len(word) >= MIN_WORD}
