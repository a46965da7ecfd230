"""A line opens a block where the next one is deeper, in every language, and the block comes with what closes it."""

from __future__ import annotations

import pytest

from midfill.completer import Completer
from midfill.postprocess import PostProcessor
from midfill.syntax.languages import LANGUAGES
from midfill.types import Trigger
from tests.dictated import scripted
from tests.postprocess.driven import heard, shown, snapshot

# A header, its block with what closes it, and what a model goes on to say.
HEADERS = [
    ("html", "<ul>", "\n  <li>a</li>\n  <li>b c</li>\n</ul>", "\n<p>after</p>\n"),
    ("html", "<ul class='a'>", "\n<li>a</li>\n<li>b c</li>\n</ul>", "\n<p>after</p>\n"),
    ("xml", "<project>", "\n  <name>a</name>\n</project>", "\n<other/>\n"),
    ("vue", "<template>", "\n  <div>\n    {{ a }}\n  </div>\n</template>", "\n\n<script>\n"),
    ("vue", "<script setup>", "\nimport a from 'a'\n\nconst b = 1\n</script>", "\n\n<style>\n"),
    ("svelte", "{#if a}", "\n  <p>b</p>\n{/if}", "\n<p>after</p>\n"),
    ("lua", "function M.sum(list)", "\n  for v in all(list) do\n    n = n + v\n  end\nend", "\n\nfunction M.b()\n"),
    ("makefile", "app: $(OBJS)", "\n\t$(CC) -o $@ $^", "\n\nclean:\n\trm -f app\n"),
    ("makefile", "ifeq ($(OS),x)", "\nA := 1\nendif", "\n\nall: app\n"),
    ("cmake", "if(X)", "\n  message(STATUS a)\nendif()", "\n\nadd_executable(a b)\n"),
    ("latex", r"\begin{itemize}", "\n  \\item a\n  \\item b\n\\end{itemize}", "\n\nMore text\n"),
    ("latex", r"\begin{itemize}", "\n\\item a\n\\item b\n\\end{itemize}", "\n\nMore text\n"),
    ("haskell", "f x = case x of", "\n  Just y -> y\n  Nothing -> 0", "\n\ngreater = 1\n"),
    ("haskell", "main = do", "\n  print 1\n  print 2", "\n\nanother = 1\n"),
    ("shellscript", 'case "$1" in', "\n  start)\n    go\n    ;;\n  *)\n    halt\n    ;;\nesac", "\necho after\n"),
    ("shellscript", 'case "$1" in', "\nstart)\n    go\n    ;;\nstop)\n    halt\n    ;;\nesac", "\necho after\n"),
    ("shellscript", "if [ -f x ]; then", "\n  a\nelse\n  b\nfi", "\n\necho after\n"),
    ("shellscript", "for f in *; do", "\n  echo \"$f\"\ndone", "\n\necho after\n"),
    ("shellscript", "main() {", "\n  go\n}", "\n\nmain \"$@\"\n"),
    ("ruby", "  def total", "_price\n    items.sum\n  end", "\n\n  def other\n    1\n  end\n"),
    ("ruby", "  items.each do |item|", "\n    puts item\n  end", "\n\n  def other\n"),
    ("python", "def f(x):", "\n    return x", "\n\ndef g(y):\n"),
    ("python", "class A:", "\n    b: int\n\n    def c(self) -> int:\n        return 1", "\n\n\ndef other():\n"),
    ("javascript", "function f() {", "\n  return 1;\n}", "\n\nfunction g() {\n"),
    ("javascriptreact", "  <ul>", "\n    <li>a</li>\n  </ul>", "\n  <p>after</p>\n"),
    ("typescript", "interface A {", "\n  b: string;\n}", "\n\ninterface B {\n"),
    ("java", "    int f() {", "\n        return 1;\n    }", "\n\n    int g() {\n"),
    ("go", "func f() error {", "\n\treturn nil\n}", "\n\nfunc other() {\n"),
    ("rust", "    fn f(&self)", " -> u8 {\n        1\n    }", "\n\n    fn g(&self) {\n"),
    ("c", "int f(void)", "\n{\n    return 1;\n}", "\n\nint other(void)\n"),
    ("cpp", "namespace a {", "\nint b;\n}", "\n\nint other;\n"),
    ("csharp", "void F()", "\n{\n    x();\n}", "\n\nvoid Other()\n"),
    ("php", "function f() {", "\n    return 1;\n}", "\n\nfunction g() {\n"),
    ("kotlin", "fun f() =", "\n    1 + 2", "\n\nfun other() = 3\n"),
    ("swift", "func f() {", "\n    x()\n}", "\n\nfunc other() {\n"),
    ("scala", "  def f =", "\n    1 + 2", "\n\n  def other = 3\n"),
    ("dart", "void main() {", "\n  print(1);\n}", "\n\nvoid other() {\n"),
    ("elixir", "  def f(x) do", "\n    x\n  end", "\n\n  def other(x) do\n"),
    ("erlang", "f(X) ->", "\n    X + 1.", "\n\nother(X) ->\n"),
    ("julia", "function f(x)", "\n    x + 1\nend", "\n\nfunction g(x)\n"),
    ("ocaml", "let f x =", "\n  x + 1", "\n\nlet other = 2\n"),
    ("fsharp", "let f x =", "\n    x + 1", "\n\nlet other = 2\n"),
    ("elm", "view model =", "\n    div [] []", "\n\nupdate msg =\n"),
    ("clojure", "(defn f [x]", "\n  (inc x))", "\n\n(defn other [x]\n"),
    ("perl", "sub f {", "\n    return 1;\n}", "\n\nsub other {\n"),
    ("r", "f <- function(x) {", "\n  x + 1\n}", "\n\nother <- 2\n"),
    ("vim", "function! F() abort", "\n  echo 1\nendfunction", "\n\nlet g:other = 1\n"),
    ("fish", "function f", "\n    echo 1\nend", "\n\nset other 1\n"),
    ("powershell", "function F {", "\n    1\n}", "\n\nfunction Other {\n"),
    ("css", ".a {", "\n  color: red;\n}", "\n\n.b {\n"),
    ("scss", ".a {", "\n  &:hover { color: red; }\n}", "\n\n.b {\n"),
    ("sass", ".a", "\n  color: red", "\n\n.b-other\n"),
    ("json", '  "a": {', '\n    "b": 1\n  },', '\n  "c": 2\n'),
    ("yaml", "  - name: x", "\n    run: |\n      make", "\n  - name: y\n"),
    ("yaml", "on:", "\n  push:\n    branches: [main]", "\njobs: other\n"),
    ("terraform", 'resource "a" "b" {', "\n  c = 1\n}", '\n\nresource "d" "e" {\n'),
    ("protobuf", "message A {", "\n  int32 b = 1;\n}", "\n\nmessage B {\n"),
    ("graphql", "type A {", "\n  b: Int\n}", "\n\ntype B {\n"),
    ("zig", "fn f() void {", "\n    g();\n}", "\n\nfn other() void {\n"),
    ("nix", "  a = {", "\n    b = 1;\n  };", "\n  other = 2;\n"),
    ("sql", "CREATE FUNCTION f() AS $$", "\nDECLARE\n  x int;\nBEGIN\n  RETURN 1;\nEND;\n$$ LANGUAGE x;", "\n\nS\n"),
    ("sql", "CREATE FUNCTION f() AS $$", "\n  SELECT 1;\n$$", "\n\nSELECT\n"),
    ("sql", "  IF a > b THEN", "\n    RETURN 1;\n  END IF;", "\n  RETURN 2;\n"),
    ("sql", "DECLARE", "\n  n int;\n  m text;", "\nBEGIN\n  n := 1;\n"),
    ("sql", "CREATE VIEW v AS", "\nSELECT a\nFROM t\nWHERE b;", "\n\nSELECT 1;\n"),
    ("sql", "SELECT a, b", "\nFROM t\nJOIN u USING (a);", "\nSELECT 1;\n"),
    ("sql", "REVOKE ALL ON TABLE t", "\n  FROM public;", "\nGRANT a\n"),
    ("markdown", "## 0.2.0", "\n\n- One thing\n- Another", "\n\n## 0.1.0\n"),
    ("markdown", "# Usage", "\n\nFirst line\nand the second.", "\n\nMore of it.\n"),
    ("markdown", "# Usage", "\n\n## Install", "\n\nRun it.\n"),
    ("markdown", "# Usage", "\nNo blank line.", "\n\nMore.\n"),
    ("sql", "CREATE TABLE a (", "\n  b INT\n);", "\n\nSELECT 1;\n"),
    ("dockerfile", "RUN apt-get update \\", "\n    && apt-get install -y a", "\n\nCMD other\n"),
    ("markdown", "- fruit", "\n  - apples\n  - pears", "\n- vegetables\n"),
    ("unheard-of", "whatever it is", "\n  deeper\n  and more", "\nno more of it\n"),
]  # fmt: skip


def test_many_languages_are_tried() -> None:
    assert len({language for language, *_ in HEADERS} & set(LANGUAGES)) >= 25


@pytest.mark.parametrize(("language", "header", "block", "more"), HEADERS)
def test_a_header_gets_its_block(language: str, header: str, block: str, more: str) -> None:
    assert shown(language, header + "‸\n", block + more) == block
    assert heard(snapshot(language, header + "‸\n"), block + more)[1] < len(block + more)


@pytest.mark.parametrize("trigger", ["automatic", "invoked"])
@pytest.mark.parametrize(("language", "header", "block", "more"), HEADERS)
async def test_so_it_is_shown(language: str, header: str, block: str, more: str, trigger: Trigger) -> None:
    """Through the whole path of a request, whether the user asked or typed."""
    subject, _ = scripted(*block, *more, disabled_rules=("confidence",))
    assert (await _last(subject, language, header + "‸\n", trigger)) == block


async def _last(subject: Completer, language: str, buffer: str, trigger: Trigger) -> str:
    return (await subject.last(snapshot(language, buffer), trigger=trigger)).text


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [  # what closes it stands below already
        ("html", "<ul>‸\n</ul>\n", "\n  <li>a</li>\n</ul>\n<p>b</p>", "\n  <li>a</li>"),
        ("html", "<ul>‸</ul>\n", "\n  <li>a</li>\n</ul>\n<p>b</p>", "\n  <li>a</li>\n"),
        ("html", "  <div>‸</div>\n", "\n    <div>a</div>\n  </div>\n", "\n    <div>a</div>\n  "),
        ("vue", "<script>‸\n</script>\n", "\nimport a\n</script>\n", "\nimport a"),
        ("lua", "function M.f(a)‸\nend\n", "\n  return a\nend\n\nfunction", "\n  return a"),
        ("ruby", "  def a‸\n  end\n", "\n    1\n  end\n\n  def b", "\n    1"),
        ("shellscript", "for f in *; do‸\ndone\n", "\n  echo $f\ndone\n\ny\n", "\n  echo $f"),
        ("shellscript", "if a; then‸\nfi\n", "\n  b\nfi\n\nc\n", "\n  b"),
        ("cmake", "if(X)‸\nendif()\n", "\n  message(a)\nendif(X)\n\nc\n", "\n  message(a)"),
        ("latex", "\\begin{a}‸\n\\end{a}\n", "\n  b\n\\end{a}\n\nc\n", "\n  b"),
        ("javascript", "function f() {‸\n}\n", "\n  return 1;\n}\n\nfunction g() {", "\n  return 1;"),
        ("javascript", "foo(‸\n);\n", "\n  a,\n  b,\n);\nbar();\n", "\n  a,\n  b,"),
        ("python", "x = [‸\n]\n", "\n    1,\n    22,\n]\ny = 1\n", "\n    1,\n    22,"),
        ("sql", "BEGIN‸\nEND;\n", "\n  a := 1;\nEND;\n\nSELECT", "\n  a := 1;"),
        ("sql", "SELECT a‸\nFROM t;\n", "\nFROM u;\nSELECT", ""),  # the rest of the statement stands below
        ("markdown", "# A‸\n\nText.\n", "\n\nText.\n\nMore", ""),
        ("css", ".a {‸\n}\n", "\n  color: red;\n}\n.b {", "\n  color: red;"),
        # what closes something else does not count
        ("javascript", "f() {\n  if (a) {‸\n}\n", "\n    b();\n  }\n}\n", "\n    b();\n  }"),
        ("ruby", "def f\n  if a‸\nend\n", "\n    b\n  end\nend\n", "\n    b\n  end"),
        ("c", "int f()\n{\nif (a) {‸\n}\n", "\n    b();\n}\n}\n", "\n    b();\n}"),
        # the body does
        ("lua", "function f()‸\n  return 1\nend\n", "\n  return 2\nend\n", ""),
        ("lua", "function ‸\n  return 1\nend\n", "f()\n  return 2\nend\n", "f()"),
        ("html", "<‸\n  <li>a</li>\n</ul>\n", "ul>\n  <li>a</li>\n</ul>", "ul>"),
        ("ruby", "‸\n    a\n  end\n", "  def b\n    c\n  end\n", "  def b"),
        ("latex", "\\begin{a}‸\n\\item b\n\\end{a}\n", "\n\\item c\n\\end{a}\n\n", ""),
    ],
)  # fmt: skip
def test_what_stands_below_is_not_said_again(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [  # a line that opens nothing ends with itself
        ("html", "<p>‸\n", "text</p>\n<p>more</p>\n", "text</p>"),
        ("html", "<br>‸\n", "\n<p>more</p>\n", ""),
        ("lua", "local x = ‸\n", "1\nlocal y = 2\n", "1"),
        ("ruby", "x = ‸\n", "1\ny = 2\n", "1"),
        ("haskell", "x = ‸\n", "1\ny = 2\n", "1"),
        ("makefile", "CC = ‸\n", "gcc\nLD = ld\n", "gcc"),
        ("yaml", "a: ‸\n", "1\nb: 2\n", "1"),
        ("javascript", "const x = ‸\n", "a\nconst y = 1\n", "a"),
        ("markdown", "Some ‸\n", "words.\nAnd more.\n", "words."),
        ("latex", "Some ‸\n", "words.\nAnd more.\n", "words."),
        ("python", "first = ‸\n", "1\n    deeper", "1"),  # its language says that nothing opens
        ("typescript", "async function f(): Promise<void>‸\n", ";\nasync", ";"),  # no tag
        # and one that goes on deeper has that too
        ("javascript", "const x = ‸\n", "a\n  .b()\n  .c()\nconst y = 1\n", "a\n  .b()\n  .c()"),
        ("ruby", "x = ‸\n", "a\n  .b\n  .c\ny = 1\n", "a\n  .b\n  .c"),
    ],
)
def test_a_line_that_opens_nothing(language: str, buffer: str, said: str, text: str) -> None:
    assert shown(language, buffer, said) == text


@pytest.mark.parametrize(
    ("language", "buffer", "said", "n"),
    [
        ("python", "x = ‸\n", "1\ny = 2\n", len("1\n")),  # it ends a statement for sure
        ("javascript", "x = ‸\n", "1;\ny = 2;\n", len("1;\n")),
        ("lua", "x = ‸\n", "1\ny = 2\n", len("1\ny")),  # the next line's indentation says it
        ("lua", "f(function()‸\n", "\n  x()\nend)\ny = 2\n", len("\n  x()\nend)\n")),
    ],
)
def test_nothing_is_decoded_that_is_not_needed(language: str, buffer: str, said: str, n: int) -> None:
    assert heard(snapshot(language, buffer), said)[1] == n


@pytest.mark.parametrize(("language", "buffer", "middle", "more"), [
    ("shellscript", "f() {\n  ‸\n  g\n}\n", "a=1\n  if b; then\n    c\n  else\n    d\n  fi", "\n  g\n}\n"),
    ("shellscript", "f() {\n  ‸\n  g\n}\n", "for b in c; do\n    d\n  done", "\n  g\n}\n"),
    ("ruby", "def f\n  ‸\n  g\nend\n", "begin\n    a\n  rescue B\n    c\n  end", "\n  g\nend\n"),
    ("ruby", "def f\n  ‸\n  g\nend\n", "a.each do |b|\n    c\n  end", "\n  g\nend\n"),
    ("lua", "function f()\n  ‸\n  g()\nend\n", "if a then\n    b()\n  else\n    c()\n  end", "\n  g()\nend\n"),
    ("sql", "BEGIN\n  ‸\n  x := 1;\nEND;\n", "IF a THEN\n    b := 1;\n  END IF;", "\n  x := 1;\n"),
    # what closes something that stands above ends it
    ("shellscript", "if a; then\n  ‸\nfi\n", "b", "\nfi\nc\n"),
    ("ruby", "def f\n  ‸\nend\n", "a", "\nend\n\ndef g\n"),
])  # fmt: skip
def test_a_word_closes_what_the_middle_opened(language: str, buffer: str, middle: str, more: str) -> None:
    assert shown(language, buffer, middle + more) == middle


def test_a_block_is_believed_while_it_grows() -> None:
    processor = PostProcessor(snapshot("lua", "function f()‸\n"))
    said = "\n  local a = 1\n  return a"
    values = [processor.shown(said[:n]) for n in range(len(said) + 1)]
    assert values == sorted(values, key=len)
    assert values[-1] == said


@pytest.mark.parametrize(
    ("language", "buffer", "said", "text"),
    [
        (
            "lua", "function f()‸\n",
            "\n  local a = 1\n  for b in c do\n    a = a + b\n    retu", "\n  local a = 1",
        ),
        (
            "javascript", "function f() {‸\n}\n",
            "\n  const a = 1;\n  if (a) {\n    b(a);\n    retu", "\n  const a = 1;",
        ),
        ("javascript", "function ‸\n", "f() {\n  const a = [\n    1,\n    2", "f() {"),
        ("python", "def f():‸\n", "\n    a = 1\n    for b in c:\n        a = a + b\n        retu", None),
    ],
)  # fmt: skip
def test_of_a_block_that_was_broken_off_whole_lines_are_left(
    language: str, buffer: str, said: str, text: str | None
) -> None:
    shown = PostProcessor(snapshot(language, buffer)).shown(said, cut_short=True)
    assert shown == (said.rpartition("\n")[0] if text is None else text)
