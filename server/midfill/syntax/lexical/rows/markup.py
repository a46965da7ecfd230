"""Pages and the languages in them: HTML and its relatives, PHP, Markdown."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from midfill.syntax import languages
from midfill.syntax.lexical import rows
from midfill.syntax.lexical.actions import heredoc_rule
from midfill.syntax.lexical.modes import (
    Action,
    Mode,
    Rule,
    block_comment,
    enter,
    leave,
    line_comment,
    mode,
    passed,
    string,
    whole,
)
from midfill.syntax.lexical.reader import Lexer
from midfill.syntax.lexical.rows.made import BARE, code_mode, comment_ends, quotes
from midfill.syntax.lexical.state import Row

_COMMENT = block_comment("<!--", "-->")
_LANG = re.compile(r"\b(?:lang|type)\s*=\s*[\"']?(?:text/|application/)?(?P<said>[\w+-]+)")


def _html(id: str) -> Row:
    extra: tuple[Rule, ...] = ()
    if id == "vue":
        extra = (Rule(r"\{\{", _script_code),)
    elif id == "svelte":
        extra = (passed(r"\{/"), Rule(r"\{", _script_code))  # the end of a block is not an expression
    text = mode("text", (*_page(extra, with_code=id == "svelte"), *extra))
    return Row(id, text, text, {}, BARE, is_loose=True, comment_ends=frozenset({"-->"}))


def _script_code(reader: Lexer, match: re.Match[str]) -> int:
    """Begin an expression in a page."""
    reader.interpolate("{", match.end(), one_line=False, code=rows.row("typescript").code)
    return match.end()


def _page(in_strings: tuple[Rule, ...] = (), *, with_code: bool = False) -> tuple[Rule, ...]:
    strings = tuple(rule for quote in ('"', "'") for rule in _attribute(quote, in_strings))
    inside = (*strings, *(in_strings if with_code else ()))
    tag = mode("code", (*inside, Rule(">", leave)))
    script = mode("code", (*inside, Rule("/>", leave), Rule(">", _content("javascript", "script"))))
    style = mode("code", (*inside, Rule("/>", leave), Rule(">", _content("css", "style"))))
    return (
        _COMMENT,
        block_comment(r"<!\[CDATA\[", "]]>"),
        Rule(r"<(?i:script)\b", enter(script)),
        Rule(r"<(?i:style)\b", enter(style)),
        passed(r"</?[A-Za-z][^<>\"'{]*+>"),
        Rule(r"<(?=[A-Za-z/!])", enter(tag)),
    )


def _attribute(quote: str, in_strings: tuple[Rule, ...]) -> tuple[Rule, ...]:
    part = Rule(quote, enter(mode("string", (*in_strings, Rule(quote, leave)), quote)))
    return (part,) if in_strings else (whole(rf"{quote}[^{quote}]*+{quote}"), part)


@functools.cache
def end_of(element: str) -> re.Pattern[str]:
    """Return the pattern for the end of the content of ``element``."""
    return re.compile(rf"</{element}\b", re.IGNORECASE)


def _content(usual: str, element: str) -> Action:
    """Return the end of a tag whose content is in another language, the usual one or the one that the tag names."""

    def begin(reader: Lexer, match: re.Match[str]) -> int:
        at, start = match.end(), reader.opened_at[-1]
        named = _LANG.search(reader.text, max(start, at - 300), at) if start >= 0 else None
        reader.leave(at)
        said = languages.canonical(named.group("said")) if named is not None else usual
        reader.enter_language(rows.row(said if said in languages.LANGUAGES else usual), end_of(element), at)
        return at

    return begin


def element_around(prefix: str, suffix: str) -> str:
    """Return the language of the element in whose content a piece of a page begins; "" if it begins on the page."""
    return next(
        (
            language
            for element, language in (("script", "javascript"), ("style", "css"))
            if _closes_first(prefix + suffix, f"<{element}", f"</{element}")
        ),
        "",
    )


def _closes_first(text: str, start: str, end: str) -> bool:
    closing, opening = text.find(end), text.find(start)
    return closing >= 0 and (opening < 0 or closing < opening)


# ---- PHP -------------------------------------------------------------------------------------------------------------


def _php(id: str) -> Row:
    code = r"\{(?=\$)|\$\{"
    heredoc = heredoc_rule(
        r"<<<[ \t]*(?P<quote>['\"]?)(?P<tag>[A-Za-z_]\w*)['\"]?(?=\r?\n)", r"\{(?=\$)", indented=True
    )
    rules = (
        Rule(r"\?>", _to_page), line_comment("//", stop=r"\?>"), line_comment(r"#(?!\[)", stop=r"\?>"),
        block_comment(r"/\*", "*/"), heredoc, *string('"', many=True, code=code), *string("'", many=True),
        *string("`", many=True),
    )  # fmt: skip
    inside = code_mode("code", rules)
    begin = Rule(r"<\?(?:php\b|=)", _to_code(inside))
    page = mode("text", (begin, *_page((begin,), with_code=True)), language="html")
    _PAGES[inside] = page
    begins = functools.partial(_php_begins, page, inside)
    return Row(id, page, inside, quotes(rules), BARE, comment_ends=comment_ends(rules), begins=begins)


# The mode that the end mark leads back to.
_PAGES: dict[Mode, Mode] = {}


def _to_code(code: Mode) -> Action:
    def begin(reader: Lexer, match: re.Match[str]) -> int:
        if reader.frames:
            reader.enter(code, match.start(match.lastindex or 0))
        else:
            reader.become(code, match.end())
        return match.end()

    return begin


def _to_page(reader: Lexer, match: re.Match[str]) -> int:
    if reader.frames and not reader.frames[-1].interpolates:
        reader.leave(match.end())
    elif not reader.frames:
        code = reader.mode.plain or reader.mode
        reader.become(_PAGES.get(code, reader.row.start), match.end())
    return match.end()


def _php_begins(page: Mode, code: Mode, text: str) -> Mode:
    """Return the mode in which a piece of a file begins: code, unless a mark shows otherwise."""
    opening, closing = text.find("<?"), text.find("?>")
    return page if opening >= 0 and (closing < 0 or opening < closing) else code


# ---- Markdown --------------------------------------------------------------------------------------------------------


def _markdown(id: str) -> Row:
    text = mode("text", (_COMMENT, Rule(r"(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[\w+#.-]*)[^\n`]*(?=\n)", _fence, "`~")))
    return Row(id, text, text, {}, BARE, is_loose=True)


_BEFORE_FENCE = re.compile(r"[ \t>]*(?:(?:[-*+]|\d+[.)])[ \t]+)?")


def _fence(reader: Lexer, match: re.Match[str]) -> int:
    """Begin code between fences, in the language that is named."""
    start = match.start("fence")
    line = reader.text.rfind("\n", 0, start) + 1
    if _BEFORE_FENCE.fullmatch(reader.text, line, start) is None:
        return match.end()
    fence, info = match.group("fence"), languages.canonical(match.group("info"))
    mark, least = fence[0], len(fence)
    reader.enter(_FENCE_ENDS, start)
    reader.enter_language(
        rows.row(info if info in languages.LANGUAGES else "plaintext"), _fence_end(mark, least), match.end()
    )
    return match.end()


_FENCE_ENDS = mode("text", (Rule(r"(?:`{3,}|~{3,})[^\n]*", leave, "`~"),))


@functools.cache
def _fence_end(mark: str, least: int) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\n])[ \t>]*{mark}{{{least},}}[ \t]*(?=\r?\n|\Z)")


ROWS: dict[str, Callable[[str], Row]] = {
    "html": _html, "xml": _html, "vue": _html, "svelte": _html, "php": _php, "markdown": _markdown,
}  # fmt: skip
