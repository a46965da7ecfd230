"""What post-processing needs to know of each language: which brackets close, what opens, continues and ends a block.

The tables hold words; everything that indentation shows is read from indentation, so a language that is in none of them
works too, but is decided a line later.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from midfill.syntax import languages

_JS = frozenset({"javascript", "javascriptreact", "typescript", "typescriptreact"})
MARKUP = frozenset({"html", "xml", "vue", "svelte"})
# Languages whose blocks are closed by a brace.
BRACES = _JS | {
    "c", "cpp", "csharp", "css", "dart", "go", "graphql", "groovy", "java", "json", "jsonc", "kotlin", "less", "nginx",
    "objective-c", "objective-cpp", "perl", "php", "powershell", "protobuf", "r", "rust", "scala", "scss", "solidity",
    "swift", "terraform", "zig",
}  # fmt: skip
# Here a bracket may be closed that was never opened: `start)` in a shell's case, text between tags, a plain scalar.
_LOOSE = MARKUP | {
    "asm", "bat", "dockerfile", "fish", "ini", "just", "makefile", "nginx", "shellscript", "vim", "yaml"
}  # fmt: skip
# Languages made of statements that bind names and read them.
NAMED = _JS | {
    "c", "cpp", "csharp", "dart", "elixir", "go", "groovy", "java", "julia", "kotlin", "lua", "objective-c",
    "objective-cpp", "perl", "php", "powershell", "python", "r", "ruby", "rust", "scala", "shellscript", "solidity",
    "swift", "zig",
}  # fmt: skip
# A line with nothing open that does not end like an opener or an operator is a complete statement, whatever follows.
_BY_LINE = frozenset({"python", "go", "toml", "ini", "dockerfile"})
_DATA = frozenset({"css", "graphql", "json", "jsonc", "less", "nginx", "protobuf", "scss", "terraform"})
_BY_SEMICOLON = BRACES - {"go", "json", "jsonc", "graphql", "terraform"}
# A conditional modifier at the end of a line, as in `return x if y`: the line may not be the last one.
_MODIFIERS = frozenset({"ruby", "perl", "elixir"})
_NO_COMMA = frozenset({"sql", "json", "jsonc"})
# A statement spans lines of one indentation up to a semicolon.
_TO_SEMICOLON = frozenset({"sql"})

_NEVER = r"(?!)"
_NO_NAME = r"\b(?!\s*=(?!=)|:)"  # after a word that may also be a name or a key


def _by_language(*rows: tuple[str | Iterable[str], str]) -> dict[str, re.Pattern[str]]:
    parts: dict[str, list[str]] = {}
    for ids, pattern in rows:
        for id in (ids.split() or [""]) if isinstance(ids, str) else ids:
            parts.setdefault(id, []).append(pattern)
    return {id: re.compile("|".join(f"(?:{pattern})" for pattern in found)) for id, found in parts.items()}


# The code of a line, without white space around it, that surely opens a block (searched).
_OPENS = _by_language(
    (BRACES | {"shellscript", "fish", "dockerfile"}, r"\{$"),
    (BRACES - _DATA, r"=>$|->$|^(?:case\b.*|default|public|private|protected)\s*:$"),
    (_JS | {"java", "csharp", "dart"}, r"^\w+\s*:$"),
    ("python yaml scala sass", r":$"),
    ("ruby elixir julia", r"\b(?:do|then|begin)(?:\s*\|[^|]*\|)?$|->$"),
    ("ruby", r"^(?:def|class|module|if|unless|while|until|case|for|begin|else|elsif|when|rescue|ensure)\b(?!.*\bend$)"),
    ("julia", r"^(?:function|if|for|while|struct|module|macro|begin|let|try|else|elseif)\b(?!.*\bend$)"),
    ("lua", r"\b(?:then|do|repeat|else)$|\bfunction\b[^()]*\([^()]*\)$"),
    ("shellscript", r"\b(?:then|do|else|in)$|^[^\s()]+\)$|^\(?[^()\s]+(?:\s*\|\s*[^()\s]+)*\)$"),
    ("fish", r"^(?:if|else|for|while|function|switch|case|begin)\b"),
    ("cmake", r"(?i:^(?:if|elseif|else|foreach|while|function|macro)\s*\()"),
    ("makefile", r"^[^\s#=:][^#=:]*::?(?!=)|^(?:if(?:n?eq|n?def)|else|define)\b"),
    ("vim", r"^(?:function|if|else|elseif|for|while|try|catch|finally|augroup(?! END))\b"),
    ("sql", r"(?i:\b(?:begin|then|loop|else|declare)$)"),
    ("haskell elm ocaml fsharp", r"\b(?:where|of|do|let|then|else|with|begin|struct|sig)$|(?<![=<>])=$|->$"),
    ("erlang", r"->$|\bof$"),
    ("latex", r"\\begin\{[^}]*\}(?:\[[^\]]*\]|\{[^}]*\})*$"),
    ("clojure lisp elisp scheme racket", _NEVER),
    ("", r"\{$|=>$|->$|\b(?:do|then|begin)(?:\s*\|[^|]*\|)?$"),
)
# A line with such a beginning closes what is above it (matched), as brackets do.
_CLOSES = _by_language(
    ("ruby julia elixir erlang fish sql", rf"(?i:end){_NO_NAME}"),
    ("lua", r"end\b(?!\s*[=.:])|until\b"),
    ("shellscript", r"(?:fi|done|esac)\b(?!=)|;;"),
    ("cmake", r"(?i:end(?:if|foreach|while|function|macro|block)\b)"),
    ("makefile", r"(?:endif|endef)\b"),
    ("vim", r"end(?:if|for|while|try|f|function|class)\b|augroup END\b"),
    ("php", r"end(?:if|for|foreach|while|switch)\b"),
    ("ocaml", r"(?:end|done)\b"),
    ("latex", r"\\end\b"),
    (MARKUP | _JS | {"php", "markdown"}, r"</|/?>"),
    (MARKUP, r"\{/|\{%-?\s*end|-->|\]\]>"),
    ("c cpp objective-c objective-cpp", r"#\s*endif\b"),
    ("", r"(?:end|fi|done|esac|endif)\b(?!\s*[=.:(\[])|</|\\end\b|;;"),
)
# A line that continues the statement whose first part ends above it.
_SECOND = _by_language(
    ("python", r"(?:else|elif|except|finally)\b"),
    (BRACES - _DATA, r"(?:else|catch|finally)\b"),
    ("scss", r"@else\b"),
    ("perl", r"elsif\b"),
    ("php powershell", r"elseif\b"),
    ("ruby", r"(?:else|elsif|rescue|ensure)\b"),
    ("lua", r"(?:else|elseif)\b"),
    ("shellscript", r"(?:else|elif)\b"),
    ("julia", r"(?:else|elseif|catch|finally)\b"),
    ("elixir", r"(?:else|rescue|catch|after)\b"),
    ("fish", r"else\b"),
    ("cmake", r"(?i:else(?:if)?\b)"),
    ("makefile", r"else\b"),
    ("vim", r"(?:else|elseif|catch|finally)\b"),
    ("haskell elm ocaml fsharp", r"(?:else|then)\b"),
    ("sql", r"(?i:(?:else|elsif|exception)\b)"),
    ("svelte", r"\{:"),
    ("html", r"\{%-?\s*el"),
    ("c cpp objective-c objective-cpp", r"#\s*el"),
    ("", r"(?:else|elif|elsif|elseif|except|finally|catch|rescue|ensure)\b"),
)
# A line that is the next one of several branches.
_BRANCH = _by_language(
    (BRACES - _DATA, r"case\b(?!\s*[=.])|default\b(?!\s*[=.(\w])"),
    ("python", r"case\b(?!\s*[=.])"),
    ("ruby", r"(?:when|in)\b"),
    ("fish", r"case\b"),
    ("sql", r"(?i:when\b)"),
)
# A line that belongs to what comes after it.
_LEADS = _by_language(
    (_JS | {"python", "java", "kotlin", "dart", "scala", "groovy", "swift", "elixir"}, r"@"),
    ("rust php", r"#!?\["),
    ("csharp", r"\[[A-Z].*\]$"),
    ("c cpp", r"template\s*<"),
    ("haskell elm", r"[a-z][\w']*\s*::\s"),
    ("markdown", r"#{1,6}\s"),
)
# A shape that holds a block whose content need not be deeper, and what closes it, with the shape's groups filled in.
_HOLDERS: tuple[tuple[frozenset[str], re.Pattern[str], str], ...] = (
    (
        MARKUP | _JS | {"php", "markdown"},
        re.compile(
            r"(?<![\w)\]])<(?!(?:area|base|br|col|embed|hr|img|input|link|meta|source|track|wbr)\b)"
            r"([A-Za-z][\w.:-]*)(?:[^<>]|=>)*(?<![/=-])>$"
        ),
        r"</\1",
    ),
    (frozenset({"latex"}), re.compile(r"\\begin\{([^}]*)\}(?:\[[^\]]*\]|\{[^}]*\})*$"), r"\end{\1}"),
    (frozenset({"shellscript"}), re.compile(r"\bcase\b.*\bin$"), "esac"),
    (frozenset({"sql"}), re.compile(r"(?<!\w)(\$\w*\$)$"), r"\1"),
    (frozenset({"makefile"}), re.compile(r"^define\b"), "endef"),
    (frozenset({"makefile"}), re.compile(r"^if(?:n?eq|n?def)\b"), "endif"),
)  # fmt: skip

_LEAVES = re.compile(r"(?:return|raise|throw|break|continue|goto)\b(?!\s*[=:])")
_MODIFIER = re.compile(r"\b(?:if|unless)\b")
_OPERATOR = re.compile(r"(?:[-+*/%&|^,=<>?.\\]|\b(?:and|or|not|in|is))\s*\Z")
_NOTHING = re.compile(_NEVER)


@dataclass(frozen=True, slots=True)
class Traits:
    """The traits of one language. ``id`` is its LSP id."""

    id: str
    prose: bool
    known: bool  # whether the table of languages has it
    opens: re.Pattern[str]
    closes: re.Pattern[str]
    second: re.Pattern[str]
    branch: re.Pattern[str]
    leads: re.Pattern[str]
    comment: str  # what begins a line comment, "" if there is none

    @property
    def has_brackets(self) -> bool:
        """Whether a closing bracket always closes one before it."""
        return self.known and not self.prose and self.id not in _LOOSE

    @property
    def has_braces(self) -> bool:
        """Whether a brace opens a block."""
        return self.id in BRACES

    @property
    def has_names(self) -> bool:
        """Whether it is made of statements that bind names and read them."""
        return self.id in NAMED

    @property
    def has_tags(self) -> bool:
        """Whether it may contain elements."""
        return self.id in MARKUP or self.id in _JS

    @property
    def is_code(self) -> bool:
        """Whether it is code: not prose, markup or YAML."""
        return not self.prose and self.id not in MARKUP and self.id not in ("", "yaml")

    @property
    def closes_blocks(self) -> bool:
        """Whether a block ends with a word, a tag or a brace, not only with its indentation."""
        return self.has_braces or self.id in _CLOSES

    @property
    def refuses_trailing_commas(self) -> bool:
        """Whether a comma before a closing bracket is an error."""
        return self.id in _NO_COMMA

    @property
    def goes_to_semicolon(self) -> bool:
        """Whether a statement spans lines of one indentation up to a semicolon."""
        return self.id in _TO_SEMICOLON

    def opens_block(self, code: str) -> bool:
        """Whether a line with this ``code`` (without its comment) surely comes before a block."""
        return self.opens.search(code.strip()) is not None or bool(self.holder(code))

    def is_closer(self, text: str) -> bool:
        """Whether a line of ``text``, without white space around it, begins by closing something."""
        if text[:1] in ("}", ")", "]"):
            return not self.prose
        return self.closes.match(text) is not None

    def goes_on(self, text: str) -> bool:
        """Whether a line of ``text`` continues the statement or the branches before it."""
        if text[:1] == "}" and not self.prose:
            return True
        return self.second.match(text) is not None or self.branch.match(text) is not None

    def leaves(self, code: str) -> bool:
        """Whether a statement of ``code`` is the last one that is reached."""
        if not self.has_names or _LEAVES.match(code) is None:
            return False
        return self.id not in _MODIFIERS or _MODIFIER.search(code) is None

    def ends_statement(self, code: str) -> bool:
        """Whether a line of ``code``, with nothing open at its end, is a complete statement, whatever follows."""
        code = code.strip()
        if _OPERATOR.search(code) or self.opens_block(code):
            return False
        return self.id in _BY_LINE or (self.id in _BY_SEMICOLON and code.endswith((";", "}")))

    def holder(self, code: str) -> str:
        """Return what closes the block that a line of ``code`` opens, if its content need not be deeper; otherwise
        ""."""
        for ids, shape, closer in _HOLDERS:
            if self.id in ids and (match := shape.search(code.strip())) is not None:
                return match.expand(closer.replace("\\end", "\\\\end"))
        return ""


@functools.cache
def traits(language: str) -> Traits:
    """Return the traits of an LSP language id; for an unknown one, what languages have in common."""
    row = languages.of(language)
    known = bool(row.id)
    key = language if known else ""

    def of(table: dict[str, re.Pattern[str]]) -> re.Pattern[str]:
        return table.get(key, _NOTHING)

    return Traits(key, row.prose, known, of(_OPENS), of(_CLOSES), of(_SECOND), of(_BRANCH), of(_LEADS), row.comment[0])
