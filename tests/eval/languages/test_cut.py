"""Where holes are cut in languages that have no statements and calls, and that every group gets its share."""

from __future__ import annotations

import pytest

from midfill.eval.languages.cut import HEADER, SEVERAL, holes_of, in_turns, spans_of
from midfill.eval.languages.groups import GROUPS, TITLES, group_of, language_of
from midfill.eval.languages.new_files import new_file_holes

HTML = """<body>
  <ul class="menu">
    <li>first entry</li>
    <li>second entry</li>
  </ul>
</body>
"""
YAML = """services:
  web:
    image: nginx
    ports: 80
  # a comment that opens nothing
  database:
    image: postgres
"""
MAKE = """OBJS = main.o list.o

app: $(OBJS)
\tgcc -o app $(OBJS)
\tstrip app

clean:
\trm -f app
"""
MARKDOWN = """# Installation

Fetch the archive and unpack it.
Then run the installer.

## Usage

Call it with a file.
"""
SHELL = """# counts lines
case "$1" in
  start)
    run_service --start
    ;;
esac
"""
LUA = """local M = {}

function M.sum(list)
  local total = 0
  return total
end
"""
PYTHON = """class Plan(Base):
    def area(self, width, height):
        total = multiply(width, height)
        return total

    # a comment
    items = [
        first,
    ]
"""


@pytest.mark.parametrize(("language", "text", "kind", "has", "has_not"), [
    ("html", HTML, HEADER, {"\n    <li>first entry</li>\n    <li>second entry</li>"}, set()),
    ("html", HTML, SEVERAL, {"<li>first entry</li>\n    <li>second entry</li>"}, set()),
    ("html", HTML, "rest-of-line", {"entry</li>"}, {"<li>first entry</li>"}),
    ("html", HTML, "mid-word", {"rst entry</li>"}, set()),
    ("yaml", YAML, HEADER, {"\n    image: nginx\n    ports: 80", "\n    image: postgres"}, set()),
    ("yaml", YAML, "line", {"image: nginx", "web:"}, {"# a comment that opens nothing"}),
    ("makefile", MAKE, HEADER, {"\n\tgcc -o app $(OBJS)\n\tstrip app"}, set()),
    ("makefile", MAKE, "rest-of-line", {"main.o list.o", "$(OBJS)"}, set()),
    ("markdown", MARKDOWN, HEADER, {"\n\nFetch the archive and unpack it.\nThen run the installer."}, set()),
    ("markdown", MARKDOWN, "mid-word", {"aller."}, set()),
    ("shellscript", SHELL, HEADER, {"\n    run_service --start\n    ;;"}, {"\ncase"}),
    ("lua", LUA, HEADER, {"\n  local total = 0\n  return total"}, set()),
    ("python", PYTHON, HEADER, {"\n        total = multiply(width, height)\n        return total"}, {"\n    items"}),
    ("python", PYTHON, SEVERAL, {"total = multiply(width, height)\n        return total"}, set()),
    ("python", PYTHON, "call-arguments", {"width, height"}, {"Base"}),
])  # fmt: skip
def test_kinds(language: str, text: str, kind: str, has: set[str], has_not: set[str]) -> None:
    found = {text[start:end] for start, end in spans_of(text, language)[kind]}
    assert has <= found
    assert not any(middle.startswith(tuple(has_not)) for middle in found if has_not)


def test_a_header_ends_its_line() -> None:
    for text, language in ((HTML, "html"), (YAML, "yaml"), (MAKE, "makefile"), (LUA, "lua"), (PYTHON, "python")):
        for start, _ in spans_of(text, language)[HEADER]:
            assert text[start] == "\n"
            assert text[:start].rpartition("\n")[2].strip()


def texts() -> dict[str, str]:
    """Three projects in three languages."""
    found = {}
    for project in "abc":
        found[f"{project}/steps.py"] = "".join(
            f"def step_{project}_{n}(first, second):\n    total = scale(first, second)\n    return total * {n}\n\n\n"
            for n in range(20)
        )
        found[f"{project}/style.css"] = "".join(
            f".row-{project}-{n} {{\n  margin-left: {n}px;\n  color: red;\n}}\n\n" for n in range(30)
        )
        found[f"{project}/page.html"] = "<ul>\n" + "".join(
            f'  <li class="entry-{project}-{n}">\n    <b>number {n}</b>\n  </li>\n' for n in range(30)
        )
    return found


def test_every_group_language_and_project_has_its_share() -> None:
    holes = holes_of(texts(), 12)
    assert holes == holes_of(texts(), 12)
    assert holes != holes_of(texts(), 12, seed=2)
    python, html = ([hole for hole in holes if group_of(hole.language) == group] for group in ("python", "html"))
    assert (len(python), len(html)) == (12, 12)
    assert {hole.language for hole in html} == {"css", "html"}
    assert {hole.source for hole in python} == {"a", "b", "c"}
    assert len({hole.kind for hole in python}) == 6
    assert len({hole.id for hole in holes}) == len(holes)
    whole = texts()
    for hole in holes:
        assert hole.prefix + hole.middle + hole.suffix == whole[f"{hole.source}/{hole.path}"]


def test_headers_come_first_and_groups_in_turn() -> None:
    holes = in_turns(holes_of(texts(), 12))
    headers = [hole.kind == HEADER for hole in holes]
    assert headers == sorted(headers, reverse=True)
    assert {group_of(hole.language) for hole in holes[:2]} == {"python", "html"}


def test_new_files() -> None:
    holes = new_file_holes()
    assert len(holes) >= 200
    assert len({hole.language for hole in holes} - {"plaintext"}) >= 25
    assert len({hole.id for hole in holes}) == len(holes)
    named = {(hole.path, hole.prefix) for hole in holes}
    assert {("o.cpp", "using "), ("order.rb", "class Order"), ("query.sql", ""), ("lib.rs", "")} <= named
    assert {("a.lua", ""), ("fib.rs", "// fibonacci numbers up to n\n\n"), ("Makefile", "")} <= named


@pytest.mark.parametrize(("path", "text", "language"), [
    ("bin/run", "#!/usr/bin/env bash\n", "shellscript"),
    ("a.h", "int x;\n", "c"),
    ("a.h", "namespace a {\n}\n", "cpp"),
    ("Dockerfile", "", "dockerfile"),
    ("LICENCE-2", "text", ""),
])  # fmt: skip
def test_language_of(path: str, text: str, language: str) -> None:
    assert language_of(path, text) == language


def test_groups_have_titles() -> None:
    assert set(GROUPS) <= set(TITLES)
    assert group_of("cobol") == "other"
