"""Every row of the tables names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
REPOSITORY = TESTS.parent
_NAMED = re.compile(r"`(?:tests/)?((?:\w+/)*test_\w+\.py)?(?:::([\w:]+))?`")


def named(line: str) -> list[tuple[str, str]]:
    """Return the files and tests that a row names; ``::test`` alone belongs to the file before it."""
    found, file = [], ""
    for match in _NAMED.finditer(line):
        file = match.group(1) or file
        found.append((file, match.group(2) or ""))
    return found


@pytest.mark.parametrize("document", ["docs/reliability.md", "SECURITY.md"])
def test_the_tests_are_there(document: str) -> None:
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    for line in filter(lambda line: line.startswith("|"), text.splitlines()):
        for file, name in named(line):
            assert (TESTS / file).is_file(), line
            source = (TESTS / file).read_text(encoding="utf-8")
            for part in filter(None, name.split("::")):
                assert re.search(rf"(?:def|class) {part}\b", source), f"{file} has no {part}"


def test_no_row_is_without_a_test() -> None:
    rows = [line for line in (REPOSITORY / "docs/reliability.md").read_text(encoding="utf-8").splitlines()
            if line.startswith("| ") and not line.startswith(("| What", "| Who"))]  # fmt: skip
    assert len(rows) > 60
    assert [row for row in rows if not named(row)] == []
