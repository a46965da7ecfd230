"""What the indexer reads from a hostile folder, and what it leaves out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from midfill.context import walk
from midfill.context.walk import Folder, Found
from tests.context.made import write

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes")


def read_all(root: Path) -> dict[str, str]:
    """Return the text of every file that is read, by path."""
    folder = Folder(root)
    found = [one for one in folder.walk() if isinstance(one, Found)]
    return {one.path: text for one in found if (text := folder.read(one)) is not None}


def link_out(root: Path) -> None:
    outside = write(root.parent / "outside", {"x.py": "OUT = 1\n", "deep/y.py": "OUT = 2\n"})
    (root / "link.py").symlink_to(outside / "x.py")
    (root / "linked").symlink_to(outside)
    (root / "sub").mkdir()
    (root / "sub" / "up").symlink_to("../..")


def pipes(root: Path) -> None:
    os.mkfifo(root / "pipe.py")
    (root / "zero.py").symlink_to("/dev/zero")


def large(root: Path) -> None:
    (root / "large.py").write_bytes(b"x = 1\n" * (walk.MAX_BYTES // 6 + 1))
    (root / "sparse.py").touch()
    os.truncate(root / "sparse.py", 1 << 40)


def generated(root: Path) -> None:
    (root / "min.js").write_text("a=1;" * 2000)
    (root / "binary.py").write_bytes(b"a = 1\n\x00\x01")
    (root / "latin.py").write_bytes(b"a = '\xe9'\n")


def ignored(root: Path) -> None:
    write(root, {
        ".git/HEAD": "", ".gitignore": "gen/\n*.tmp.py\n!keep.tmp.py\n/top.py\n", "gen/x.py": "", "a.tmp.py": "",
        "top.py": "",
        "sub/.gitignore": "own.py\n", "sub/own.py": "", ".git/info/exclude": "local.py\n", "local.py": "",
        "node_modules/a/index.js": "", "venv/lib/a.py": "", ".hidden/a.py": "",
    })  # fmt: skip


def secret(root: Path) -> None:
    write(root, {"secrets.py": "A = 1\n", ".env": "A=1", "credentials.py": "", "secrets/a.py": "", "x/.ssh/a.py": ""})


def endless_names(root: Path) -> None:
    (root / ("n" * 200 + ".py")).write_text("")
    deep = root
    for _ in range(walk.MAX_DEPTH + 3):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "deep.py").write_text("")


def slow_rules(root: Path) -> None:
    """A rule that is made to take for ever has the effect of ignoring everything in its folder."""
    write(root, {".git/HEAD": "", "slow/.gitignore": "*a*a*a*a*a*a*a*b\n", "slow/" + "a" * 60 + ".py": ""})


@pytest.mark.parametrize(
    "make",
    [link_out, pipes, large, generated, ignored, secret, endless_names, slow_rules],
    ids=lambda make: make.__name__,
)
def test_only_plain_files_of_the_folder_are_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    root = write(tmp_path / "root", {"a.py": "A = 1\n", "pkg/b.ts": "b\n"})
    make(root)
    assert read_all(root) == {"a.py": "A = 1\n", "pkg/b.ts": "b\n"}


def test_rules_of_the_folders_above_count(tmp_path: Path) -> None:
    """The user opens a folder inside a repository: the repository's rules hold in it, too."""
    write(tmp_path / "repo", {".git/HEAD": "", ".gitignore": "app/gen.py\n*.log.py\n"})
    root = write(tmp_path / "repo" / "app", {"gen.py": "", "x.log.py": "", "a.py": "A = 1\n"})
    assert set(read_all(root)) == {"a.py"}
    (tmp_path / "repo" / ".git" / "HEAD").unlink()
    (tmp_path / "repo" / ".git").rmdir()
    assert set(read_all(root)) == {"gen.py", "x.log.py", "a.py"}  # rules without a repository mean nothing


def test_a_root_that_is_a_link_is_followed_once(tmp_path: Path) -> None:
    write(tmp_path / "real", {"a.py": "A = 1\n"})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert set(read_all(tmp_path / "link")) == {"a.py"}


def test_a_folder_that_becomes_a_link_is_not_read(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"sub/a.py": "A = 1\n"})
    outside = write(tmp_path / "outside", {"a.py": "OUT = 1\n"})
    folder = Folder(root)
    (found,) = [one for one in folder.walk() if one is not None]
    (root / "sub" / "a.py").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to(outside)
    assert folder.read(found) is None


def test_bounds_of_a_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path, {f"{n:03}.py": "" for n in range(50)})
    monkeypatch.setattr(walk, "MAX_FILES", 10)
    assert len(read_all(root)) == 10
    monkeypatch.setattr(walk, "MAX_ENTRIES", 5)
    assert len(read_all(root)) < 5


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb.py", "a\ufffdb.py"),
        ("\u202eyp.py", "\ufffdyp.py"),
        ("<|fim_middle|>.py", "<|fim_middle|>.py"),
        ("é.py", "é.py"),
    ],
)
def test_names_are_one_printable_line(tmp_path: Path, name: str, shown: str) -> None:
    (tmp_path / name).write_text("A = 1\n")
    assert set(read_all(tmp_path)) == {shown}


@pytest.mark.parametrize(("path", "wide"), [("/", True), (".", True), ("project", False)])
def test_homes_and_roots_are_no_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, wide: bool
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / "project").mkdir()
    assert Folder(tmp_path / path).is_too_wide is wide
