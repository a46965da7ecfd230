"""Archives cannot harm: no path leads outside, links and bombs are not followed, nothing is installed."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from scripts.embedded_adapter import archives
from scripts.embedded_adapter.archives import ArchiveError, plain_files

from tests.train.archives_made import MAKERS, Maker


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "name", ["../out.py", "a/../../out.py", "/out.py", "a\\..\\out.py", "C:/out.py", "a\x1b[2J.py"]
)
def test_paths_that_lead_outside_are_refused(tmp_path: Path, make: Maker, name: str) -> None:
    archive = make(tmp_path / "made", {"fine.py": b"1", name: b"2"})
    with pytest.raises(ArchiveError, match="leads outside"):
        list(plain_files(archive))


@pytest.mark.parametrize("make", MAKERS)
def test_links_and_large_files_are_left_out(tmp_path: Path, make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILE", 10)
    files = {"a/one.py": b"0123456789", "a/two.py": b"0123456789+", "link.py": b"->/etc/passwd", "b.py": b"b"}
    assert dict(plain_files(make(tmp_path / "made", files))) == {"a/one.py": b"0123456789", "b.py": b"b"}


@pytest.mark.parametrize(("kind", "target"), [
    (tarfile.LNKTYPE, "/etc/passwd"), (tarfile.FIFOTYPE, ""), (tarfile.CHRTYPE, ""), (tarfile.DIRTYPE, ""),
])  # fmt: skip
def test_what_is_no_file_is_left_out(tmp_path: Path, kind: bytes, target: str) -> None:
    with tarfile.open(tmp_path / "made.tar", "w") as made:
        info = tarfile.TarInfo("odd.py")
        info.type, info.linkname = kind, target
        made.addfile(info)
    assert list(plain_files(tmp_path / "made.tar")) == []


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("limit", "value"), [("MAX_MEMBERS", 2), ("MAX_TOTAL", 5)])
def test_bombs_are_refused(
    tmp_path: Path, make: Maker, limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make(tmp_path / "made", {"a.py": b"12", "b.py": b"34", "c.py": b"56"})
    assert len(list(plain_files(archive))) == 3
    monkeypatch.setattr(archives, limit, value)
    with pytest.raises(ArchiveError, match="more than"):
        list(plain_files(archive))


@pytest.mark.parametrize("make", MAKERS)
def test_damaged_archives_are_refused(tmp_path: Path, make: Maker) -> None:
    archive = make(tmp_path / "made", {"a.py": bytes(range(256)) * 200})
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(ArchiveError, match="cannot be read"):
        list(plain_files(archive))


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb")
def test_a_deb_is_read_and_not_installed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: shapes\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: shapes\n"
    )
    (root / "DEBIAN/postinst").write_text(f"#!/bin/sh\ntouch {tmp_path}/installed\n")
    (root / "DEBIAN/postinst").chmod(0o755)
    (root / "usr").mkdir()
    (root / "usr/area.go").write_text("package shapes\n")
    (root / "usr/link.go").symlink_to("/etc/passwd")
    subprocess.run(["dpkg-deb", "--build", root, tmp_path / "shapes.deb"], check=True, capture_output=True)
    assert dict(plain_files(tmp_path / "shapes.deb")) == {"usr/area.go": b"package shapes\n"}
    assert not (tmp_path / "installed").exists()
