"""Holes in real code that every machine has: modules of the standard library.

A hole is leak-free: the text around it is the module without the hole's text, which neither ends what stands before
the cursor nor begins what stands after it. The same seed and the same Python cut the same holes.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import keyword
import random
import tokenize
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from midfill.eval.holes import MIN_CHARS, Hole, is_leak_free

MODULES = (
    "argparse", "statistics", "json.decoder", "textwrap", "difflib", "configparser", "fractions", "shutil", "optparse",
    "calendar", "ipaddress", "mailbox", "http.client", "http.cookiejar", "logging.handlers", "pprint",
)  # fmt: skip
BLOCK_LINES = 3


def read_module(name: str) -> str:
    """The source of a module of the standard library; "" where this Python has none."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return ""
    return Path(spec.origin).read_text(encoding="utf-8").replace("\r\n", "\n")


def cut(
    n_holes: int, seed: int = 1, *, n_before: int = 4000, n_after: int = 1500, modules: Sequence[str] = MODULES
) -> list[Hole]:
    """``n_holes`` holes, the kinds in turn, with so many characters of the module before and after at least."""
    rng = random.Random(seed)  # noqa: S311 - the same holes each time
    texts = {name: text for name in modules if len(text := read_module(name)) > n_before + n_after}
    order = sorted(texts)
    rng.shuffle(order)
    code = {name: Code.read(text) for name, text in texts.items()}
    taken: list[tuple[str, int, int]] = []
    holes: list[Hole] = []
    kinds = list(KINDS)
    for turn in range(n_holes * len(kinds)):  # some turns find no place
        if not order or len(holes) == n_holes:
            break
        # A module meets another kind each time it comes round.
        name, kind = order[turn % len(order)], kinds[(turn + turn // len(order)) % len(kinds)]
        text = texts[name]
        spans = [
            (start, end)
            for start, end in KINDS[kind](code[name])
            if n_before <= start and end <= len(text) - n_after
            and not any(other == name and start < high and low < end for other, low, high in taken)
            and is_leak_free(text[:start], text[start:end], text[end:])
        ]  # fmt: skip
        if spans:
            start, end = rng.choice(spans)
            taken.append((name, start, end))
            path = name.rpartition(".")[2] + ".py"
            holes.append(Hole(name, kind, text[:start], text[start:end], text[end:], path))
    return holes


@dataclass(slots=True)
class Code:
    """The lines of a module that are code alone: no comments, no part of a string of several lines."""

    text: str
    starts: list[int] = field(default_factory=list)  # where in the text each row begins; row 0 is the first
    rows: dict[int, list[tokenize.TokenInfo]] = field(default_factory=dict)
    statements: set[int] = field(default_factory=set)  # rows that begin one

    @classmethod
    def read(cls, text: str) -> Code:
        """Tokenise ``text``."""
        code = cls(text, [0, *(at + 1 for at, char in enumerate(text) if char == "\n")])
        mixed: set[int] = set()
        is_new = True
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            first, last = token.start[0] - 1, token.end[0] - 1
            if token.type == tokenize.COMMENT:
                mixed.add(first)
            elif token.type in _LAYOUT:
                is_new = is_new or token.type == tokenize.NEWLINE
            else:
                if first != last:
                    mixed.update(range(first, last + 1))
                if is_new:
                    code.statements.add(first)
                code.rows.setdefault(first, []).append(token)
                is_new = False
        for row in mixed | {row for row, tokens in code.rows.items() if _is_text(tokens)}:
            code.rows.pop(row, None)
        return code

    def at(self, place: tuple[int, int]) -> int:
        """The offset of a token's (row from 1, column)."""
        return self.starts[place[0] - 1] + place[1]

    def end(self, row: int) -> int:
        """The offset behind the row's last character that is no space."""
        return self.starts[row] + len(self.text[self.starts[row] :].split("\n", 1)[0].rstrip())


_LAYOUT = frozenset({tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER})


def _is_text(tokens: Sequence[tokenize.TokenInfo]) -> bool:
    return all(token.type == tokenize.STRING for token in tokens)


Span = tuple[int, int]


def rest_of_line(code: Code) -> Iterator[Span]:
    """From the start of a word that is not the line's first."""
    for row, tokens in code.rows.items():
        for token in tokens[1:]:
            yield code.at(token.start), code.end(row)


def call_arguments(code: Code) -> Iterator[Span]:
    """Between the parentheses of a call."""
    for tokens in code.rows.values():
        if tokens[0].string in ("def", "class"):
            continue
        for i, (name, opening) in enumerate(itertools.pairwise(tokens)):
            if name.type == tokenize.NAME and not keyword.iskeyword(name.string) and opening.string == "(":
                closing = _closing(tokens[i + 1 :])
                if closing is not None:
                    yield code.at(opening.end), code.at(closing.start)


def _closing(tokens: Sequence[tokenize.TokenInfo]) -> tokenize.TokenInfo | None:
    depth = 0
    for token in tokens:
        depth += (token.string == "(") - (token.string == ")")
        if depth == 0:
            return token
    return None


def mid_word(code: Code) -> Iterator[Span]:
    """From the middle of a name to the end of its line."""
    for row, tokens in code.rows.items():
        for token in tokens:
            if token.type == tokenize.NAME and len(token.string) > MIN_CHARS and not keyword.iskeyword(token.string):
                yield code.at(token.start) + len(token.string) // 2, code.end(row)


def block(code: Code) -> Iterator[Span]:
    """Three lines of code, from behind the indentation of the first."""
    for row, tokens in code.rows.items():
        if row in code.statements and tokens[0].start[1] and all(row + i in code.rows for i in range(BLOCK_LINES)):
            yield code.at(tokens[0].start), code.end(row + BLOCK_LINES - 1)


KINDS: dict[str, Callable[[Code], Iterator[Span]]] = {
    "rest of line": rest_of_line,
    "call arguments": call_arguments,
    "mid-word": mid_word,
    "block": block,
}
