"""Which project a file belongs to that lies in no folder of the workspace."""

from __future__ import annotations

import tempfile
from pathlib import Path
from urllib.parse import unquote

# What lies at the top of a project.
MARKS = (".git", ".hg", "pyproject.toml", "setup.py", "package.json", "Cargo.toml", "go.mod", "pom.xml", "build.gradle",
         "CMakeLists.txt", "Makefile", "composer.json", "Gemfile")  # fmt: skip
MAX_UP = 12


def project_of(file: Path) -> Path:
    """The folder of the project that ``file`` (absolute) lies in; without a sign of one its own folder."""
    for folder in list(file.parents)[:MAX_UP]:
        if any((folder / mark).exists() for mark in MARKS):
            return folder
    return file.parent


def is_too_wide(folder: Path) -> bool:
    """Whether ``folder`` (a real path) is a file system's root, everybody's home or somebody's: not a project."""
    try:
        home = Path.home().resolve()
    except (RuntimeError, OSError):
        home = folder
    wide = (home, Path(tempfile.gettempdir()).resolve(), *home.parents)
    return folder == Path(folder.anchor) or folder in wide


def outside(file: Path) -> str:
    """A name for the project of a file (a real path) outside of the workspace. Reads names on the disk."""
    folder = project_of(file)
    return str(file.parent if is_too_wide(folder) else folder)


def path_of(uri: str) -> str:
    """The path in a URI; "" for one that has none, as of a document that was never saved."""
    scheme, _, rest = uri.partition(":")
    if scheme == "untitled":
        return ""
    if rest.startswith("//"):
        rest = "/" + rest[2:].partition("/")[2]
    path = unquote(rest.partition("#")[0].partition("?")[0], errors="replace")
    return path if path.startswith("/") else ""
