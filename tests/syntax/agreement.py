"""How far the reader and tree-sitter agree about what is string, comment and code in a complete, sound file.

``python -m tests.syntax.agreement FOLDER ...`` prints a line for each language and the places where they differ.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from tree_sitter import Node

from midfill.syntax import languages
from midfill.syntax.lexical import LexerState, scan, state_at
from midfill.syntax.parsers import parser_for

STRING = re.compile(
    r"string|heredoc_body|heredoc_content|(^|_)char(acter)?(_|$)|char_lit|regex|quoted|sigil|text_block|rune|nowdoc|str_lit|attribute_value"
    r"|bracket_argument|double_quote_scalar|single_quote_scalar|pattern_matcher|AttValue|word_list|transliteration"
)
NO_STRING = re.compile(
    r"string_scalar|unquoted|character_reference|string_macro|at_rule|union|quoted_expression|string_type|type_string|quoted_list|character_class|system_lib_string|concatenated"
    r"|string_array|path_string|string_expression$|^binary$|redirect|^char_type|_type$"
)
COMMENT = re.compile(r"comment|haddock|^pod$|shebang|hash_bang|eof_marker|data_section|^doc$")
CODE = re.compile(
    r"interpolation|command_substitution|^expansion$|template_substitution|embedded|^interpolated|^splice|^ERROR$"
)
# This close to where something begins or ends, the two need not agree.
EDGE = 3
MAX_BYTES, MAX_FILES = 40_000, 12


def kinds(text: str, language: str) -> str | None:
    """Return for each byte ``s`` of a string, ``c`` of a comment, a dot of code; None if the file is not sound."""
    parser = parser_for(language)
    if parser is None:
        return None
    data = text.encode()
    tree = parser.parse(data)
    if tree.root_node.has_error:
        return None
    painted = bytearray(b"." * len(data))
    _paint(tree.root_node, painted)
    return painted.decode()


def _paint(root: Node, painted: bytearray) -> None:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        start, end, said = node.start_byte, node.end_byte, node.type
        mark = b""
        if said == "predefined_type":  # the name of TypeScript's own type is "string"
            continue
        if not node.is_named and len(said) < 4:
            pass
        elif said == "heredoc_end":  # it belongs to the text that it ends, as a closing quote does
            mark = b"s"
        elif COMMENT.search(said):
            mark = b"c"
        elif CODE.search(said):
            mark = b"."
        elif STRING.search(said) and not NO_STRING.search(said):
            mark = b"s"
        if mark:
            painted[start:end] = mark * (end - start)
            if mark == b"c" or not node.is_named:
                continue
        waiting += reversed(node.children)


def places(text: str) -> Iterator[tuple[int, int]]:
    """Yield (start of a line, place in it): three places in each line."""
    start = 0
    for line in text.split("\n"):
        for share in (1, 2, 3):
            yield start, start + len(line) * share // 3
        start += len(line) + 1


def read(text: str, language: str, scan: Callable[..., LexerState] = scan) -> Iterator[tuple[int, str]]:
    """Yield the reader's verdict at each place, having read the file line by line."""
    state: LexerState = state_at("", "", language)
    at = 0
    for start, place in places(text):
        if start > at:
            state = scan(text[at:start], language, state)
            at = start
        here = scan(text[start:place], language, state)
        yield place, "s" if here.string else "c" if here.comment else "."


def differences(
    text: str, language: str, scan: Callable[..., LexerState] = scan
) -> tuple[int, list[tuple[int, str, str]]]:
    """Return (number of places compared, places where the two differ, with both verdicts)."""
    painted = kinds(text, language)
    if painted is None:
        return 0, []
    offsets = [0]
    for char in text:
        offsets.append(offsets[-1] + len(char.encode()))
    n, found = 0, []
    for place, said in read(text, language, scan):
        at = offsets[place]
        around = painted[max(at - EDGE, 0) : at + EDGE]
        if around.count(around[:1]) < 2 * EDGE:
            continue  # where something begins or ends, both are right
        n += 1
        if painted[at] != said:
            found.append((place, painted[at], said))
    return n, found


def files(folders: list[Path]) -> Iterator[tuple[str, Path]]:
    """Yield files of known languages."""
    counts: dict[str, int] = defaultdict(int)
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            language = languages.of_path(path.name)
            if (
                language
                and path.is_file()
                and counts[language] < MAX_FILES
                and path.stat().st_size < MAX_BYTES
                and ".min." not in path.name
            ):
                counts[language] += 1
                yield language, path


def main(folders: list[str]) -> None:
    """Print what differs."""
    n_places: dict[str, int] = defaultdict(int)
    n_wrong: dict[str, int] = defaultdict(int)
    for language, path in files([Path(folder) for folder in folders]):
        text = path.read_text("utf-8-sig", "replace")
        n, found = differences(text, language)
        n_places[language] += n
        n_wrong[language] += len(found)
        for place, expected, said in found[:1]:
            line = text[text.rfind("\n", 0, place) + 1 : place] + "‸" + text[place : place + 40].split("\n")[0]
            print(
                f"{language} {path}:{text.count(chr(10), 0, place) + 1} tree {expected} reader {said}",
                f"({len(found)}) {line[-110:]}",
            )
    for language in sorted(n_places):
        if n := n_places[language]:
            print(f"{language}: {n - n_wrong[language]} of {n} ({100 * (1 - n_wrong[language] / n):.2f} %)")


if __name__ == "__main__":
    main(sys.argv[1:])
