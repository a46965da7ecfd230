"""The reader against tree-sitter: on whole, sound text the two say the same of every place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.syntax.agreement import differences, kinds
from tests.syntax.made import CODE

ROOT = Path(__file__).parents[2]
# Where the grammar is the one that is wrong, or calls a word without quotes a string.
EXPLAINED = frozenset({"cmake", "dockerfile", "makefile", "markdown", "svelte", "vue", "html", "xml", "bibtex", "sql"})
# So do these: the tag of a text of many lines, delimiters of a literal, what stands in a string's parameter.
EXPLAINED_TEXTS = ("<<", "=begin", "s{", "${line#")
OWN = ("server/midfill/syntax/lexical", "editors/nvim", "editors/vscode/src", "scripts")


def _explained(language: str, text: str) -> bool:
    return language in EXPLAINED or any(said in text for said in EXPLAINED_TEXTS)


@pytest.mark.parametrize(("language", "buffer"), [row for row in CODE if not _explained(*row)])
def test_on_short_samples(language: str, buffer: str) -> None:
    text = buffer.replace("‸", "")
    if kinds(text, language) is None:
        pytest.skip("its grammar does not parse that")
    assert differences(text, language)[1] == []


@pytest.mark.parametrize(
    "path",
    [
        path.relative_to(ROOT).as_posix()
        for folder in OWN
        for path in sorted((ROOT / folder).glob("**/*.*"))
        if path.suffix in (".py", ".ts", ".lua", ".sh", ".json", ".toml") and "node_modules" not in path.parts
    ][::4],
)
def test_on_our_own_files(path: str) -> None:
    from midfill.syntax import languages

    text = (ROOT / path).read_text("utf-8")
    n, found = differences(text, languages.of_path(path))
    assert len(found) <= n // 200, found[:5]
