"""The archives of a release do not show when and by whom they were packed."""

from __future__ import annotations

import io
import tarfile
import time
import zipfile

from scripts.release import settled_tar, settled_zip

FILES = {"p/b.py": b"b = 1\n", "p/a.py": b"a = 1\n"}


def tar(names: list[str], mtime: int, uid: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.uid, entry.uname, entry.mode = len(FILES[name]), mtime, uid, f"u{uid}", 0o600
            archive.addfile(entry, io.BytesIO(FILES[name]))
    return packed.getvalue()


def zipped(names: list[str], year: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), FILES[name])
    return packed.getvalue()


def test_a_tar_of_the_same_files() -> None:
    one, other = tar(["p/b.py", "p/a.py"], 5, 0), tar(["p/a.py", "p/b.py"], 1_700_000_000, 1000)
    assert one != other
    settled = settled_tar(one, 1_600_000_000)
    assert settled == settled_tar(other, 1_600_000_000)
    with tarfile.open(fileobj=io.BytesIO(settled)) as archive:
        assert archive.getnames() == ["p/a.py", "p/b.py"]
        for name, content in FILES.items():
            held = archive.extractfile(name)
            assert held is not None
            assert held.read() == content
        assert {entry.mtime for entry in archive} == {1_600_000_000}


def test_a_zip_of_the_same_files() -> None:
    one, other = zipped(["p/b.py", "p/a.py"], 1990), zipped(["p/a.py", "p/b.py"], 2020)
    assert one != other
    settled = settled_zip(one, 1_600_000_000)
    assert settled == settled_zip(other, 1_600_000_000)
    with zipfile.ZipFile(io.BytesIO(settled)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
        assert {entry.date_time for entry in archive.infolist()} == {time.gmtime(1_600_000_000)[:6]}
