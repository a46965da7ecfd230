"""The content of an archive: only plain files, each with a path that stays inside and a bounded size.

Nothing is unpacked to the disk here, and nothing from a package is run. An archive that tries to write outside its
folder is refused as a whole; links, devices and files that are too large are left out.
"""

from __future__ import annotations

import stat
import subprocess
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MAX_FILE = 1 << 18  # bytes
MAX_MEMBERS = 100_000
MAX_TOTAL = 1 << 30  # bytes, as the archive declares them


class ArchiveError(Exception):
    """An archive that must not be trusted."""


def plain_files(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield path ("/" separated) and content of each plain file of a zip (a wheel), a tar or a .deb."""
    try:
        if archive.suffix == ".deb":
            yield from _of_deb(archive)
        elif zipfile.is_zipfile(archive):
            yield from _of_zip(archive)
        else:
            with tarfile.open(archive, "r:*") as opened:
                yield from _of_tar(opened)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise ArchiveError(f"{archive.name} cannot be read: {error}") from error


def safe_path(path: str) -> str:
    """Return ``path`` in its shortest form; refuse one that would lead out of the folder it is put into."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path or not path.isprintable():
        raise ArchiveError(f"a path that leads outside: {path!r}")
    return str(pure)


class _Budget:
    """Limits what an archive may hold, so that a small one cannot fill the disk or take all day."""

    def __init__(self) -> None:
        self.n_members = 0
        self.total = 0

    def take(self, size: int) -> None:
        self.n_members += 1
        self.total += size
        if self.n_members > MAX_MEMBERS or self.total > MAX_TOTAL:
            raise ArchiveError(f"more than {MAX_MEMBERS} files or {MAX_TOTAL} bytes")


def _of_zip(archive: Path) -> Iterator[tuple[str, bytes]]:
    budget = _Budget()
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            path = safe_path(info.filename)
            budget.take(info.file_size)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if info.is_dir() or kind not in (0, stat.S_IFREG) or info.file_size > MAX_FILE:
                continue
            with opened.open(info) as member:
                content = member.read(MAX_FILE + 1)  # the declared size may be false
            if len(content) <= MAX_FILE:
                yield path, content


def _of_tar(opened: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    budget = _Budget()
    for info in opened:
        path = safe_path(info.name)
        budget.take(info.size)
        if not info.isreg() or info.size > MAX_FILE:
            continue
        member = opened.extractfile(info)
        if member is not None:
            yield path, member.read()


def _of_deb(archive: Path) -> Iterator[tuple[str, bytes]]:
    """Yield its files as a stream, so that a bomb ends with the budget; its scripts are in another member, which is not
    read."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as unpacker:  # noqa: S603, S607
        try:
            with tarfile.open(fileobj=unpacker.stdout, mode="r|") as opened:
                yield from _of_tar(opened)
        finally:
            unpacker.kill()
