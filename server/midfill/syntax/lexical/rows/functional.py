"""Haskell and its relatives, OCaml and its relatives, Lisps, and other languages with quotes of their own."""

from __future__ import annotations

import re
from collections.abc import Callable

from midfill.syntax.lexical.actions import comment_until, until
from midfill.syntax.lexical.modes import (
    Action,
    Rule,
    block_comment,
    characters,
    enter,
    leave,
    leave_at_line_end,
    line_comment,
    mode,
    passed,
    string,
    whole,
)
from midfill.syntax.lexical.reader import Lexer
from midfill.syntax.lexical.rows.made import row
from midfill.syntax.lexical.state import Row

_DASHES = line_comment(r"(?<![!#$%&*+./<=>?@\\^|~:-])--+(?![!#$%&*+./<=>?@\\^|~:])", "-")


def _haskell(id: str) -> Row:
    blocks = string('"""', many=True, block=True) if id == "elm" else ()
    prime = passed(r"(?<=[\w'])'")
    return row(id, _DASHES, block_comment(r"\{-(?!#)", "-}", nested=True), blocks, string('"'), prime, characters())


def _ocaml(id: str) -> Row:
    quoted = Rule(r"\{(?P<tag>[a-z_]*)\|", until(lambda match: f"|{match.group('tag')}}}"))
    comment = block_comment(r"\(\*(?!\))", "*)", nested=True)
    return row(id, comment, quoted, string('"', many=True), passed(r"(?<=\w)'"), characters())


def _fsharp(id: str) -> Row:
    verbatim = string('"', escape="", skip='""', many=True, before=r"(?:(?<=@)|(?<=@\$))")
    blocks = string('"""', escape="", many=True, block=True)
    comments = (line_comment("//"), block_comment(r"\(\*(?!\))", "*)", nested=True))
    return row(id, comments, blocks, verbatim, string('"', many=True), passed(r"(?<=\w)'"), characters())


def _erlang(id: str) -> Row:
    character = whole(r"\$(?:\\.|[^\\])")
    return row(id, line_comment("%"), character, string('"', many=True), string("'"))


def _lisp(id: str) -> Row:
    """``'`` quotes what follows, and nothing ends it."""
    character = passed(r"#\\(?:\w+|.)") if id != "clojure" else passed(r"\\(?:\w+|.)")
    comments = [line_comment(";")]
    if id != "clojure":
        comments.append(block_comment(r"#\|", "|#", nested=True))
    return row(id, comments, character, string('"', many=True))


def _elisp(id: str) -> Row:
    character = passed(r"(?<![\w-])\?(?:\\.|[^\s\\])")
    return row(id, line_comment(";"), character, string('"', many=True))


def _nix(id: str) -> Row:
    code = r"\$\{"
    indented = string("''", escape=r"''(?:[$']|\\.)", many=True, code=code, block=True)
    quotes = string('"', many=True, code=code)
    return row(id, line_comment("#"), block_comment(r"/\*", "*/"), passed(r"(?<=\w)'+"), indented, quotes)


def _lua(id: str) -> Row:
    long_comment = Rule(r"--\[(?P<of_comment>=*)\[", _long_comment("of_comment"))
    text = Rule(r"\[(?P<level>=*)\[", until(lambda match: f"]{match.group('level')}]"))
    return row(id, long_comment, line_comment("--"), text, string('"'), string("'"))


def _long_comment(group: str) -> Action:
    def begin(reader: Lexer, match: re.Match[str]) -> int:
        reader.enter(comment_until(f"]{match.group(group)}]"), match.start(match.lastindex or 0))
        return match.end()

    return begin


def _cmake(id: str) -> Row:
    long_comment = Rule(r"#\[(?P<of_comment>=*)\[", _long_comment("of_comment"))
    text = Rule(r"\[(?P<level>=*)\[", until(lambda match: f"]{match.group('level')}]"))
    return row(id, passed(r"\\."), long_comment, line_comment("#"), text, string('"', many=True))


def _sql(id: str) -> Row:
    """The text between dollars that end a line is the body of a function, which is code; between others, a string."""
    body = passed(r"(?<!\w)\$(?:[A-Za-z_]\w*)?\$(?=[ \t]*(?:\n|\Z|;|(?i:language)\b))", "$")
    dollars = Rule(r"(?<!\w)(?P<tag>\$(?:[A-Za-z_]\w*)?\$)", until(lambda match: match.group("tag")), "$")
    text = string("'", escape=r"\\'(?=\w)", skip="''", many=True)
    names = [*string('"', escape="", skip='""'), *string("`", escape="")]
    return row(id, line_comment("--"), block_comment(r"/\*", "*/"), body, dollars, text, names)


def _vim(id: str) -> Row:
    return row(id, Rule('"', _vim_quote), whole(r"'(?:[^'\n]|'')*'"), _VIM_BEGUN, passed("'"))


def _vim_quote(reader: Lexer, match: re.Match[str]) -> int:
    """Begin a comment if a command could be here, or if no other quote follows on the line; otherwise a string."""
    at = match.end() - 1
    start = reader.text.rfind("\n", 0, at) + 1
    line_end = reader.text.find("\n", at)
    is_last = line_end < 0
    rest = reader.text[at + 1 : len(reader.text) if is_last else line_end]
    before = reader.text[start:at].rstrip()
    if not before or before.endswith("|") or (_VIM_STRING.match(rest) is None and not _VIM_EXPECTS.search(before)):
        return _VIM_COMMENT(reader, match)
    return _VIM_TEXT(reader, match)


_VIM_BEGUN = Rule(
    r"(?<!\w)'(?=[^'\n]*\Z)", enter(mode("string", (Rule("'", leave), Rule(r"\n", leave_at_line_end)), "'"))
)
_VIM_STRING = re.compile(r'(?:[^"\\]|\\.)*+"')
_VIM_EXPECTS = re.compile(
    r"(?:[=(,\[{.+:?~<>&|-]|\b(?:echo\w*|return|call|throw|execute|exe|if|elseif|let|is|isnot|in))\Z"
)
_VIM_COMMENT = enter(mode("comment", (Rule(r"\n", leave_at_line_end),), "\n"))
_VIM_TEXT = enter(mode("string", (passed(r"\\[^\n]"), Rule('"', leave), Rule(r"\n", leave_at_line_end)), '"'))

ROWS: dict[str, Callable[[str], Row]] = {
    "haskell": _haskell, "elm": _haskell, "ocaml": _ocaml, "fsharp": _fsharp, "erlang": _erlang, "clojure": _lisp,
    "lisp": _lisp, "scheme": _lisp, "racket": _lisp, "elisp": _elisp, "nix": _nix, "lua": _lua, "cmake": _cmake,
    "sql": _sql, "vim": _vim,
}  # fmt: skip
