"""Which project a file outside of the workspace's folders belongs to."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from pathlib import Path
from urllib.parse import unquote

# Files and folders at the top of a project.
MARKS = (".git", ".hg", "pyproject.toml", "setup.py", "package.json", "Cargo.toml", "go.mod", "pom.xml", "build.gradle",
         "CMakeLists.txt", "Makefile", "composer.json", "Gemfile")  # fmt: skip
MAX_UP = 12


def project_of(file: Path) -> Path:
    """Return the folder of the project that contains ``file`` (absolute); the file's own folder if nothing marks
    one."""
    for folder in list(file.parents)[:MAX_UP]:
        if any((folder / mark).exists() for mark in MARKS):
            return folder
    return file.parent


_MODULE = re.compile(rb"(?m)^module[ \t]+\"?([^\s\"]{1,300})")
MAX_GO_MOD = 4096  # bytes that are read of it: the module is in its first lines


def go_module(folder: str) -> tuple[str, str]:
    """Return the nearest folder with a ``go.mod`` from ``folder`` (a real path) upwards, and its module; ("", "") for
    none."""
    for at in [Path(folder), *Path(folder).parents][:MAX_UP]:
        match = _MODULE.search(_head(at / "go.mod"))
        if match is not None:
            return str(at), match[1].decode("utf-8", "replace")
    return "", ""


def _head(file: Path) -> bytes:
    """Return the beginning of a plain file; b"" if there is none."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        handle = os.open(file, flags)
    except (OSError, ValueError):
        return b""
    with os.fdopen(handle, "rb") as stream:
        try:
            return stream.read(MAX_GO_MOD) if stat.S_ISREG(os.fstat(handle).st_mode) else b""
        except OSError:
            return b""


def is_too_wide(folder: Path) -> bool:
    """Whether ``folder`` (a real path) is a file system's root, the folder of all homes or a home, and so not a
    project."""
    try:
        home = Path.home().resolve()
    except (RuntimeError, OSError):
        home = folder
    wide = (home, Path(tempfile.gettempdir()).resolve(), *home.parents)
    return folder == Path(folder.anchor) or folder in wide


def outside(file: Path) -> str:
    """Return a name for the project of a file (a real path) outside of the workspace. Reads names on the disk."""
    folder = project_of(file)
    return str(file.parent if is_too_wide(folder) else folder)


def path_of(uri: str) -> str:
    """Return the path in a URI; "" if it has none, like a document that was never saved."""
    scheme, _, rest = uri.partition(":")
    if scheme == "untitled":
        return ""
    if rest.startswith("//"):
        rest = "/" + rest[2:].partition("/")[2]
    path = unquote(rest.partition("#")[0].partition("?")[0], errors="replace")
    return path if path.startswith("/") else ""
