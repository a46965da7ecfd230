"""Texts that are hard to parse: for each grammar, what opens without closing, nests, or is ambiguous.

A text is a repeated unit: on lines as long as a file that is read may have (``wide``), each on its own line (``tall``),
or all on a single line, which no file of a workspace may be, but a document or the text of another caller might.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from midfill.context.walk import MAX_BYTES, MAX_LINE
from midfill.syntax import languages

# For every grammar: brackets, quotes, operators without an end.
ANY = (
    "(",
    "[",
    "{",
    "<",
    "a(",
    "a[",
    "a{",
    "a<",
    "(a,",
    "-",
    "!",
    "a.",
    "a=",
    "a?",
    "a:",
    '"',
    "'",
    "`",
    "\\",
    "@",
    "#",
    "a ",
)
OWN = {
    "python": (
        "'''\n", '"""\n', "f'{", "lambda:", "if a:\n ", "[a for a in ", "a if a else ", "async ", "@a\n",
        "\t\n ",
    ),
    "javascript": (
        "'''\n", "`${", "a=>", "function(){", "</a>", "<a>", "/a", "async ", "a?b:", "({a:", "class{", "${",
    ),
    "typescript": (
        "a<b<", "`${", "A<A,", "(a:", "a as ", "<T>(", "type A=", "a?:", "{[a in ", "keyof ", "infer ",
    ),
    "java": (
        "A<", "A<?,", "a->", "new A(){", "@A(", "(A)", "A<A>", '"""\n', "switch(a){case ", "A[]", "a?b:",
    ),
    "go": (
        "func(", "[]", "map[", "chan ", "a{", "*", "<-", "`\n", "interface{", "struct{", "A[", "go ",
    ),
    "rust": (
        "A<", "&", "|a|", 'r#"', "/*", "a!{", "a::<", "dyn ", "fn(", "#[a(", "'a ", "::a", "match a{",
    ),
    "c": (
        "a<", "a*", "(a)", "#if a\n", "#define a \\\n", "/*", "a(*", "struct{", "sizeof ", "a[",
        "__attribute__((",
    ),
    "cpp": (
        "a<", "a<b,", "A<A<", "template<", "a::", "[]{", 'R"(', "a<a>::", "operator ", "decltype(", "a&&",
        "#if a\n", "new ",
    ),
    "csharp": (
        "A<", "A<A,", '$"{', '@"', "a=>", "a is ", "(a,", "#if a\n", "[A(", '"""\n', "a?.", "from a in ",
        "new{",
    ),
    "ruby": (
        "#{", '"#{', "%w(", "<<A\n", "<<~A\n", "do |", "a ? b :", "/", "begin\n", "def a\n", "->{", "%q{",
        "=begin\n", "<<A+",
    ),
    "php": (
        "<?php ", "?>", '"{$', "<<<A\n", "fn()=>", "$$", "${", "match(a){", "/*", "#[", "new class{",
        "<?php <<<A\n",
    ),
    "kotlin": (
        "A<", "a<b<", '"""\n', '"${', "a{", "/*", "fun <", "@A(", "a?.", "a::", "when(a){", "if(a)", "({",
    ),
}  # fmt: skip
# A text must begin like this to be read as the language at all.
HEADS = {"php": "<?php\n"}


def units(language: str) -> tuple[str, ...]:
    """Return the units for texts of a language: those of its grammar and of the grammars it is built on."""
    own = OWN.get(language) or OWN[languages.of(language).grammar.replace("tsx", "typescript")]
    also = OWN["javascript"] if language.startswith("typescript") else OWN["c"] if language == "cpp" else ()
    return tuple(dict.fromkeys((*own, *also, *ANY)))


def text(language: str, unit: str, shape: str, n_chars: int = MAX_BYTES - 1000) -> str:
    """Return ``unit`` over and over, as one file that the index would read (except for ``line``)."""
    head = HEADS.get(language, "")
    if shape == "tall":
        unit, n_chars = unit + "\n" * (not unit.endswith("\n")), min(n_chars, MAX_BYTES)
    elif shape == "wide" and "\n" not in unit:
        unit = unit * ((MAX_LINE - 10) // len(unit)) + "\n"
    return head + unit * max(1, n_chars // len(unit))


def every(language: str, n_chars: int = MAX_BYTES - 1000) -> Iterator[tuple[str, str, str]]:
    """Yield (unit, shape, text) of all hard texts of a language."""
    for unit in units(language):
        for shape in ("tall", "wide", "line"):
            if shape == "line" or not (shape == "wide" and unit.endswith("\n")):
                yield unit, shape, text(language, unit, shape, n_chars)


def workspace(root: Path, n: int = 6) -> Path:
    """Fill ``root`` with the worst known files: a stall of seconds each, and unlimited memory.

    They are read by their names in turn, so that each child that parses works for a while before a file ends it, on
    machines of any speed.
    """
    root.mkdir(parents=True, exist_ok=True)
    for at in range(n):
        (root / f"{at:02}a-script.js").write_text("'''\n" * 48_000, encoding="utf-8")
        (root / f"{at:02}b-types.cpp").write_text(("a<" * 900 + "\n") * 100, encoding="utf-8")
        (root / f"{at:02}c-Nested.java").write_text(("A<" * 900 + "\n") * 100, encoding="utf-8")
        body = "".join(f"int f{n}(int *a, int b) {{ return a[b] * {n} + f{n - 1}(a, b - 1); }}\n" for n in range(3000))
        (root / f"{at:02}d-plain.c").write_text(body[:195_000], encoding="utf-8")
    return root
