"""Where things are kept: private, short enough for a socket, and never another user's."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from midfill import paths
from midfill.client import spawn
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


def test_the_engine_starts_without_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "new"))
    assert spawn.log_file() == str(tmp_path / "new" / "log" / "engine.log")
    monkeypatch.setenv("MIDFILL_STATE_DIR", "/proc/x")
    assert spawn.log_file() is None


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MidfillError, match="cannot create") as caught:
        paths.private_dir(tmp_path / "file" / "x")
    assert "MIDFILL_CACHE_DIR" in caught.value.remedy


def _mode(folder: Path) -> int:
    return stat.S_IMODE(folder.lstat().st_mode)


@pytest.fixture
def loose() -> Iterator[None]:
    """The usual umask, under which a new folder is open to others."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_every_folder_that_is_made_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loose: None) -> None:
    monkeypatch.delenv("MIDFILL_STATE_DIR", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a" / "b"))
    paths.private_dir(paths.state_dir() / "log" / "deep")
    made = [tmp_path / "a", *(tmp_path / "a").rglob("*")]
    assert len(made) == 5
    assert {_mode(folder) for folder in made} == {0o700}


@pytest.mark.parametrize(("named", "root_mode"), [(False, 0o700), (True, 0o755)])
def test_folders_left_open_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loose: None, named: bool, root_mode: int
) -> None:
    """Those of ours; the one that the user named is theirs, and so is a link's target."""
    root = tmp_path / "midfill"
    monkeypatch.delenv("MIDFILL_DATA_DIR", raising=False)
    monkeypatch.setenv("MIDFILL_DATA_DIR" if named else "XDG_DATA_HOME", str(root if named else tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (root / "adapters").mkdir(parents=True)
    (root / "training").symlink_to(tmp_path / "elsewhere")
    paths.private_dir(paths.adapters_dir() / "x")
    paths.private_dir(root / "training")
    assert _mode(root) == root_mode
    assert {_mode(folder) for folder in (root / "adapters", root / "adapters" / "x")} == {0o700}
    assert _mode(tmp_path / "elsewhere") == _mode(tmp_path / "elsewhere") | 0o055


def test_a_shared_folder_is_neither_trusted_nor_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    monkeypatch.setenv("MIDFILL_RUNTIME_DIR", str(tmp_path / "tmp"))
    with pytest.raises(MidfillError, match="open to other users"):
        paths.runtime_dir()
    assert _mode(tmp_path / "tmp") == 0o1777
