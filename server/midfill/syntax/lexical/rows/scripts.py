"""Languages with the comment of a shell, and the shells."""

from __future__ import annotations

import re
from collections.abc import Callable

from midfill.syntax.lexical.actions import (
    PAIRS,
    delimited,
    heredoc_rule,
    quote_like,
    shell_paren,
    slash_of_a_call,
    until,
)
from midfill.syntax.lexical.modes import (
    Mode,
    Rule,
    block_comment,
    closed,
    enter,
    interpolate,
    leave,
    leave_at_line_end,
    line_comment,
    mode,
    opened,
    passed,
    string,
    whole,
)
from midfill.syntax.lexical.reader import Lexer
from midfill.syntax.lexical.rows.made import row
from midfill.syntax.lexical.state import Row

HASH = line_comment("#")
# The mark begins a comment only where a word begins.
HASH_WORD = line_comment(r"(?<![^\s;|&()`])#", "#")


def _python(id: str) -> Row:
    rules: list[Rule] = []
    for quote in ('"""', "'''", '"', "'"):
        triple = len(quote) == 3
        formatted = r"(?:(?<=[fFtT])|(?<=[fFtT][rR]))"
        rules += string(quote, many=triple, block=triple, code=r"\{", skip=r"\{\{", before=formatted)
        rules += string(quote, many=triple, block=triple)
    return row(id, HASH, rules)


# ---- shells ----------------------------------------------------------------------------------------------------------


def _shell_rules(*, in_line: bool = False) -> tuple[Rule, ...]:
    return (
        passed(r"\\."),
        whole(r"(?<=\$)'(?:[^'\\]|\\.)*+'"),
        Rule(r"(?<=\$)'", enter(mode("string", (passed(r"\\."), Rule("'", leave)), "'"))),
        HASH_WORD,
        *heredocs(),
        *_double(in_line),
        *string("'", escape="", many=not in_line),
        Rule(r"\)", shell_paren),
    )


def heredocs() -> tuple[Rule, ...]:
    """Return the shell's heredoc rules."""
    return (
        passed("<<<"),
        passed(r"<<(?=[\s\d=(])"),
        heredoc_rule(r"(?<![<\d])<<(?P<dash>-?)[ \t]*(?P<quote>['\"\\]?)(?P<tag>[A-Za-z_]\w*)['\"]?", r"\$\( \$\{"),
    )


def _double(in_line: bool) -> tuple[Rule, ...]:
    if in_line:
        return string('"', code=r"\$[({]")
    inner_rules = (passed(r"\\."), Rule(r"\$\(", interpolate), Rule(r"\$\{", _parameter), Rule('"', leave))
    inner = mode("string", inner_rules, '"')
    return (whole(r'"[^"\\$`\n]*+"'), Rule('"', enter(inner), opens=inner))


def _parameter(reader: Lexer, match: re.Match[str]) -> int:
    reader.interpolate("{", match.end(), one_line=False, code=_IN_PARAMETER)
    return match.end()


_IN_PARAMETER = mode(
    "code",
    (
        passed(r"\\."),
        Rule(r"\$\(", interpolate),
        Rule(r"\$\{", lambda reader, match: _parameter(reader, match)),
        *_double(in_line=False),
        Rule(r"\{", opened),
        Rule(r"\}", closed),
    ),
)


def _shell(id: str) -> Row:
    return row(id, _shell_rules())


def _lines_of_shell(id: str) -> Row:
    """Commands that a shell gets line by line."""
    return row(id, _shell_rules(in_line=True))


def _makefile(id: str) -> Row:
    """Quotes have a meaning only in recipes, which begin with a tab."""
    quotes = [
        Rule(
            quote,
            _in_recipe(mode("string", (passed(r"\\."), Rule(r"\n", leave_at_line_end), Rule(quote, leave)), quote)),
        )
        for quote in ('"', "'")
    ]
    return row(id, passed(r"\\."), line_comment(r"(?<![\w$({/&.'\"-])#", "#"), quotes, Rule(r"\)", shell_paren))


def _in_recipe(inner: Mode) -> Callable[[Lexer, re.Match[str]], int]:
    begin = enter(inner)

    def quote(reader: Lexer, match: re.Match[str]) -> int:
        start = reader.text.rfind("\n", 0, match.end()) + 1
        return begin(reader, match) if reader.text[start : start + 1] == "\t" else match.end()

    return quote


def _dockerfile(id: str) -> Row:
    return row(id, passed(r"\\."), HASH_WORD, heredocs(), string('"'), string("'", escape=""), Rule(r"\)", shell_paren))


def _fish(id: str) -> Row:
    return row(id, passed(r"\\."), HASH_WORD, string('"', many=True, code=r"\$\("), string("'", many=True))


def _powershell(id: str) -> Row:
    here = [
        Rule(rf"@{quote}(?=[ \t]*\n)", until(lambda match: "\n" + match.group()[-1] + "@", is_block=True))
        for quote in ('"', "'")
    ]
    double = string('"', escape="`.", skip='""', many=True, code=r"\$\(")
    single = string("'", escape="", skip="''", many=True)
    return row(id, passed("`."), block_comment("<#", "#>"), HASH_WORD, here, double, single)


# ---- the others ------------------------------------------------------------------------------------------------------

_PERCENT = r"%(?P<kind>[qQwWiIrsx]?)(?P<d>[(\[{<|!/^])"


def _percent(reader: Lexer, match: re.Match[str]) -> int:
    """Read a literal of Ruby, or a remainder."""
    at, text = match.start("kind") - 1, reader.text
    end = reader.before(at)
    after_value = end > 0 and (text[end - 1].isalnum() or text[end - 1] in "_)]}'\"")
    if after_value and (end == at or text[match.end() : match.end() + 1] == " " or not match.group("kind")):
        return match.end("kind")
    start, kind = match.group("d"), match.group("kind")
    reader.enter(delimited(start, PAIRS.get(start, start), "" if kind in ("q", "w", "i", "s") else r"#\{"), at)
    return match.end()


def _ruby(id: str) -> Row:
    code = r"#\{"
    tag = r"<<(?P<dash>[~-]?)(?P<quote>['\"`]?)(?P<tag>(?<=[~-])[a-z]\w*|(?<=[~-]['\"`])[a-z]\w*|[A-Z_]\w*)['\"`]?"
    heredoc = heredoc_rule(r"(?<![\w)\]}])" + tag, code, indented=True)
    character = whole(r"(?<![\w)\]}'\"])\?(?:\\.|[^\s\w])(?=[\s,);\].]|\Z)")
    quotes = [*string('"', many=True, code=code), *string("`", many=True, code=code), *string("'", many=True)]
    return row(
        id, passed(r"\$['\"`/]"), _pod("=begin", "\n=end"), _data("__END__"), HASH, heredoc, character,
        Rule(_PERCENT, _percent), quotes, Rule("/", slash_of_a_call),
    )  # fmt: skip


def _pod(start: str, end: str) -> Rule:
    inner = mode("comment", (Rule(re.escape(end) + r"[^\n]*", leave),), end, by_line=True)
    return Rule(r"(?<![^\n])" + start + r"\b", enter(inner), start[0])


def _data(word: str) -> Rule:
    """Return a rule: what comes after ``word`` is not code."""
    return Rule(rf"(?<![^\n]){word}(?=\r?\n)", enter(mode("comment", (), "\n" + word)), word[0])


def _perl(id: str) -> Row:
    start = r"(?<![\w$@%&*>}:-])(?P<kind>q[qwxr]?|m|tr|y|s)(?P<d>[^\w\s,;=)}\]>.:]|[ \t]+[{(\[<|/!](?!=))(?![ \t]*=>)"
    heredoc = heredoc_rule(r"<<(?P<dash>~?)(?P<quote>['\"]?)(?P<tag>[A-Za-z_]\w*)['\"]?")
    quotes = [*string('"', many=True), *string("`", many=True), *string("'", many=True)]
    return row(
        id, passed(r"\$[#'\"&`/;,.]"), _pod(r"=[a-z]\w*", "\n=cut"), _data("__END__"), _data("__DATA__"), HASH, heredoc,
        Rule(start, quote_like("", raw="q qw"), "qmtys"), passed(r"(?<=\w)'(?=\w)"), quotes, Rule("/", slash_of_a_call),
    )  # fmt: skip


def _r(id: str) -> Row:
    raw = Rule(
        r"(?<=[rR])(?P<quote>[\"'])(?P<dashes>-*)(?P<open>[(\[{])",
        until(lambda match: PAIRS[match.group("open")] + match.group("dashes") + match.group("quote")),
        "\"'",
    )
    return row(id, HASH, raw, string('"', many=True), string("'", many=True), whole(r"`[^`\n]*`"))


def _julia(id: str) -> Row:
    code = r"\$\("
    character = (passed(r"(?<=[\w)\]}'.])'"), whole(r"'(?:\\[^\n][^'\n]{0,8}|[^'\\\n])'"), passed("'"))
    blocks = string('"""', many=True, code=code, block=True)
    return row(
        id,
        block_comment("#=", "=#", nested=True),
        HASH,
        blocks,
        string('"', many=True, code=code),
        string("`", many=True),
        character,
    )


def _sigil(reader: Lexer, match: re.Match[str]) -> int:
    start, code = match.group("d"), r"#\{" if match.group("kind").islower() else ""
    reader.enter(delimited(start, PAIRS.get(start, start), code), match.start("kind") - 1)
    return match.end()


def _elixir(id: str) -> Row:
    code = r"#\{"
    blocks = [*string('"""', many=True, code=code, block=True), *string("'''", many=True, code=code, block=True)]
    sigil = Rule(r"~(?P<kind>[a-z]|[A-Z]+)(?P<d>\"\"\"|'''|[(\[{<|/\"'])", _sigil)
    character = whole(r"(?<![\w?])\?(?:\\.|[^\s])")
    quotes = [*string('"', many=True, code=code), *string("'", many=True, code=code)]
    return row(id, HASH, sigil, character, blocks, quotes)


def _graphql(id: str) -> Row:
    return row(id, HASH, string('"""', many=True, block=True), string('"'))


ROWS: dict[str, Callable[[str], Row]] = {
    "python": _python, "shellscript": _shell, "makefile": _makefile, "dockerfile": _dockerfile, "just": _lines_of_shell,
    "fish": _fish, "powershell": _powershell, "ruby": _ruby, "perl": _perl, "r": _r, "julia": _julia, "elixir": _elixir,
    "graphql": _graphql,
}  # fmt: skip
