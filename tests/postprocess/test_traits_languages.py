"""No rule applies one language's grammar to all: for each, a language where it fires and one where it must not."""

from __future__ import annotations

import pytest

from midfill.postprocess import Place, rules
from midfill.postprocess.boundary import lacks
from midfill.postprocess.traits import traits
from midfill.syntax.languages import LANGUAGES
from tests.postprocess.driven import shown, snapshot

PROSE = sorted(id for id, language in LANGUAGES.items() if language.prose)


@pytest.mark.parametrize("language", PROSE)
@pytest.mark.parametrize("said", ["4) oranges", "a) one, or b) the other", "see }", "smile :)"])
def test_in_prose_no_bracket_rule_runs(language: str, said: str) -> None:
    assert shown(language, "Some text\n\n‸\n", said) == said
    assert shown(language, "Some (text, ‸\n", said) == said


@pytest.mark.parametrize(
    ("language", "buffer", "said"),
    [
        ("shellscript", 'case "$1" in\n  start)\n    go\n    ;;\n  ‸\nesac\n', "stop)\n    halt\n    ;;"),
        ("shellscript", 'case "$1" in\n  ‸\nesac\n', "-v|--verbose)\n    verbose=1\n    ;;"),
        ("shellscript", 'case "$1" in\n  -v|‸\nesac\n', "--verbose)\n    verbose=1\n    ;;"),
        ("markdown", "1) apples\n2) pears\n3) plums\n‸\n", "4) oranges"),
        ("yaml", "a:\n  ‸\n", "description: 1) do this, 2) do that"),
        ("html", "<p>\n  ‸\n</p>\n", "a) the first"),
        ("unheard-of", "‸\n", "4) oranges"),
    ],
)
def test_a_closing_bracket_need_not_close_one(language: str, buffer: str, said: str) -> None:
    assert shown(language, buffer, said) == said


@pytest.mark.parametrize(
    ("rule", "fires", "buffer", "middle", "text", "not_in"),
    [
        (rules.drop_markup, "python", "‸\n", "```\nx = 1\n```\n", "x = 1", ["markdown", "restructuredtext", "html"]),
        (rules.drop_markup, "go", "‸\n", "Here is the code:", "", ["plaintext", "git-commit", "yaml", ""]),
        (rules.drop_spelled_token, "swift", "struct A‸\n", " {<|cursor|>}", " {", []),
        (rules.drop_spelled_token, "markdown", "a ‸\n", "b<|endoftext|>c", "b", []),
        (rules.drop_repeated_prefix, "java", "int x = ‸\n", "int x = 1;", " 1;", ["markdown", "git-commit"]),
        (rules.drop_repeated_prefix, "sql", "AS $$‸\n", "$$\nSELECT 1;", "\nSELECT 1;", ["shellscript", "php", "r"]),
        (rules.drop_repeated_line, "c", "‸\n", "f(a);\nf(a);", "f(a);", ["asm", "diff"]),
        (rules.own_indentation, "go", "func f() {\n  a()\n‸", "\tb()", "  b()", ["makefile", "markdown"]),
        (rules.balance, "java", "‸\n", "a)", "a", ["shellscript", "markdown", "yaml", "html", "bat", "makefile", ""]),
        (rules.drop_trailing_comma, "json", "[\n  ‸\n]\n", "1,", "1", ["python", "rust", "javascript", "toml"]),
        (rules.open_body, "rust", "struct A ‸\n  b: u8,\n}\n", "// a", "// a {", ["python", "lua", "latex", "yaml"]),
        (rules.only_open, "python", "if ‸\n        alpha and\n        b\n):\n", "alpha and b:", "(", ["shellscript"]),
        (rules.closer_line, "css", "a {‸}", "\n  b: c;", "\n  b: c;\n", ["markdown"]),
    ],
)  # fmt: skip
def test_where_a_rule_holds(
    rule: rules.Rule, fires: str, buffer: str, middle: str, text: str, not_in: list[str]
) -> None:
    if rule is not rules.open_body:
        assert rule(middle, Place.of(snapshot(fires, buffer))) == text
    for language in not_in:
        assert rule(middle, Place.of(snapshot(language, buffer))) == middle


@pytest.mark.parametrize(("language", "buffer", "middle"), [
    ("python", "END = '<|end|>'\nSTART = ‸\n", "'<|start|>'"),  # a document about them
    ("elm", "view = ‸\n", "text <| toString model"),
    ("haskell", "p = ‸\n", "a <|> b"),
])  # fmt: skip
def test_no_control_token_is_taken_for_one(language: str, buffer: str, middle: str) -> None:
    assert rules.drop_spelled_token(middle, Place.of(snapshot(language, buffer))) == middle


@pytest.mark.parametrize("rule", rules.PIPELINE + rules.FINISH + rules.LAYOUT)
def test_each_rule_says_where_it_holds(rule: rules.Rule) -> None:
    where = rules.WHERE[rule.__name__]
    assert where(traits("python")) or where(traits("json"))
    assert where.__doc__


@pytest.mark.parametrize(
    ("language", "line", "closes"),
    [
        ("python", "first = 1", False),
        ("python", "end = 3", False),
        ("python", "done = True", False),
        ("javascript", "fields.map(f);", False),
        ("shellscript", "find . -name a", False),
        ("shellscript", "fi", True),
        ("shellscript", ";;", True),
        ("ruby", "end", True),
        ("ruby", "end.join", True),
        ("ruby", "end = 1", False),
        ("lua", "end)", True),
        ("lua", "endless()", False),
        ("sql", "END;", True),
        ("vim", "endfunction", True),
        ("cmake", "ENDIF()", True),
        ("html", "</ul>", True),
        ("html", "<ul>", False),
        ("latex", r"\end{a}", True),
        ("markdown", ") a", False),
        ("c", "}", True),
        ("unheard-of", "end", True),
        ("unheard-of", "endpoint", False),
    ],
)
def test_what_closes(language: str, line: str, closes: bool) -> None:
    assert traits(language).is_closer(line) is closes


@pytest.mark.parametrize(
    ("language", "line", "opens"),
    [
        ("python", "if a:", True),
        ("javascript", "default:", True),
        ("markdown", "Fruits:", False),
        ("yaml", "a:", True),
        ("sql", "a :", False),
        ("ruby", "def a", True),
        ("ruby", "x = a if b", False),
        ("lua", "local f = function(a)", True),
        ("haskell", "f x = case x of", True),
        ("latex", r"\begin{a}[b]", True),
        ("html", "<ul>", True),
        ("html", "<img>", False),
        ("html", "<br/>", False),
        ("typescript", "f(): Promise<void>", False),
        ("makefile", "a: b", True),
        ("makefile", "A := b", False),
    ],
)
def test_what_surely_opens(language: str, line: str, opens: bool) -> None:
    assert traits(language).opens_block(line) is opens


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [  # words of one language are names in others
        ("python", "def f():\n    ‸\n", "a = 1\n    default = 2\n    return default\n\nx", None),
        ("ruby", "def f\n  ‸\n  b\nend\n", "@a = 1\n  b", "@a = 1"),  # no decorator
        ("php", "f() {\n  ‸\n  b();\n}\n", "@a();\n  b();", "@a();"),
        ("python", "‸\ndef f():\n    pass\n", "@a\ndef f():", "@a"),
        (
            "java", "class A {\n  ‸\n  void f() {}\n}\n",
            "@Override\n  void g() {\n  }\n  void f() {}", "@Override\n  void g() {\n  }",
        ),
        ("ruby", "def f(a)\n  ‸\nend\n", "return 1 if a\n  2\nend\n", "return 1 if a\n  2"),
        ("yaml", "a:\n  ‸\n", "return: 1\n  break: 2\nb: 3 more\n", "return: 1\n  break: 2"),
        ("markdown", "‸\n", "return to sender\nor not\n\nMore", "return to sender\nor not"),
        ("shellscript", "‸\n", 'echo "$#"\n\nmore here', 'echo "$#"'),
    ],
)  # fmt: skip
def test_words_of_other_languages(language: str, buffer: str, said: str, text: str | None) -> None:
    assert shown(language, buffer, said) == (text if text is not None else said.partition("\n\n")[0])


@pytest.mark.parametrize(
    ("language", "buffer", "said", "is_lacking"),
    [
        ("markdown", "‸\nSome other words\n", "a (first", False),
        ("markdown", "‸\n", "Fruits:", False),
        ("shellscript", "‸\n", "stop)", True),  # a branch without its commands
        ("ruby", "‸\n", "def a", True),
        ("lua", "‸\n", "local x = 1", False),
        ("yaml", "a: 1\n‸\nb: value\n", "c: 1", False),  # what reads like a name is none
        ("css", "‸\n.b { color: var(--c); }\n", ".a { d: e; }", False),
    ],
)
def test_what_a_middle_lacks(language: str, buffer: str, said: str, is_lacking: bool) -> None:
    assert lacks(said, Place.of(snapshot(language, buffer))) is is_lacking


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [
        ("markdown", "‸\n", "می\u200cخواهم", "می\u200cخواهم"),  # this is how it is written
        ("python", "‸\n", "a\u200cb = 1", "ab = 1"),
        ("go", "package a\n\n‸\n", "func f() {\n\treturn\n}", "func f() {\n\treturn\n}"),  # no style is known yet
        ("makefile", "a:\n    ‸\n\nb: a\n", "", ""),
        ("makefile", "X = 1\n  Y = 2\n\na: b‸\n", "\n\tc\n\nd: e", "\n\tc"),  # tabs are no matter of style
    ],
)
def test_characters(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [
        ("php", "<?php\n/*\n‸\n * b\n */\n", " * a\n * b\n */\n", " * a"),
        ("python", 'def f():\n    """\n    ‸\n    b\n    """\n', 'a\n    b\n    """\n', "a"),
        ("python", 'def f():\n    """\n    ‸\n', 'a\n    b\n    """\n    x = 1', 'a\n    b\n    """'),
    ],
)
def test_a_comment_does_not_say_what_stands_below(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text
