"""The groups of languages, with one row each in a table, and the language of a file."""

from __future__ import annotations

from types import MappingProxyType

from midfill.syntax import languages

# Group -> LSP language ids; the group's name in a table.
GROUPS = MappingProxyType(
    {
        "python": ("python",),
        "javascript": ("javascript", "javascriptreact", "typescript", "typescriptreact"),
        "go": ("go",),
        "rust": ("rust",),
        "java": ("java", "kotlin"),
        "c": ("c", "cpp"),
        "ruby": ("ruby", "php"),
        "shell": ("shellscript", "makefile", "dockerfile", "yaml"),
        "html": ("html", "css", "scss", "vue"),
        "sql": ("sql", "markdown"),
    }
)
TITLES = MappingProxyType(
    {
        "python": "Python",
        "javascript": "JS, TS, TSX",
        "go": "Go",
        "rust": "Rust",
        "java": "Java, Kotlin",
        "c": "C, C++",
        "ruby": "Ruby, PHP",
        "shell": "shell, Make, Docker, YAML",
        "html": "HTML, CSS, Vue",
        "sql": "SQL, Markdown",
        "other": "others",
    }
)
_GROUP_OF = {language: group for group, members in GROUPS.items() for language in members}


def group_of(language: str) -> str:
    """Return the group of a language id; "other" if it is in none."""
    return _GROUP_OF.get(language, "other")


def language_of(path: str, text: str) -> str:
    """Return the language id by the file's name or its ``#!`` line; "" if neither says it. C++ headers are told apart
    from C's."""
    found = languages.of_path(path) or languages.of_shebang(text.partition("\n")[0])
    if found == "c" and path.endswith(".h") and any(word in text for word in ("namespace ", "template <", "template<")):
        return "cpp"
    return found
