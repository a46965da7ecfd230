"""Names that a text uses and nothing before it binds: what the code at the cursor has yet to define."""

from __future__ import annotations

import builtins
import keyword
import re

from midfill.syntax.lexical import START, scan

# So many lines below the cursor are read.
MAX_LINES = 30

_PYTHON = frozenset(dir(builtins)) | frozenset(keyword.kwlist) | frozenset(keyword.softkwlist) | {"self", "cls"}
_OTHERS = frozenset(
    """abstract any append as assert async await bool boolean break byte cap case catch chan char class close console
    const continue copy cout cin crate debugger default defer del delete do document double else endl end enum err error
    errors event exports extends extern false final finally float fmt fn for foreach from func function go goto global
    go if impl implements import in include include instanceof int interface internal is it iota len let local long loop
    make map match mod module move mut namespace nameof native new next nil none not null nullptr number object of
    operator or package panic print printf println private process protected prototype pub public raise range readonly
    recover ref register require rescue return select self sealed short signed sizeof static std str string struct
    super switch synchronized template that then this throw throws transient true try type typedef typename typeof
    uint undefined union unless unsafe unsigned until use using val var vec virtual void volatile when where while
    window with yield""".split()
)

_NAME = re.compile(r"(?<![\w.$@'\"])[A-Za-z_]\w*")
_BOUND = (
    re.compile(r"([A-Za-z_]\w*)\s*(?::[^=\n]{1,40})?(?:=(?!=)|:=)"),  # assignments, keyword arguments, defaults
    re.compile(r"\bfor\s+\(?(?:const|let|var|auto)?\s*([A-Za-z_][\w\s,()]*?)\s+(?:in|of)\b"),
    re.compile(r"\b(?:def|class|function|func|fn|type|struct|enum|import|as|interface|module)\s+([A-Za-z_]\w*)"),
    re.compile(r"\blambda\s+([\w\s,]*):"),
    re.compile(r"\(?([\w\s,]*)\)?\s*=>"),
    re.compile(r"([A-Za-z_]\w*)\s*:"),  # a key, a label, a parameter with its type
)
_WORD = re.compile(r"[A-Za-z_]\w*")


def needed(prefix: str, suffix: str, language: str) -> frozenset[str]:
    """Local names that the rest of the block uses and that stand nowhere before: the middle should bring them.

    Read from text, so it may overlook some; a name in doubt is left out. Capitalised names and names of calls are
    more often somebody else's, and count only in Python, where a module's own are known.
    """
    region = _without_strings(_rest_of_block(suffix), language)
    names = set(_NAME.findall(region))
    for pattern in _BOUND:
        for match in pattern.finditer(region):
            names -= set(_WORD.findall(match.group(1)))
    known = _PYTHON if language == "python" else _OTHERS
    names = {name for name in names if name not in known and len(name) > 1 or (len(name) == 1 and name.islower())}
    if language != "python":
        names = {name for name in names if name[0].islower() and not re.search(rf"\b{name}\s*[(!]", region)}
    if not names:
        return frozenset()
    names -= set(_WORD.findall(prefix))
    return frozenset(name for name in names if not _defined_below(name, suffix))


def _rest_of_block(suffix: str) -> str:
    """The lines below the cursor's up to a line that is not indented."""
    lines = suffix.split("\n", MAX_LINES + 1)[: MAX_LINES + 1]
    kept = lines[:1]
    for line in lines[1:]:
        if line.strip() and not line[0].isspace():
            break
        kept.append(line)
    return "\n".join(kept)


def _without_strings(text: str, language: str) -> str:
    """``text`` line by line, without what stands in strings and comments of one line."""
    return "\n".join(_code_of(line, language) for line in text.split("\n"))


_STRING = re.compile(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`[^`\n]*`")


def _code_of(line: str, language: str) -> str:
    line = _STRING.sub('""', line)
    mark = "#" if language in ("python", "ruby", "shellscript") else "//"
    at = line.find(mark)
    return line[:at] if at >= 0 and scan(line[:at], language, START).is_code else line


def _defined_below(name: str, suffix: str) -> bool:
    """Whether the file defines ``name`` further down, as functions and classes may be."""
    pattern = rf"^(?:export\s+|pub\s+|public\s+|static\s+|async\s+)*\b(?:def|class|function|func|fn|type|const|let|var|struct|enum|interface)\s+{re.escape(name)}\b|^{re.escape(name)}\s*="
    return re.search(pattern, suffix, re.MULTILINE) is not None
