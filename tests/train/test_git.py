"""What git knows of a repository, also of one that is hostile, shallow, large or broken."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from midfill.train import git
from midfill.train.collect import collect
from tests.train.made import python_file, repository, write

AUTHOR = ("-c", "user.name=a", "-c", "user.email=a@example.org")


def run(root: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(root), *AUTHOR, *words], check=True, capture_output=True)


def commit(root: Path, **files: str) -> None:
    write(root, {name.replace("__", "/") + ".py": text for name, text in files.items()})
    run(root, "add", "-A")
    run(root, "commit", "-qm", "one")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository whose files were changed at different times."""
    found = repository(tmp_path / "repo", {})
    commit(found, first="1", old="1", inside__new="1")
    commit(found, old="2")
    commit(found, inside__new="2", inside__other="1")
    commit(found, inside__new="3")
    return found


def test_how_many_commits_ago(root: Path) -> None:
    assert git.commits_ago(root) == {"inside/new.py": 0, "inside/other.py": 1, "old.py": 2}  # not of the first commit
    assert git.commits_ago(root / "inside") == {"new.py": 0, "other.py": 1}  # as `tracked` names them
    assert git.tracked(root / "inside") == ["new.py", "other.py"]


def test_names_of_any_kind(root: Path) -> None:
    write(root, {"a\nb é.py": "x"})
    run(root, "add", "-A")
    run(root, "commit", "-qm", "odd")
    assert git.commits_ago(root)["a\nb é.py"] == 0
    assert "a\nb é.py" in (git.tracked(root) or ())


def test_a_history_that_was_rewritten(root: Path) -> None:
    run(root, "checkout", "-q", "--orphan", "other")
    run(root, "commit", "-qm", "all of it, anew")
    assert git.commits_ago(root) == {}
    commit(root, old="4")
    assert git.commits_ago(root) == {"old.py": 0}


def test_a_shallow_clone(root: Path, tmp_path: Path) -> None:
    run(tmp_path, "clone", "-q", "--depth", "2", f"file://{root}", "shallow")
    assert git.commits_ago(tmp_path / "shallow") == {"inside/new.py": 0}


@pytest.mark.parametrize("kind", ["no repository", "no commit", "no folder", "no git", "broken"])
def test_nothing_is_known(kind: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "no repository":
        root = write(tmp_path / "plain", {"a.py": "x"})
    elif kind == "no commit":
        root = repository(tmp_path / "empty", {"a.py": "x"})
    elif kind == "no folder":
        root = tmp_path / "missing"
    elif kind == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        (root / ".git" / "refs" / "heads" / "x").write_text("0" * 40)
        (root / ".git" / "HEAD").write_text("ref: refs/heads/x\n")
    assert git.commits_ago(root) == {}
    assert (git.tracked(root) is not None) == (kind in ("no commit", "broken"))


def test_what_git_says_is_bounded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "MAX_COMMITS", 2)
    assert git.commits_ago(root) == {"inside/new.py": 0, "inside/other.py": 1}
    monkeypatch.setattr(git, "MAX_CHANGED", 41 + len("inside/new.py") + 1 + 20)
    assert git.commits_ago(root) == {"inside/new.py": 0}
    monkeypatch.setattr(git, "MAX_LISTED", len("first.py") + 4)
    assert git.tracked(root) == ["first.py"]


def test_a_git_that_hangs_is_ended(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 600\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:/usr/bin:/bin")
    monkeypatch.setattr(git, "HISTORY_S", 0.2)
    assert git.commits_ago(root) == {}


@pytest.mark.parametrize("protocol", ["ext", "file"])
def test_a_partial_clone_fetches_nothing(protocol: str, root: Path, tmp_path: Path) -> None:
    """Objects that are missing would be fetched by a program that the repository's own settings name."""
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    with (root / ".git" / "config").open("a") as config:
        config.write("[core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = origin\n")
        config.write('[remote "origin"]\n\tpromisor = true\n\tpartialclonefilter = tree:0\n')
        config.write(f"\turl = {f'ext::{hook}' if protocol == 'ext' else root}\n\tuploadpack = {hook}\n")
        config.write(f'[protocol "{protocol}"]\n\tallow = always\n')
    tree = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD~1^{tree}"], check=True, capture_output=True, text=True
    ).stdout.strip()
    (root / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    plain = ["git", "-C", str(root), "-c", "safe.directory=*", "cat-file", "-t", tree]
    subprocess.run(plain, check=False, capture_output=True)
    assert (tmp_path / "ran").exists()  # such a repository does run it if it is let
    (tmp_path / "ran").unlink()
    git.commits_ago(root)
    assert not (tmp_path / "ran").exists()


def test_a_collection_knows_the_ages_of_its_files(root: Path, tmp_path: Path) -> None:
    write(root, {"inside/new.py": python_file(1), "old.py": python_file(2)})
    run(root, "add", "-A")
    run(root, "commit", "-qm", "longer")
    plain = write(tmp_path / "plain", {"a.py": python_file(3)})
    found = collect([root / "inside", plain])
    assert [file.key for file in found.files] == ["inside/new.py", "plain/a.py"]
    assert found.commits_ago() == {"inside/new.py": 0, "inside/other.py": 2}
