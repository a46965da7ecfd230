"""A part of a repository: which files an adapter for some languages or a folder is trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from midfill.train.collect import Collection, SourceText, split
from midfill.train.job import Job
from midfill.train.part import RepositoryPart
from midfill.train.worker import gather
from midfill.types import MidfillError
from tests.train.made import python_file, write

GO = "package main\n\n" + "".join(f"func add{n}(a int, b int) int {{\n\treturn a + b + {n}\n}}\n\n" for n in range(9))


@pytest.mark.parametrize(
    ("language", "folder", "part"),
    [
        ("", "", RepositoryPart()),
        ("golang, py", "", RepositoryPart(("go", "python"))),
        ("", "services/api/", RepositoryPart((), "services/api/**")),
        ("go", "./services", RepositoryPart(("go",), "services/**")),
        ("", "services/*/src/**", RepositoryPart((), "services/*/src/**")),
        ("", "./", RepositoryPart()),
    ],
)
def test_named_by_users(language: str, folder: str, part: RepositoryPart) -> None:
    assert RepositoryPart.of(language, folder) == part


@pytest.mark.parametrize(
    ("part", "path", "language", "has"),
    [
        (RepositoryPart(), "a.py", "python", True),
        (RepositoryPart(("go",)), "a.py", "python", False),
        (RepositoryPart((), "services/**"), "services/x/a.py", "python", True),
        (RepositoryPart((), "services/**"), "other/services/a.py", "python", False),
        (RepositoryPart(("go",), "services/**"), "services/a.py", "python", False),
        (RepositoryPart(("go",), "services/**"), "services/a.go", "go", True),
    ],
)
def test_which_files(part: RepositoryPart, path: str, language: str, has: bool) -> None:
    assert part.has(SourceText("repo", path, language, "")) is has


def test_files_stay_on_their_side_and_the_others_are_kept_for_context(tmp_path: Path) -> None:
    in_go = {f"go/main_{n}.go": GO + f"// {n}\n" * n for n in (1, 40)}
    root = write(tmp_path / "repo", {f"py/module_{n}.py": python_file(n) for n in range(20)} | in_go)
    job = Job("x", (str(root),), (), str(tmp_path), "m")
    whole, train, held_out = gather(job)
    limited, part, part_held_out = gather(Job("x", (str(root),), (), str(tmp_path), "m", languages=("python",)))
    assert {file.path for file in part_held_out} == {f.path for f in held_out if f.language == "python"}
    assert {file.path for file in part} == {f.path for f in train if f.language == "python"}
    assert {file.language for file in limited.others} == {"go"}
    assert limited.digest != whole.digest
    assert split(whole.files) == (train, held_out)
    with pytest.raises(MidfillError, match="no file is rust in services") as caught:
        RepositoryPart(("rust",), "services/**").limited(whole)
    assert "--language" in caught.value.remedy


def test_no_part_is_the_whole() -> None:
    collection = Collection([SourceText("repo", "a.py", "python", "x")])
    assert RepositoryPart().limited(collection) is collection
