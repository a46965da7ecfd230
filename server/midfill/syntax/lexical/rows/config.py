"""Configuration languages, and others with few rules."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from midfill.syntax.lexical.actions import heredoc_rule, value_begins, value_quote
from midfill.syntax.lexical.modes import (
    Mode,
    Rule,
    block_comment,
    leave,
    leave_at_line_end,
    line_comment,
    mode,
    passed,
    string,
    whole,
)
from midfill.syntax.lexical.reader import Lexer
from midfill.syntax.lexical.rows.made import BARE, code_mode, row
from midfill.syntax.lexical.state import Row

_HASH_WORD = line_comment(r"(?<!\S)#", "#")


def _loose(id: str, *rules: Rule, kind_is_text: bool = True) -> Row:
    """A language in which brackets are ordinary characters."""
    text = code_mode("text" if kind_is_text else "code", rules, brackets=False)
    return Row(id, text, text, {}, BARE, is_loose=True)


def _yaml(id: str) -> Row:
    double = mode("string", (passed(r"\\."), Rule('"', leave)), '"')
    single = mode("string", (passed("''"), Rule("'", leave)), "'")
    rules = (
        _HASH_WORD, passed(r"\{\{[^{}\n]*\}\}"), Rule('"', value_quote(double), opens=double),
        Rule("'", value_quote(single), opens=single), Rule(r"[|>](?=[-+0-9]*[ \t]*(?:#[^\n]*)?\r?\n)", _scalar, "|>"),
        Rule(r"[\[{]", _flow, "[{"), Rule(r"[\]}]", _flow_end, "]}"),
    )  # fmt: skip
    code = code_mode("code", rules, brackets=False)
    return Row(id, code, code, {'"': double, "'": single}, BARE, is_loose=True)


def _flow(reader: Lexer, match: re.Match[str]) -> int:
    if reader.brackets or value_begins(reader, match.end() - 1):
        reader.brackets.append(match.string[match.end() - 1])
    return match.end()


def _flow_end(reader: Lexer, match: re.Match[str]) -> int:
    if reader.brackets:
        reader.close(match.string[match.end() - 1], match.end())
    return match.end()


_KEY = re.compile(r"[ ]*(?P<dashes>(?:-[ ]+)*)(?P<key>[^|>]?)")


def _scalar(reader: Lexer, match: re.Match[str]) -> int:
    """Read text that continues as long as its lines are deeper than what it belongs to."""
    at = match.start(match.lastindex or 0)
    start = reader.text.rfind("\n", 0, at) + 1
    if not value_begins(reader, at):
        return match.end()
    line = _KEY.match(reader.text, start, at)
    assert line is not None
    dashes = line.group("dashes").rstrip()
    column = line.start("key") if line.group("key") else line.start("dashes") + len(dashes) - 1
    reader.wait(_indented(column - start if dashes or line.group("key") else -1))
    return match.end()


@functools.lru_cache(maxsize=64)
def _indented(column: int) -> Mode:
    ends = rf"\n(?=[ ]{{0,{column}}}[^\s])" if column >= 0 else r"\n(?=---|\.\.\.)"
    return mode("text", (Rule(ends, leave_at_line_end),), by_line=True)


def _toml(id: str) -> Row:
    blocks = [*string('"""', many=True, block=True), *string("'''", escape="", many=True, block=True)]
    return row(id, line_comment("#"), blocks, string('"'), string("'", escape=""))


def _ini(id: str) -> Row:
    return _loose(id, line_comment(r"(?<![^\n])[#;!]", "#;!"), kind_is_text=False)


def _terraform(id: str) -> Row:
    heredoc = heredoc_rule(r"<<(?P<dash>-?)(?P<tag>[A-Za-z_]\w*)", r"\$\{ %\{", indented=True)
    comments = (line_comment("#"), line_comment("//"), block_comment(r"/\*", "*/"))
    return row(id, comments, heredoc, string('"', code=r"[$%]\{"))


def _nginx(id: str) -> Row:
    return row(id, passed(r"\\."), _HASH_WORD, string('"'), string("'"))


def _json(id: str) -> Row:
    return row(id, string('"'))


def _bat(id: str) -> Row:
    remark = line_comment(r"(?<![^\s@&(])[rR][eE][mM](?!\S)", "rR")
    return row(id, passed(r"\^."), remark, line_comment(r"(?<![^\s])::", ":"), string('"', escape=""))


def _asm(id: str) -> Row:
    comments = (line_comment(";"), line_comment(r"(?<![^\s])#", "#"), line_comment("//"), block_comment(r"/\*", "*/"))
    return row(id, comments, string('"'), whole(r"'(?:\\.|[^'\\\n])'"))


def _latex(id: str) -> Row:
    return _loose(id, passed(r"\\."), line_comment("%"))


def _git(id: str) -> Row:
    return _loose(id, line_comment(r"(?<![^\n])#", "#"))


def _prose(id: str) -> Row:
    return _loose(id)


def _unknown(id: str) -> Row:
    """An unknown language: strings end with their line."""
    if not id:
        return row(id, block_comment("<!--", "-->"))
    return row(id, line_comment(r"(?<!:)//", "/"), block_comment(r"/\*", "*/"), string('"'), whole(r"'[^'\n]*'"))


ROWS: dict[str, Callable[[str], Row]] = {
    "yaml": _yaml, "toml": _toml, "ini": _ini, "terraform": _terraform, "nginx": _nginx, "json": _json, "bat": _bat,
    "asm": _asm, "latex": _latex, "bibtex": _latex, "git-commit": _git, "git-rebase": _git, "restructuredtext": _prose,
    "asciidoc": _prose, "plaintext": _prose, "diff": _prose, "": _unknown,
}  # fmt: skip
