"""Where things are kept: private, short enough for a socket, and never another user's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from midfill import paths
from midfill.types import MidfillError


def test_the_runtime_folder_is_made_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_RUNTIME_DIR", str(tmp_path / "r"))
    assert stat.S_IMODE(paths.runtime_dir().lstat().st_mode) == 0o700
    (tmp_path / "r").chmod(0o755)
    assert stat.S_IMODE(paths.runtime_dir().lstat().st_mode) == 0o700


def test_a_link_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("MIDFILL_RUNTIME_DIR", str(tmp_path / "link"))
    with pytest.raises(MidfillError, match="belongs to another user"):
        paths.runtime_dir()


def test_another_users_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_RUNTIME_DIR", str(tmp_path / "r"))
    (tmp_path / "r").mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: (tmp_path / "r").stat().st_uid + 1)
    with pytest.raises(MidfillError, match="belongs to another user") as caught:
        paths.runtime_dir()
    assert "MIDFILL_RUNTIME_DIR" in caught.value.remedy


@pytest.mark.parametrize("name", ["x" * 90, "é" * 45, "a b" * 30])
def test_a_path_too_long_for_a_socket_gets_a_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("MIDFILL_RUNTIME_DIR", str(tmp_path / name))
    folder = paths.runtime_dir()
    try:
        assert len(os.fsencode(folder / "engine-0123456789ab.sock")) <= paths.MAX_SOCKET_PATH
        assert folder == paths.runtime_dir()
    finally:
        folder.rmdir()


def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIDFILL_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert paths.cache_dir() == tmp_path / ".cache" / "midfill"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert paths.cache_dir() == tmp_path / "xdg" / "midfill"
    monkeypatch.setenv("MIDFILL_CACHE_DIR", "~/own folder")
    assert paths.models_dir() == tmp_path / "own folder" / "models"
    monkeypatch.setenv("MIDFILL_CACHE_DIR", "~no-such-user/x")
    assert paths.cache_dir() == Path("~no-such-user/x")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MidfillError, match="cannot create") as caught:
        paths.private_dir(tmp_path / "file" / "x")
    assert "MIDFILL_CACHE_DIR" in caught.value.remedy
