"""The reader finds what is open at the cursor, by each language's own rules. ``‸`` is the cursor."""

from __future__ import annotations

import pytest

from midfill.postprocess import PostProcessor
from midfill.syntax import languages
from midfill.syntax.lexical import START, code_only, scan, state_at, string_end, unopened, unopened_at
from tests.dictated import scripted
from tests.support import at
from tests.syntax.made import CODE


def read(buffer: str, language: str) -> tuple[str, str]:
    prefix, suffix = buffer.split("‸")
    state = state_at(prefix, suffix, language)
    return state.string, state.comment


@pytest.mark.parametrize(("language", "buffer"), CODE)
def test_code_behind_what_looks_like_a_string(language: str, buffer: str) -> None:
    assert read(buffer, language) == ("", "")


@pytest.mark.parametrize(("language", "buffer"), CODE)
def test_a_state_goes_on_where_it_stood(language: str, buffer: str) -> None:
    """Reading a text in two pieces, cut at any line, is reading it at once."""
    text = buffer.split("‸")[0]
    whole = scan(text, language, state_at("", "", language))
    ends = [i + 1 for i, char in enumerate(text) if char == "\n"]
    for end in ends:
        assert scan(text[end:], language, scan(text[:end], language, state_at("", "", language))) == whole


@pytest.mark.parametrize(("language", "buffer"), CODE)
def test_a_middle_is_shown_there(language: str, buffer: str) -> None:
    assert PostProcessor(at(buffer, language=language)).shown("value") == "value"


@pytest.mark.parametrize(
    ("language", "buffer"), [row for row in CODE if row[0] in ("shellscript", "php", "javascript", "rust")]
)
async def test_the_completer_shows_something_there(language: str, buffer: str) -> None:
    subject, _ = scripted("value")
    path = "f" + languages.of(language).endings[0]
    assert (await subject.last(at(buffer, language=language, path=path))).text == "value"


@pytest.mark.parametrize(
    ("language", "buffer", "string", "comment"),
    [
        ("shellscript", "echo 'a‸", "'", ""),
        ("shellscript", "echo \"a $(b) ‸", '"', ""),
        ("shellscript", "cat <<EOF\nDon't ‸", "EOF", ""),
        ("shellscript", "echo x # a‸", "", "\n"),
        ("php", "<?php\n$x = 'a‸", "'", ""),
        ("php", "<?php\n// a‸", "", "\n"),
        ("javascript", "a = `x ${b} ‸", "`", ""),
        ("javascript", "a = /x‸", "/", ""),
        ("javascript", "/* it's ‸", "", "*/"),
        ("javascriptreact", "x = <p className=\"‸", '"', ""),
        ("rust", "let a = r#\"x\" ‸", '"#', ""),
        ("ruby", "a = %w[x ‸", "]", ""),
        ("ruby", "x = <<~EOS\n  a ‸", "EOS", ""),
        ("perl", "my $x = q{a ‸", "}", ""),
        ("python", "a = f\"{b} ‸", '"', ""),
        ("python", "a = '''b ‸", "'''", ""),
        ("python", "# don't ‸", "", "\n"),
        ("cpp", "a = R\"x(b)\" ‸", ")x\"", ""),
        ("go", "a := `b ‸", "`", ""),
        ("csharp", "a = @\"C:\\‸", '"', ""),
        ("html", "<!-- it's ‸", "", "-->"),
        ("html", "<p class=\"‸", '"', ""),
        ("vue", "<script>\nlet a = '‸", "'", ""),
        ("css", "/* ‸", "", "*/"),
        ("lua", "--[[ ‸", "", "]]"),
        ("lua", "a = [==[ ]] ‸", "]==]", ""),
        ("sql", "select 'it''s ‸", "'", ""),
        ("sql", "as $f$ x ‸", "$f$", ""),
        ("yaml", "a: 'b ‸", "'", ""),
        ("toml", "a = \"\"\"b ‸", '"""', ""),
        ("haskell", "{- a {- b -} ‸", "", "-}"),
        ("vim", "\" a ‸", "", "\n"),
        ("vim", "let a = \"b ‸", '"', ""),
        ("vim", "let a = 'b ‸", "'", ""),
        ("latex", "a % b ‸", "", "\n"),
        ("markdown", "```python\na = \"‸", '"', ""),
        ("markdown", "<!-- a ‸", "", "-->"),
    ],
)  # fmt: skip
def test_what_is_open(language: str, buffer: str, string: str, comment: str) -> None:
    assert read(buffer, language) == (string, comment)


@pytest.mark.parametrize(
    ("language", "buffer", "within"),
    [
        ("vue", '<script lang="ts">\n‸\n</script>', "typescript"),
        ("vue", '<style lang="scss">\n‸\n</style>', "scss"),
        ("vue", "<template>\n‸\n</template>", ""),
        ("html", "<script>a()</script>\n‸", ""),
        ("html", "<script>a = '</script>\n‸", ""),  # whatever is open in it
        ("php", "<p>‸</p>\n<?php", "html"),
        ("php", "<?php\n‸", ""),
        ("markdown", "```rust\n‸\n```", "rust"),
        ("markdown", '```rust\nlet a = "\n```\n‸', ""),
        ("python", "‸", ""),
    ],
)
def test_the_language_of_a_piece(language: str, buffer: str, within: str) -> None:
    prefix, suffix = buffer.split("‸")
    assert state_at(prefix, suffix, language).language == within


_PYTHON = "def f(a):\n    b = a\n    return b\n\n\n" * 8
_SHELL = "f() {\n  local a=1\n  g $a\n}\n\n" * 8
_JAVASCRIPT = "function f(a) {\n  const b = a;\n  return b;\n}\n\n" * 8


@pytest.mark.parametrize(
    ("language", "buffer"),
    [
        ("python", 'a = """Oops\n' + _PYTHON + "‸"),
        ("python", _PYTHON + 'def g():\n    """Oops\n' + "    a = b(1)\n" * 30 + "    ‸"),
        ("shellscript", "a='oops\n" + _SHELL + "‸"),
        ("javascript", "a = `oops\n" + _JAVASCRIPT + "‸"),
        ("javascript", "/* oops\n" + _JAVASCRIPT + "‸"),
        ("rust", 'let a = "oops;\n' + "fn f() {\n    g();\n}\n" * 10 + "‸"),
        ("php", "<?php\n$a = \"oops;\n" + "function f() {\n  g();\n}\n" * 10 + "‸"),
        ("ruby", "x = <<~EOS\n" + "def f\n  g(1)\nend\n" * 10 + "‸"),
        ("shellscript", 'a="oops\necho "x"\nb="y"\n‸'),  # what was read as a string stands between two
        ("rust", 'let a = "oops;\nf("x");\ng("y");\n‸'),
        ("cobol", 'x = "oops\n‸'),
    ],
)  # fmt: skip
def test_a_wrong_state_does_not_last(language: str, buffer: str) -> None:
    assert read(buffer, language) == ("", "")
    assert PostProcessor(at(buffer, language=language)).shown("value") == "value"


@pytest.mark.parametrize(
    ("language", "buffer", "string"),
    [
        ("python", 'a = """' + "Some words about it, and more.\n" * 40 + "‸", '"""'),
        (
            "python",
            'def f():\n    """Words.\n\n' + "    Some words. For the rest, see there.\n" * 40 + '    ‸\n    """\n',
            '"""',
        ),
        ("python", 'a = """\n' + _PYTHON + '‸\n"""\n', '"""'),  # it is closed below
        ("shellscript", "cat <<EOF\n" + _SHELL + "‸\nEOF\n", "EOF"),
        ("sql", "select '" + "Some words about it.\n" * 40 + "‸", "'"),
    ],
)
def test_a_long_string_is_believed_where_it_is_text(language: str, buffer: str, string: str) -> None:
    assert read(buffer, language)[0] == string


def test_a_bracket_is_not_open_for_ever() -> None:
    assert state_at("f(a,\n\ndef g():\n    x = h(1", "", "python").brackets == ("(",)
    assert state_at("(function () {\nfunction f() {\n  ", "", "javascript").brackets == ("(", "{", "{")


@pytest.mark.parametrize(
    ("language", "prefix", "suffix", "language_there", "comment"),
    [
        ("html", "let a = 1;\n", "</script>", "javascript", ""),
        ("html", "a { }\n", "</style>\n<script>", "css", ""),
        ("html", "<p>Don't\n", "<script></script>", "", ""),
        ("java", "it's\n */\nclass A {\n", "", "", ""),
        ("php", "$a = 'b';\n// don't\n", "", "", "" ),
    ],
)  # fmt: skip
def test_a_window_may_begin_in_the_middle(
    language: str, prefix: str, suffix: str, language_there: str, comment: str
) -> None:
    state = state_at(prefix, suffix, language, is_start=False)
    assert (state.language, state.comment, state.string) == (language_there, comment, "")


@pytest.mark.parametrize(
    ("language", "middle", "closers"),
    [
        ("shellscript", "case $1 in\n  stop)\n    f ;;\n  -v|--verbose)\n    g ;;\nesac\n", ""),
        ("shellscript", "date)", ")"),
        ("markdown", "see there)", ")"),
        ("javascript", "a[/)/])", ")"),
        ("python", "f'{a)}')", "))"),
        ("php", "$a)", ")"),
    ],
)
def test_closers_of_nothing(language: str, middle: str, closers: str) -> None:
    assert unopened(middle, language) == closers


def test_patterns_of_case_close_nothing() -> None:
    state = state_at("case $1 in\n  start)\n    f\n    ;;\n  ", "", "shellscript")
    assert scan("stop)\n    g\n    ;;\n", "shellscript", state).n_unopened == 0
    assert scan("date)", "shellscript", state_at("x=$(", "", "shellscript")).depth == 0


def test_in_prose_nothing_opens() -> None:
    for language in ("markdown", "plaintext", "restructuredtext", "latex", "git-commit", "asciidoc"):
        assert scan("4) (oranges [x don't \"quote\n", language).depth == 0


def test_the_end_of_a_string() -> None:
    assert string_end('a\\"b" c', "python", '"') == 5
    assert string_end("a\nb", "python", '"') == 2
    assert string_end("a", "python", '"') is None
    assert string_end("a\nEOF\nb", "shellscript", "EOF") == 5
    assert string_end("x}` y", "javascript", "`") == 3
    assert string_end("it''s' y", "sql", "'") == 6


def test_code_alone() -> None:
    assert code_only("a = 'b'  # c\nd = f'{e}'\n'''\nx\n'''\ng", "python") == "a =     \nd =  e \n\n\n\ng"
    assert code_only("f(/a'b/); // c\n", "javascript") == "f( );  \n"


def test_every_language_has_a_row_that_reads() -> None:
    for language in [*languages.LANGUAGES, "", "unheard-of"]:
        state = scan("a (b) 'c' \"d\" # e\n", language)
        assert state.n_unopened == 0 or languages.of(language).prose
        assert unopened_at("a)", language, START) == 1


@pytest.mark.parametrize("language", [*languages.LANGUAGES, ""])
def test_no_text_makes_it_fail(language: str) -> None:
    hard = [
        "(" * 3000 + "]" * 3000,
        "`${" * 400,
        "<a>" * 400,
        "/[" * 1500,
        "'\"" * 1500,
        "f'{" * 400,
        "<<A " * 300 + "\n",
        "=" * 3000,
    ]
    for text in hard:
        state = scan(text, language)
        assert len(scan(text, language, state).within) <= 400


def test_what_grows_costs_what_was_added() -> None:
    state = scan("x = f(\n" * 10, "python")
    assert scan("", "python", state) == state
