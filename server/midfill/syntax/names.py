"""Names that show whether a block is complete: those it uses before binding them, and those it binds and never uses.

They are read from the text by a few patterns, not from a syntax tree: around the cursor the code is broken, and the
only question is whether a name is in doubt. A name that is in doubt is left out.
"""

from __future__ import annotations

import builtins
import functools
import keyword
import re
from dataclasses import dataclass

from midfill.syntax.lexical import code_only

# This many lines above and below the cursor are read.
MAX_ABOVE, MAX_BELOW = 120, 40

_PYTHON = frozenset(dir(builtins)) | frozenset(keyword.kwlist) | frozenset(keyword.softkwlist) | {"self", "cls"}
_OTHER_WORDS = """
    abstract any append as assert async await bool boolean break byte cap case catch chan char class close console
    const continue copy cout cin crate debugger default defer del delete do document double else endl end enum err error
    errors event exports extends extern false final finally float fmt fn for foreach from func function go goto global
    go if impl implements import in include instanceof int interface internal is it iota len let local long loop make
    map match mod module move mut namespace nameof native new next nil none not null nullptr number object of operator
    or package panic print printf println private process protected prototype pub public raise range readonly recover
    ref register require rescue return select self sealed short signed sizeof static std str string struct super switch
    synchronized template that then this throw throws transient true try type typedef typename typeof uint undefined
    union unless unsafe unsigned until use using val var vec virtual void volatile when where while window with yield
"""
_OTHERS = frozenset(_OTHER_WORDS.split())

_NAME = re.compile(r"(?<![\w.$@])[A-Za-z_]\w*")
_WORD = re.compile(r"[A-Za-z_]\w*")
_FOR = re.compile(r"\bfor\s*\(?\s*(?:const |let |var |auto |final )?\s*([A-Za-z_][\w\s,()]*?)\s+(?:in|of)\b")
_ASSIGNED = re.compile(
    r"^[ \t]*(?:(?:const|let|var|auto|final|mut|val|local|static)\s+(?:mut\s+)?)*([A-Za-z_]\w*(?:\s*,\s*[A-Za-z_]\w*)*)"
    r"\s*(?::[^=\n]{1,40})?(?:=(?![=>])|:=|[-+*/%|&^]=)",
    re.MULTILINE,
)
_CHANGED = re.compile(  # written to, not read
    r"^[ \t]*([A-Za-z_]\w*)(?:\[[^\]\n]*\]\s*[-+*/]?=(?!=)|\.(?:append|add|push|insert|extend|put|set|update)\()",
    re.MULTILINE,
)
_BOUND = (
    re.compile(r"([A-Za-z_]\w*)\s*(?::[^=\n]{1,40})?(?:=(?!=)|:=)"),  # assignments, keyword arguments, defaults
    _FOR,
    re.compile(r"\b(?:def|class|function|func|fn|type|struct|enum|import|as|interface|module)\s+([A-Za-z_]\w*)"),
    re.compile(r"\blambda\s+([\w\s,]*):"),
    re.compile(r"\(?([\w\s,]*)\)?\s*=>"),
    re.compile(r"([A-Za-z_]\w*)\s*:(?!:)"),  # a key, a label, a parameter with its type
)
_FUNCTION = re.compile(r"^\s*(?:[\w@]+\s+)*?(?:def|function|func|fn|fun|sub)\b")
_METHOD = re.compile(r"\)[^;=]*\{\s*$")
_STATEMENT = re.compile(r"^\s*(?:\}?\s*)?(?:if|for|while|switch|catch|else|do|try|match|with|return)\b")


@dataclass(frozen=True, slots=True)
class Names:
    """``needed``: used below the cursor, bound nowhere above. ``unused``: bound above and read neither there nor below.
    What is written at the cursor should mention both. ``body``: the indentation of the body of the function around the
    cursor, None outside of functions; ``begun``: whether any of that body exists."""

    needed: frozenset[str] = frozenset()
    unused: frozenset[str] = frozenset()
    body: int | None = None
    begun: bool = False


@functools.lru_cache(maxsize=64)
def names_around(prefix: str, suffix: str, language: str, base: int) -> Names:
    """Read the code around the cursor, where a line indented by ``base`` begins."""
    above = code_only(prefix, language).split("\n")[:-1]
    start = function_above(above, base)
    body = None if start is None else _body_indent(above, start)
    begun = start is not None and any(line.strip() for line in above[start + 1 :])
    visible = _without_closed_functions(above, base)
    below = "\n".join(_rest_of_function(code_only(suffix, language), body))
    function = "\n".join(_without_closed_functions(above[start + 1 :], base)) if start is not None else ""
    return Names(_needed("\n".join(visible), below, suffix, language), _unused(function, below), body, begun)


def indent(line: str) -> int:
    """Return how many characters of white space ``line`` begins with."""
    return len(line) - len(line.lstrip(" \t"))


def opens_function(line: str) -> bool:
    """Whether a function or method begins on ``line``, as far as one line can show."""
    return bool(_FUNCTION.match(line)) or bool(_METHOD.search(line) and not _STATEMENT.match(line))


def function_above(lines: list[str], least: int) -> int | None:
    """Return the line where the innermost function begins that contains a line indented by ``least`` after
    ``lines``."""
    for i in range(len(lines) - 1, max(-1, len(lines) - 1 - MAX_ABOVE), -1):
        if not lines[i].strip():
            continue
        here = indent(lines[i])
        if here < least and opens_function(lines[i]):
            return i
        least = min(least, max(here, 1))
    return None


def _body_indent(lines: list[str], start: int) -> int:
    inside = [indent(line) for line in lines[start + 1 :] if line.strip()]
    deeper = [n for n in inside if n > indent(lines[start])]
    return deeper[0] if deeper else indent(lines[start]) + 1


def _without_closed_functions(lines: list[str], least: int) -> list[str]:
    """Return ``lines`` without the bodies of functions that end before a line indented by ``least``: their names are
    their own."""
    kept: list[str] = []
    for line in reversed(lines):
        here = indent(line)
        if not line.strip():
            continue
        if opens_function(line) and here >= least:
            while kept and indent(kept[-1]) > here:
                kept.pop()
        kept.append(line)
        least = min(least, here)
    return kept[::-1]


def _rest_of_function(suffix: str, body: int | None) -> list[str]:
    lines = suffix.split("\n", MAX_BELOW + 1)[: MAX_BELOW + 1]
    kept = lines[:1]
    for line in lines[1:]:
        if line.strip() and indent(line) < (body if body is not None else 1):
            break
        kept.append(line)
    return kept


def _needed(above: str, below: str, suffix: str, language: str) -> frozenset[str]:
    known = _PYTHON if language == "python" else _OTHERS
    names = {name for name in _read_first(below) if name not in known and (len(name) > 1 or name.islower())}
    if language != "python":  # capitalised names and names of calls more often belong to other files
        names = {name for name in names if name[0].islower() and not re.search(rf"\b{name}\s*[(!]", below)}
    names -= set(_WORD.findall(above)) if names else set()
    return frozenset(name for name in names if not _defined_below(name, suffix))


def _read_first(code: str) -> set[str]:
    """Return the names that a line reads before any line binds them."""
    read, bound = set[str](), set[str]()
    for line in code.split("\n"):
        here = {
            name for pattern in _BOUND for match in pattern.finditer(line) for name in _WORD.findall(match.group(1))
        }
        if (match := _ASSIGNED.match(line)) is not None:
            here -= set(_WORD.findall(match.group(1))) & set(_NAME.findall(line[match.end() :]))  # reads what it binds
        read |= set(_NAME.findall(line)) - here - bound
        bound |= here
    return read


_DEFINES = r"(?:def|class|function|func|fn|type|const|let|var|struct|enum|interface)"


def _defined_below(name: str, suffix: str) -> bool:
    """Whether the file defines ``name`` further down, as functions and classes may be."""
    pattern = rf"^(?:\w+\s+){{0,3}}{_DEFINES}\s+{name}\b|^{name}\s*="
    return re.search(pattern, suffix, re.MULTILINE) is not None


def _unused(function: str, below: str) -> frozenset[str]:
    """Return the names assigned in the function that nothing reads."""
    bound = [name for match in _ASSIGNED.finditer(function) for name in _WORD.findall(match.group(1))]
    bound += [name for match in _FOR.finditer(function) for name in _WORD.findall(match.group(1))]
    read = set(_WORD.findall(below))
    candidates = {name for name in bound if not name.startswith("_") and name not in read}
    bound += [match.group(1) for match in _CHANGED.finditer(function)]
    counts = dict.fromkeys(candidates, 0)
    for name in _NAME.findall(function):
        if name in counts:
            counts[name] += 1
    return frozenset(name for name in candidates if counts[name] <= bound.count(name))
