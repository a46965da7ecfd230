"""`midfill complete` reads the project around its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from midfill.commands import complete
from midfill.config import Config
from midfill.context.project import project_of
from tests.context.made import write


@pytest.mark.parametrize(
    ("marks", "root"),
    [((), "a/b"), ((".git/HEAD",), "."), (("pyproject.toml", "a/package.json"), "a"), (("a/b/c/go.mod",), "a/b")],
)
def test_the_project_of_a_file(tmp_path: Path, marks: tuple[str, ...], root: str) -> None:
    write(tmp_path, dict.fromkeys((*marks, "a/b/main.py"), ""))
    assert project_of(tmp_path / "a/b/main.py") == (tmp_path / root)


def test_the_projects_other_files_are_context(tmp_path: Path) -> None:
    files = {
        "setup.py": "",
        "p/client.py": "def connect(url): ...\n",
        "p/main.py": "from .client import connect\n\nc = \n",
    }
    file = write(tmp_path, files) / "p/main.py"
    snapshot = complete.read_snapshot(f"{file}:3:5")
    for off, expected in (((), ["def connect(url): ..."]), (("imports", "names", "similar", "siblings"), [])):
        workspace, seen = complete.read_project(snapshot, file, Config(disabled_context=off), 400)
        assert (seen.path, seen.language) == ("p/main.py", "python")
        assert [snippet.text for snippet in workspace.snippets(seen)] == expected
        workspace.stop()
