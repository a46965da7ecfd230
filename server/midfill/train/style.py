"""A repository's style, and how many answers follow it: shown beside the gate's figures, and decides nothing.

Each feature is a choice that a language leaves to its writers. Its votes are counted in the files that were learned
from, by language; where nearly all agree, that is the repository's style. The answers are those of the gate's holes.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from midfill.eval.run import Record
from midfill.train.collect import SourceText

MIN_VOTES, MIN_SHARE = 20, 0.8  # votes that make a style, and how many of them agree
MAX_FILES = 2000  # files whose votes are counted
_SCRIPTS = frozenset({"javascript", "typescript", "javascriptreact", "typescriptreact"})
_PYTHON = frozenset({"python"})
# Strings without any quote inside, where either kind would do.
_STRING = re.compile(r"(?<![\w\"'`])[bfruBFRU]{0,2}(?:'[^'\"\n]*'|\"[^'\"\n]*\")(?![\"'])")
_NAME = re.compile(r"(?<![\w.])[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b|(?<![\w.])[a-z][a-z0-9]*(?:[A-Z][a-z0-9]*)+\b")
_LAST_OF_SEVERAL = re.compile(r"(?<![ \t])(,?)[ \t]*\n[ \t]*[)\]}]")  # begins once in a run of spaces
_STATEMENT_END = re.compile(r"[\w)\]\"'`](;?)[ \t]*$", re.MULTILINE)
_DEF = re.compile(r"^[ \t]*(?:async )?def \w+\([^()\n]*\)[ \t]*(->[^\n]*)?:[ \t]*\n[ \t]*(\"\"\"|''')?", re.MULTILINE)
_TEST = re.compile(r"^[ \t]*(?:(assert\b)|(self\.assert\w+\())", re.MULTILINE)
_BRACES = re.compile(r"\{( ?)[\w'\"][^{}\n]*?( ?)\}")


def _quotes(text: str) -> Iterable[str]:
    return ("double" if match[0].endswith('"') else "single" for match in _STRING.finditer(text))


def _naming(text: str) -> Iterable[str]:
    return ("snake_case" if "_" in match[0] else "camelCase" for match in _NAME.finditer(text))


def _indentation(text: str) -> Iterable[str]:
    lines = [line for line in text.split("\n") if line.strip()]
    for above, below in itertools.pairwise(lines):
        before, after = (line[: len(line) - len(line.lstrip(" \t"))] for line in (above, below))
        more = after[len(before) :]
        if more and after.startswith(before) and above.rstrip().endswith((":", "{", "(", "[", ">")):
            yield "tab" if more == "\t" else f"{len(more)} spaces" if not more.strip(" ") else "mixed"


def _trailing_commas(text: str) -> Iterable[str]:
    for match in _LAST_OF_SEVERAL.finditer(text):
        if text[max(0, match.start() - 100) : match.start()].rstrip()[-1:] not in ("", "(", "[", "{", ";", "}"):
            yield "with" if match[1] else "without"


def _semicolons(text: str) -> Iterable[str]:
    return ("with" if match[1] else "without" for match in _STATEMENT_END.finditer(text))


def _docstrings(text: str) -> Iterable[str]:
    return ("with" if match[2] else "without" for match in _DEF.finditer(text))


def _annotations(text: str) -> Iterable[str]:
    return ("with" if match[1] else "without" for match in _DEF.finditer(text))


def _tests(text: str) -> Iterable[str]:
    return ("assert" if match[1] else "self.assert" for match in _TEST.finditer(text))


def _braces(text: str) -> Iterable[str]:
    return ("{ a }" if match[1] else "{a}" for match in _BRACES.finditer(text) if match[1] == match[2])


@dataclass(frozen=True, slots=True)
class StyleFeature:
    """A choice, and the languages that leave it; none named: all."""

    votes: Callable[[str], Iterable[str]]
    languages: frozenset[str] = frozenset()


FEATURES: Mapping[str, StyleFeature] = {
    "quotes": StyleFeature(_quotes, _PYTHON | _SCRIPTS | {"ruby", "php", "lua", "css", "html"}),
    "names of several words": StyleFeature(_naming),
    "indentation": StyleFeature(_indentation),
    "trailing commas": StyleFeature(_trailing_commas, _PYTHON | _SCRIPTS | {"rust", "php", "ruby", "lua", "dart"}),
    "semicolons": StyleFeature(_semicolons, _SCRIPTS),
    "docstrings": StyleFeature(_docstrings, _PYTHON),
    "return annotations": StyleFeature(_annotations, _PYTHON),
    "assertions in tests": StyleFeature(_tests, _PYTHON),
    "spaces in braces": StyleFeature(_braces, _SCRIPTS),
}


@dataclass(frozen=True, slots=True)
class StyleRow:
    """Of the texts in which a feature shows, how many follow the repository: pairs of (number that follow, number)."""

    name: str
    style: str  # what most of the repository does, by language if there are several
    before: tuple[int, int]
    after: tuple[int, int]
    original: tuple[int, int]  # the repository's own text in the same holes


def styles(files: Sequence[SourceText]) -> dict[tuple[str, str], str]:
    """Return by (feature, language) what nearly all of ``files`` do; without those on which they disagree."""
    votes: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for file in files[:MAX_FILES]:
        for name in FEATURES:
            votes[name, file.language].update(_votes(name, file.language, file.text))
    found = {}
    for key, counted in votes.items():
        for style, n in counted.most_common(1):
            if counted.total() >= MIN_VOTES and n >= MIN_SHARE * counted.total():
                found[key] = style
    return found


def _votes(name: str, language: str, text: str) -> Counter[str]:
    feature = FEATURES[name]
    return Counter(feature.votes(text) if not feature.languages or language in feature.languages else ())


def probe(files: Sequence[SourceText], before: Sequence[Record], after: Sequence[Record]) -> list[StyleRow]:
    """Return how many of the records' answers follow the style of ``files``, by feature; without those that neither
    an answer nor the repository shows there."""
    known, rows = styles(files), []
    for name in FEATURES:
        here = {language: style for (feature, language), style in known.items() if feature == name}
        counts = [
            _followed(name, here, ((record["language"], record[text]) for record in records))
            for records, text in ((before, "text"), (after, "text"), (after, "middle"))
        ]
        shown = {record["language"] for record in after} & here.keys()
        style = ", ".join(sorted({here[language] for language in shown}))
        if any(n for _, n in counts):
            rows.append(StyleRow(name, style, *counts))
    return rows


def _followed(name: str, styles: Mapping[str, str], texts: Iterable[tuple[str, str]]) -> tuple[int, int]:
    n = n_follow = 0
    for language, text in texts:
        if (style := styles.get(language)) is not None and (votes := _votes(name, language, text)):
            n, n_follow = n + 1, n_follow + (votes[style] * 2 > votes.total())
    return n_follow, n


def as_figures(rows: Sequence[StyleRow]) -> list[dict[str, Any]]:
    """Return the rows for files and lines of JSON: shares with their numbers of texts; None where no text shows it."""
    return [
        {
            "name": row.name, "style": row.style,
            **{key: round(pair[0] / pair[1], 4) if pair[1] else None for key, pair in _pairs(row)},
            **{f"n_{key}": pair[1] for key, pair in _pairs(row)},
        }
        for row in rows
    ]  # fmt: skip


def _pairs(row: StyleRow) -> list[tuple[str, tuple[int, int]]]:
    return [("before", row.before), ("after", row.after), ("original", row.original)]
