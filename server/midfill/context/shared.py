"""Which languages use each other's names on purpose. Snippets of any other language mislead a model: it writes their
names where nothing defines them."""

from __future__ import annotations

from midfill.context.focus import Focus
from midfill.syntax import languages
from midfill.syntax.lexical import state_at

# Code in one language of a group uses names from the others.
_GROUPS = tuple(
    frozenset(group.split())
    for group in (
        # elements, classes, ids, properties, and what a page's scripts call
        "html css scss sass less vue svelte astro javascript javascriptreact typescript typescriptreact",
        "html css scss less javascript php blade twig",
        "html css scss javascript erb haml slim ruby",
        "html css scss javascript ejs handlebars pug mustache jinja django-html",
        "html css scss javascript razor aspnetcorerazor csharp",
        "html xml",
        "c cpp objective-c objective-cpp cuda-cpp",
        "swift objective-c objective-cpp",
        "java kotlin groovy scala",
        "csharp fsharp vb",
        "elixir erlang",
        "python cython",
        "shellscript makefile dockerfile just",
        "json jsonc",
        "scheme racket",
    )
)
_SCRIPTS = frozenset({"javascript", "javascriptreact", "typescript", "typescriptreact"})
# A schema, and the languages for which code is generated from it.
_GENERATED = {
    "protobuf": _SCRIPTS | {
        "c", "cpp", "csharp", "dart", "go", "java", "kotlin", "objective-c", "objective-cpp", "php", "python", "ruby",
        "rust", "scala", "swift",
    },
    "graphql": _SCRIPTS | {"go", "java", "kotlin", "rust", "svelte", "vue"},
}  # fmt: skip
# Languages that are written in strings of other languages.
_IN_STRINGS = frozenset({"sql"})


def shares_names(language: str, focus: Focus) -> bool:
    """Whether names from a file of ``language`` may be used at the cursor.

    Prose mentions all names; code uses no names that occur only in prose.
    """
    here = focus.language
    if language == here or languages.of(here).prose:
        return True
    if any(language in group and here in group for group in _GROUPS):
        return True
    if here in _GENERATED.get(language, ()) or language in _GENERATED.get(here, ()):
        return True
    return language in _IN_STRINGS and _is_in_string(focus)


def _is_in_string(focus: Focus) -> bool:
    before = focus.text[max(0, focus.cursor - 20_000) : focus.cursor]
    after = focus.text[focus.cursor : focus.cursor + 8_000]
    return bool(state_at(before, after, focus.language, is_start=len(before) == focus.cursor).string)
