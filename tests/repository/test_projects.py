"""The list of projects: ten a group, half for development, none that is trained on."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from scripts.embedded_adapter.archives import ArchiveError
from scripts.embedded_adapter.sources import read_sources
from scripts.eval_languages.fetch import LIMIT, read_project, write
from scripts.eval_languages.projects import SamplePackage, find_faults, read_projects

from midfill.eval.languages.groups import GROUPS


def test_ten_a_group_in_two_halves() -> None:
    projects = read_projects()
    counts = Counter((project.group, project.half) for project in projects)
    assert counts == {(group, half): 5 for group in GROUPS for half in ("dev", "test")}
    assert len({project.source.name for project in projects}) == len(projects)


def test_none_is_trained_on() -> None:
    trained = {name.lower() for source in read_sources() for name in (source.name, source.project)}
    assert not trained & {project.source.name.lower() for project in read_projects()}


def made(tmp_path: Path, files: dict[str, str]) -> Path:
    archive = tmp_path / "package.tar"
    with tarfile.open(archive, "w") as opened:
        for path, text in files.items():
            info = tarfile.TarInfo(f"package/{path}")
            info.size = len(text.encode())
            opened.addfile(info, io.BytesIO(text.encode()))
    return archive


def project(group: str = "shell", index: str = "npm") -> SamplePackage:
    found = next(one for one in read_projects() if one.group == group)
    return SamplePackage(
        group, "test", found.source.__class__(index, "shop", "1", "0" * 64, group, "", "held-out", "shop")
    )


SHELL = "#!/bin/sh\n" + "".join(f"echo counting the files of folder number {n}\n" for n in range(20))


def test_what_is_read(tmp_path: Path) -> None:
    files = {
        "run.sh": SHELL, "bin/run": SHELL + "ls\n", "Dockerfile": SHELL.replace("echo", "RUN echo"),
        "a.py": SHELL, ".hidden/run.sh": SHELL, "vendor/run.sh": SHELL, "node_modules/a/run.sh": SHELL,
        **{f"many/{n}.sh": SHELL * 20 + str(n) for n in range(20)},
    }  # fmt: skip
    texts = read_project(project(), [made(tmp_path, files)])
    assert {"run.sh", "bin/run", "Dockerfile"} <= set(texts)
    assert not {"a.py", ".hidden/run.sh", "vendor/run.sh", "node_modules/a/run.sh"} & set(texts)
    assert sum(len(text) for path, text in texts.items() if path != "Dockerfile") <= LIMIT
    with pytest.raises(ArchiveError):
        read_project(project("rust"), [made(tmp_path, files)])


def test_each_text_is_written_once(tmp_path: Path) -> None:
    write(tmp_path, [(project(), {"a.sh": SHELL, "b.sh": SHELL + "\n"}), (project(), {"c.sh": SHELL})])
    assert [path.name for path in tmp_path.glob("test/shell/shop/*")] == ["a.sh"]
    assert (tmp_path / "dev").is_dir()


def test_faults() -> None:
    one = project()
    assert find_faults([one]) == []
    assert len(find_faults([one, one])) == 1
    assert len(find_faults([SamplePackage("cobol", "train", one.source)])) == 2
