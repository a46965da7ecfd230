"""Code like the code around the cursor: windows of other files that share its rarer words.

Files first, by the inverse document frequency of the words they share with the cursor's surroundings (BM25's weight,
Robertson and Zaragoza 2009, without term frequencies, which say little of code); then windows of the best files, by
the weighted Jaccard coefficient, which does not favour long ones.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from midfill.context.focus import Focus
from midfill.context.index import MIN_WORD, WORD, SourceFile
from midfill.context.view import View, Window

LINES_BEFORE, LINES_AFTER = 16, 6  # of the query
WINDOW, STEP = 14, 7  # lines
MAX_COMMON = 0.3  # a word of more than this share of the files says nothing
MAX_FILES = 10
MAX_WINDOWS = 5
MAX_LINES = 3000  # of one file
VISITED = 1.3  # a file that was looked at lately
MIN_SCORE = 0.08
MAX_SCORE = 0.9
NAME = "similar"


def find(view: View, focus: Focus) -> Iterator[Window]:
    """The windows most like the lines around the cursor."""
    query = _words([*focus.before[:LINES_BEFORE], *focus.after[:LINES_AFTER]])
    weights = _weights(view, focus, query)
    if not weights:
        return
    windows = [window for file in _files(view, focus, weights) for window in _windows(view, file, weights)]
    windows.sort(key=lambda window: -window.score)
    taken: list[Window] = []
    for window in windows:
        if len(taken) == MAX_WINDOWS or window.score < MIN_SCORE:
            break
        if not any(window.file is one.file and window.start < one.end and one.start < window.end for one in taken):
            taken.append(window)
    yield from taken


def _weights(view: View, focus: Focus, query: set[str]) -> dict[str, float]:
    """Each word of the query that other files use, with its inverse document frequency."""
    n_files = len(view.index.files)
    weights: dict[str, float] = {}
    for word in query:
        n = sum(key != focus.key for key in view.index.users(word))
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


def _windows(view: View, file: SourceFile, weights: dict[str, float]) -> Iterator[Window]:
    lines = file.lines[:MAX_LINES]
    words = [set(WORD.findall(line[:400])) & weights.keys() for line in lines]
    total = sum(weights.values())
    bonus = VISITED if file.key in view.visited else 1.0
    for start in range(0, max(1, len(lines) - WINDOW // 2), STEP):
        end = min(start + WINDOW, len(lines))
        shared = set().union(*words[start:end])
        if shared:
            score = bonus * sum(weights[word] for word in shared) / total
            yield Window(file, start, end, min(MAX_SCORE, score), NAME)


def _words(lines: list[str]) -> set[str]:
    return {word for line in lines for word in WORD.findall(line[:400]) if len(word) >= MIN_WORD}
