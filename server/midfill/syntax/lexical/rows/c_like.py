"""Languages with the comments of C."""

from __future__ import annotations

import re
from collections.abc import Callable

from midfill.syntax.lexical.actions import expects_value, slash, until
from midfill.syntax.lexical.modes import (
    Rule,
    block_comment,
    characters,
    enter,
    interpolate,
    leave,
    line_comment,
    mode,
    passed,
    string,
    whole,
)
from midfill.syntax.lexical.reader import Lexer
from midfill.syntax.lexical.rows.made import row
from midfill.syntax.lexical.state import Row

COMMENTS = (line_comment("//"), block_comment(r"/\*", "*/"))
NESTED = (line_comment("//"), block_comment(r"/\*", "*/", nested=True))


def _c(id: str) -> Row:
    raw = Rule(r'(?<=R)"(?P<delimiter>[^()\\\s]{0,16})\(', until(lambda match: f'){match.group("delimiter")}"'))
    separator = passed(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])")
    named = [whole(r"'(?:[^'\\\n]{2,4})'")]  # several characters in one literal
    return row(id, COMMENTS, raw, string('"'), separator, named, characters())


def _objective_c(id: str) -> Row:
    return row(id, COMMENTS, string('"'), characters())


def _java(id: str) -> Row:
    return row(id, COMMENTS, string('"""', many=True, block=True), string('"'), characters())


def _go(id: str) -> Row:
    return row(id, COMMENTS, string("`", escape="", many=True), string('"'), characters())


def _rust(id: str) -> Row:
    raw = Rule(r'(?<=r)(?P<hashes>#*)"', until(lambda match: '"' + match.group("hashes")), '#"')
    return row(id, NESTED, raw, string('"', many=True), characters(r"\\(?:u\{[^}'\n]*\}|x\w\w|[^\n])"))


def _csharp(id: str) -> Row:
    hole = r"\{"
    raw = Rule(r'(?P<quotes>"{3,})', until(lambda match: match.group("quotes"), is_block=True), '"')
    both = string('"', escape="", skip='""', many=True, code=hole, before=r"(?:(?<=\$@)|(?<=@\$))")
    verbatim = string('"', escape="", skip='""', many=True, before=r"(?<=@)")
    holes = string('"', code=hole, skip=r"\{\{", before=r"(?<=\$)")
    return row(id, COMMENTS, raw, both, verbatim, holes, string('"'), characters())


def _kotlin(id: str) -> Row:
    code = r"\$\{"
    blocks = string('"""', escape="", many=True, code=code, block=True, whole_if=r"(?!\")")
    return row(id, NESTED, blocks, string('"', code=code), characters())


def _scala(id: str) -> Row:
    code = r"\$\{"
    with_code = [
        *string('"""', escape="", many=True, code=code, block=True, before=r"(?<=[a-z])", whole_if=r"(?!\")"),
        *string('"""', escape="", many=True, block=True, whole_if=r"(?!\")"),
        *string('"', code=code, before=r"(?<=[a-z])"),
    ]
    return row(id, NESTED, with_code, string('"'), characters())


def _swift(id: str) -> Row:
    raw = Rule(r'(?P<hashes>#+)"{3}', until(lambda match: '"""' + match.group("hashes"), is_block=True))
    raw_line = Rule(r'(?P<marks>#+)"', until(lambda match: '"' + match.group("marks")))
    code = r"\\\("
    blocks = string('"""', many=True, code=code, escape=r"\\[^(]", block=True)
    return row(id, NESTED, raw, raw_line, blocks, string('"', code=code, escape=r"\\[^(]"))


def _dart(id: str) -> Row:
    code = r"\$\{"
    rules: list[Rule] = []
    for quote in ("'''", '"""', "'", '"'):
        triple = len(quote) == 3
        rules += string(quote, escape="", many=triple, block=triple, before=r"(?<=(?<!\w)r)")
        rules += string(quote, many=triple, code=code, block=triple)
    return row(id, NESTED, rules)


def _groovy(id: str) -> Row:
    code = r"\$\{"
    rules = [
        *string("'''", many=True, block=True),
        *string('"""', many=True, block=True, code=code),
        *string('"', code=code),
        *string("'"),
    ]
    dollar = Rule(r"\$/", until(lambda _: "/$"))
    return row(id, COMMENTS, dollar, rules, Rule("/", slash))


def _zig(id: str) -> Row:
    return row(id, line_comment("//"), whole(r"\\\\[^\n]*"), string('"'), characters(r"\\[^\n][^'\n]{0,10}"))


def _plain(id: str) -> Row:
    """Both quotes, strings of one line."""
    return row(id, COMMENTS, string('"'), string("'"))


def _javascript(id: str) -> Row:
    template = string("`", many=True, code=r"\$\{")
    rules = [*COMMENTS, *string('"'), *string("'"), *template, Rule("/", slash)]
    return row(id, rules, [] if id == "typescript" else [Rule(r"<(?=[A-Za-z>])", _element)])


def _element(reader: Lexer, match: re.Match[str]) -> int:
    at = match.end() - 1
    if expects_value(reader, at) and _GENERIC.match(reader.text, at) is None:
        reader.enter(_FRAGMENT if reader.text[at + 1 : at + 2] == ">" else _TAG, at)
    return at + 1


def _child(reader: Lexer, match: re.Match[str]) -> int:
    reader.enter(_FRAGMENT if match.group().endswith(">") else _TAG, match.end() - 1)
    return match.end() - (1 if match.group().endswith(">") else 0)


def _children(reader: Lexer, match: re.Match[str]) -> int:
    """End an opening tag: what follows is the element's content."""
    reader.become(_CHILDREN, match.end())
    return match.end()


def _closing(reader: Lexer, match: re.Match[str]) -> int:
    reader.become(_CLOSING_TAG, match.end())
    return match.end()


# Not an element, but the parameters of a generic function.
_GENERIC = re.compile(r"<\s*(?:const\s+)?[A-Z]\w*\s*(?:,|extends\b|=[^>]|>\s*\()")
_ATTRIBUTES = tuple(
    Rule(quote, enter(mode("string", (Rule(quote, leave),), quote))) for quote in ('"', "'")
)  # fmt: skip
_TAG = mode(
    "code", (*COMMENTS, *_ATTRIBUTES, Rule(r"\{", interpolate), Rule("/>", leave), Rule("=>"), Rule(">", _children))
)
_FRAGMENT = mode("code", (Rule(">", _children),))
_CLOSING_TAG = mode("code", (Rule(">", leave),))
_CHILDREN = mode(
    "text", (Rule(r"\{", interpolate), Rule("</", _closing), Rule(r"<(?=[A-Za-z])", _child), Rule("<>", _child))
)


def _css(id: str) -> Row:
    comments = [block_comment(r"/\*", "*/")]
    if id != "css":
        comments.append(line_comment(r"(?<!:)//", "/"))
    address = whole(r"(?<=url)\((?!\s*[\"'])[^)\n\"']*\)", "(")
    code = r"#\{" if id in ("scss", "sass") else r"@\{" if id == "less" else ""
    return row(id, address, comments, string('"', code=code), string("'", code=code))


ROWS: dict[str, Callable[[str], Row]] = {
    "c": _c, "cpp": _c, "objective-c": _objective_c, "objective-cpp": _c, "java": _java, "go": _go, "rust": _rust,
    "csharp": _csharp, "kotlin": _kotlin, "scala": _scala, "swift": _swift, "dart": _dart, "groovy": _groovy,
    "zig": _zig, "solidity": _plain, "protobuf": _plain, "jsonc": _plain, "javascript": _javascript,
    "javascriptreact": _javascript, "typescript": _javascript, "typescriptreact": _javascript,
    "css": _css, "scss": _css, "sass": _css, "less": _css,
}  # fmt: skip
