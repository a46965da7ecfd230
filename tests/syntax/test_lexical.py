"""What is open at the cursor, by each language's own rules. ``‸`` is the cursor."""

from __future__ import annotations

import pytest

from midfill.postprocess import Judge
from midfill.syntax import languages
from midfill.syntax.lexical import START, code_only, scan, state_at, string_end, unopened, unopened_at
from tests.dictated import scripted
from tests.support import at

# Places of code that stand behind something that looks like the beginning of a string or a comment.
CODE = [
    # shell
    ("shellscript", "if [ $# -lt 1 ]; then\n  ‸"),
    ("shellscript", "echo ${#args[@]}\n‸"),
    ("shellscript", "echo I\\'m here\n‸"),
    ("shellscript", "cat <<EOF\nDon't\nEOF\n‸"),
    ("shellscript", "cat <<-'EOF' | tr a b\n\tDon't $(\n\tEOF\n‸"),
    ("shellscript", "cat <<A <<B\nDon't\nA\nIsn't\nB\n‸"),
    ("shellscript", "x=$(cat <<EOF\nDon't\nEOF\n)\n‸"),
    ("shellscript", "grep x <<< \"$y\"\n‸"),
    ("shellscript", "x=$((1 << 3))\n‸"),
    ("shellscript", "printf $'it\\'s'\n‸"),
    ("shellscript", "echo a#b \"${x:-don't}\" \"$(echo \"y\")\"\n‸"),
    ("shellscript", "echo \"${line#begin \"$n\" }\"\n‸"),
    ("shellscript", "echo x # don't\n‸"),
    ("dockerfile", "# don't\nRUN echo 'a' \\\n  && b\n‸"),
    ("makefile", "# don't\nall:\n\t@echo $$# $(X) 'a'\n\n$(info don't)\n‸"),
    ("fish", "echo 'it\\'s'\n‸"),
    # PHP
    ("php", "<p>Don't</p>\n<?php\n‸"),
    ("php", "<p>Don't ‸</p>\n<?php\n"),
    ("php", "<?php\n#[Attr]\nfunction f() {\n  ‸"),
    ("php", "<?php\n$x = <<<EOT\nDon't {$a['b']}\nEOT;\n‸"),
    ("php", "<?php\n$x = <<<'EOT'\nDon't\n  EOT;\n‸"),
    ("php", "<?php // it's ?>\n<p>Don't</p>\n<?php\n‸"),
    ("php", "<?php\n$x = \"{$a[\"b\"]}\";\n‸"),
    # JavaScript and TypeScript
    ("javascript", "a = s.split(/`/);\n‸"),
    ("javascript", "a = /[\"']/.test(b);\n‸"),
    ("javascript", "a = /https?:\\/\\//.test(b);\n‸"),
    ("javascript", "a = /[/]'/g;\n‸"),
    ("javascript", "return /'/;\n‸"),
    ("javascript", "a = b / c; // it's\nd = e / f;\n‸"),
    ("javascript", "a = `x ${b.map((c) => `'${c}'`).join('}')} \"`;\n‸"),
    ("javascriptreact", "x = (\n  <p className=\"a\">Don't {a ? 'b' : <b>it's</b>}</p>\n);\n‸"),
    ("typescriptreact", "const f = <T,>(x: T) => x;\nconst y = '';\n‸"),
    ("typescriptreact", "return <><A b={c} />Don't</>;\n‸"),
    ("typescript", "const a = b as Map<string, 'x'>;\nif (a < b) {\n  ‸"),
    # Rust
    ("rust", "let a = r\"C:\\\";\n‸"),
    ("rust", "let a = r#\"say \"hi\"\"#;\n‸"),
    ("rust", "fn f<'a>(x: &'a str) -> &'a str {\n    let c = '\\'';\n    let d = b'\"';\n    ‸"),
    ("rust", "/* a /* b */ don't */\n‸"),
    # Ruby
    ("ruby", "x = <<~EOS\n  Don't #{a(\"b\")}\nEOS\n‸"),
    ("ruby", "x = <<~'EOS'.strip\n  Don't\n  EOS\n‸"),
    ("ruby", "a = %w[don't won't]\n‸"),
    ("ruby", "a = %q(it's (nested))\n‸"),
    ("ruby", "a = \"#{b[\"c\"]}\" # it's\n‸"),
    ("ruby", "=begin\nDon't\n=end\n‸"),
    ("ruby", "a =~ /['\"]/\nb = c / d\n‸"),
    ("ruby", "a << ?' << ?\"\n‸"),
    ("ruby", "x = 7 % (2)\n‸"),
    # Perl
    ("perl", "my $n = $#array; my $m = q(it's); my %h = (s => 1, y => 2);\n‸"),
    ("perl", "$x =~ s/'/\"/g; $x =~ tr/a'/b\"/; $x =~ m{'};\n‸"),
    ("perl", "$x =~ s{'}{\"}x;\n‸"),
    ("perl", "=pod\n\nDon't\n\n=cut\n\n‸"),
    ("perl", "print <<\"EOT\";\nDon't\nEOT\n‸"),
    # Python
    ("python", "a = f\"{b[\"c\"]} don't {d!r:>{w}} {{\"\n‸"),
    ("python", "a = rb'\\''; b = '''don't'''\n‸"),
    ("python", "a = f'''{b + \"'\"}'''\n‸"),
    # C and its kind
    ("cpp", "auto a = R\"x(say \"hi\")\" (don't)x\";\nint b = 1'000'000;\n‸"),
    ("c", "#error don't\nchar a = '\"';\n‸"),
    ("go", "a := `C:\\`\nb := '\"'\nc := '\\''\n‸"),
    ("csharp", "var a = @\"C:\\\"; var b = @\"say \"\"hi\"\"\"; var c = $\"{d[\"e\"]}\";\n‸"),
    ("csharp", "var a = \"\"\"\n  say \"hi\" don't\n  \"\"\";\n‸"),
    ("java", "String a = \"\"\"\n  say \"hi\" don't\n  \"\"\"; char b = '\"';\n‸"),
    ("kotlin", "val a = \"${b[\"c\"]}\"; val d = \"\"\"C:\\\"\"\"\n‸"),
    ("scala", "val a = s\"${b(\"c\")}\"; val d = 'sym; val e = '\"'\n‸"),
    ("swift", "let a = \"\\(b[\"c\"])\"; let d = #\"C:\\\"#\n/* a /* b */ ' */\n‸"),
    ("dart", "var a = 'it\\'s ${b['c']}'; var d = r'C:\\';\n‸"),
    ("groovy", "def a = ~/it's/; def b = \"${c['d']}\"\n‸"),
    ("zig", "const a =\n    \\\\don't \"\n;\n‸"),
    ("css", "a { content: \"\\\"\"; background: url(http://x/it's.png); }\n‸"),
    ("scss", "// don't\na { b: url(//c); }\n‸"),
    ("protobuf", "// don't\nmessage A {\n  ‸"),
    ("graphql", "\"\"\"Don't \"quote\" me\"\"\"\ntype A {\n  ‸"),
    # pages
    ("html", "<p title='a'>Don't</p>\n<script>let a = '</b>'; // it's\n</script>\n<p>‸</p>"),
    ("vue", "<template>\n  <p :a=\"b\">Don't {{ c('d') }}</p>\n</template>\n<script>\nconst a = 1\n‸\n</script>"),
    ("svelte", "<script>\n  let a = `it's`;\n</script>\n{#if a}<p>Don't</p>{/if}\n‸"),
    ("svelte", "{#each a as b}\n<p>{b}</p>\n{/each}\n<a href=\"/c/{b.d}\">it's</a>\n‸"),
    ("xml", "<a b=\"c\">Don't <![CDATA[ <' ]]></a>\n‸"),
    # others
    ("lua", "a = [[don't]] b = [=[ ]] \" ]=] --[[ it's\n]]\n‸"),
    ("sql", "select 'it''s', \"a\"\"b\" from t; -- don't\n‸"),
    ("sql", "create function f() as $$ select 'x'; don't $$ language sql;\n‸"),
    ("sql", "create function f() as $$‸"),
    ("sql", "create function f() as $f$\nbegin\n  if a then‸"),  # the body is code
    ("sql", "create function f() as $$\nbegin\n  return 'x';\nend $$ language plpgsql;\n‸"),
    ("sql", "create function f() as $$\nbegin\n  return 1;\nend;\n$$;\nselect ‸"),
    ("sql", "create function f() language sql as $$\n  select 1\n$$\n‸"),
    ("yaml", "a: don't\nb: |\n  isn't\n\n  \"open\nc: 'it''s'\nd: x#y\n‸"),
    ("yaml", "- run: >-\n    don't\n- name: ${{ a['b'] }}\n  ‸"),
    ("toml", "a = \"\"\"\nsay \"hi\" don't\"\"\"\nb = '''C:\\'''\nc = 'C:\\'\n‸"),
    ("haskell", "f x' = foldl' g x' -- don't\n{- a {- b -} ' -}\nc = '\"'\n‸"),
    ("ocaml", "let f x' = (* it's (* nested *) *) '\"'\nlet g = {|\"|}\ntype 'a t = A\n‸"),
    ("fsharp", "let a = @\"C:\\\" // don't\nlet f (x: 'a) = x\n‸"),
    ("lisp", "(list 'x #\\\" \"a\") ; don't\n‸"),
    ("clojure", "(f 'x \\\" \"a\") ; don't\n‸"),
    ("scheme", "(f 'x #\\' #| it's |# \"a\")\n‸"),
    ("elisp", "(f 'x ?\\\" ?' \"a\") ; don't\n‸"),
    ("vim", "\" don't\nlet a = 'it''s' \" isn't\nlet b = \"c\"\n‸"),
    ("latex", "``Don't'' 50\\% % isn't\n‸"),
    ("cmake", "set(A [[don't \" ]]) # isn't\nset(B \"${C}\")\n‸"),
    ("powershell", "$a = @\"\nDon't \"quote\"\n\"@\n$b = 'it''s' # don't\n<# isn't #>\n‸"),
    ("r", "a <- r\"(it's \"quoted\")\" # don't\n‸"),
    ("julia", "a = b' * \"$(c[\"d\"])\" #= don't #= x =# =#\nd = 'x'\n‸"),
    ("elixir", "a = ~s(don't \"x\") <> \"#{b[\"c\"]}\" # isn't\nc = ?\"\n‸"),
    ("erlang", "A = $\", B = $', % don't\n‸"),
    ("nix", "{ a = ''don't ${b \"c\"} ''${x} '''y''; x' = 1; }\n‸"),
    ("terraform", "a = <<-EOT\n  Don't ${b[\"c\"]}\n  EOT\nd = \"${e(\"f\")}\" # isn't\n‸"),
    ("json", "{\"a\": \"it's \\\"b\\\"\",\n ‸"),
    ("jsonc", "{// don't\n ‸"),
    ("ini", "; don't\na = it's \"b\n‸"),
    ("bat", "REM don't \"\necho don't\n‸"),
    ("markdown", "Don't `do` (this\n‸"),
    ("plaintext", "4) don't \"quote\n‸"),
]  # fmt: skip


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
    assert Judge(at(buffer, language=language)).shown("value") == "value"


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
    assert Judge(at(buffer, language=language)).shown("value") == "value"


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
