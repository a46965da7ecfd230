"""Where things are kept: private, short enough for a socket, and never another user's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from midfill import paths
from midfill.serve import daemon
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


@pytest.mark.parametrize("home", ["/proc/x", "a file", "read-only"])
def test_a_home_that_cannot_be_written_has_a_stand_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    (tmp_path / "a file").touch()
    (tmp_path / "read-only").mkdir(mode=0o500)
    if home == "read-only" and os.access(tmp_path / home, os.W_OK):
        pytest.skip("root may write anywhere")
    for name in ("CACHE", "STATE", "DATA", "CONFIG"):
        monkeypatch.delenv(f"MIDFILL_{name}_DIR", raising=False)
        monkeypatch.delenv(f"XDG_{name}_HOME", raising=False)
    monkeypatch.setenv("MIDFILL_RUNTIME_DIR", str(tmp_path / "r"))
    monkeypatch.setenv("HOME", str(tmp_path / home))
    own = tmp_path / "r" / "home"
    assert (paths.cache_dir(), paths.data_dir()) == (own / ".cache" / "midfill", own / ".local/share" / "midfill")
    assert stat.S_IMODE((tmp_path / "r").lstat().st_mode) == 0o700
    paths.private_dir(paths.state_dir() / "log")
    assert paths.config_file() == tmp_path / home / ".config" / "midfill" / "config.toml"  # only read: none is there
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/x")
    assert paths.state_dir() == own / ".local/state" / "midfill"


def test_a_home_that_is_missing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIDFILL_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "new"))
    assert paths.cache_dir() == tmp_path / "new" / ".cache" / "midfill"


def test_a_read_only_folder_that_holds_ours_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache" / "midfill").mkdir(parents=True)
    (tmp_path / "cache").chmod(0o500)
    monkeypatch.delenv("MIDFILL_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert paths.cache_dir() == tmp_path / "cache" / "midfill"
    (tmp_path / "cache").chmod(0o700)


def test_the_engine_starts_without_a_log(tmp_path: Path) -> None:
    with daemon._log_file(tmp_path / "new" / "engine.log") as log:
        log.write(b"said")
    assert (tmp_path / "new" / "engine.log").read_bytes() == b"said"
    with daemon._log_file(Path("/proc/x/log/engine.log")) as log:
        assert log.name == os.devnull


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MidfillError, match="cannot create") as caught:
        paths.private_dir(tmp_path / "file" / "x")
    assert "MIDFILL_CACHE_DIR" in caught.value.remedy
