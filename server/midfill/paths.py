"""Where midfill keeps its files on this machine. Every folder is private to the user (0700)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from midfill.types import MidfillError

# The path of a Unix socket may have 108 bytes with its closing zero on Linux, and 104 on macOS.
MAX_SOCKET_PATH = 100


def expanded(text: str) -> Path:
    """Return ``text`` as a path, with ``~`` and ``~user`` replaced if that user is known."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        return stand_in()


def _base(override: str, xdg: str, windows: str, fallback: str, *, written: bool = True) -> Path:
    """Return the folder that the environment names, else the usual one. If it cannot be created, return a stand-in."""
    if value := os.environ.get(override):
        return expanded(value)
    usual = os.environ.get(xdg) or (os.environ.get(windows) if sys.platform == "win32" else None)
    base = Path(usual) if usual else _home() / fallback
    return base / "midfill" if not written or _can_hold(base) else stand_in() / fallback / "midfill"


def _can_hold(base: Path) -> bool:
    """Whether our folder is in ``base``, or can be created there. Creates it, because permissions alone do not tell."""
    if (base / "midfill").is_dir():
        return True
    try:
        _make(base)
    except MidfillError:
        return False
    return os.access(base, os.W_OK | os.X_OK)


def stand_in() -> Path:
    """Return a folder for a user without a home, or with one that is not writable. Raises MidfillError."""
    if sys.platform == "win32":
        return Path(tempfile.gettempdir()) / "midfill"  # the user's own there
    return runtime_dir() / "home"


def config_file() -> Path:
    """Return the user's configuration file."""
    if value := os.environ.get("MIDFILL_CONFIG"):
        return expanded(value)
    return _base("MIDFILL_CONFIG_DIR", "XDG_CONFIG_HOME", "APPDATA", ".config", written=False) / "config.toml"


def cache_dir() -> Path:
    """Return the folder of prepared models: large, and prepared again if lost."""
    return _base("MIDFILL_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA", ".cache")


def data_dir() -> Path:
    """Return the folder of what takes work to make again: adapters."""
    return _base("MIDFILL_DATA_DIR", "XDG_DATA_HOME", "LOCALAPPDATA", ".local/share")


def state_dir() -> Path:
    """Return the folder of logs and records."""
    return _base("MIDFILL_STATE_DIR", "XDG_STATE_HOME", "LOCALAPPDATA", ".local/state")


def models_dir() -> Path:
    """Return the folder with one folder per prepared model."""
    return cache_dir() / "models"


def adapters_dir() -> Path:
    """Return the folder with one folder per registered adapter."""
    return data_dir() / "adapters"


def private_dir(path: Path) -> Path:
    """Create ``path`` and its missing parents with mode 0700, and return it. Raises MidfillError with the remedy.

    Folders of ours that an earlier version left open to others are closed. A folder that a variable names and that
    already existed is the user's: its mode stays, and the files in it are closed.
    """
    _make(path)
    for variable, root in _roots():
        if path.is_relative_to(root):
            ours = [folder for folder in (path, *path.parents) if folder.is_relative_to(root)]
            for folder in ours[:-1] if os.environ.get(variable) else ours:
                _close(folder)
    return path


def _make(path: Path) -> None:
    try:
        for folder in reversed((path, *path.parents)):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise MidfillError(
            f"cannot create {path}: {error.strerror or error}",
            "make it writable, or point MIDFILL_CACHE_DIR, MIDFILL_STATE_DIR and MIDFILL_RUNTIME_DIR elsewhere",
        ) from error


def _roots() -> tuple[tuple[str, Path], ...]:
    return (
        ("MIDFILL_CACHE_DIR", cache_dir()), ("MIDFILL_DATA_DIR", data_dir()), ("MIDFILL_STATE_DIR", state_dir()),
    )  # fmt: skip


def _close(folder: Path) -> None:
    """Set mode 0700 on a folder of ours; leave links and other users' folders alone."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        info = folder.lstat()
        if stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and info.st_mode & 0o077:
            folder.chmod(0o700)


def runtime_dir() -> Path:
    """Return the folder of sockets, locks and tokens, owned by this user with mode 0700, checked.

    Raises MidfillError if another user owns it: that user could redirect us to a foreign engine.
    """
    path = _runtime_candidate()
    _make(path)  # needs none of the other folders, which may have a stand-in here
    if sys.platform == "win32":
        return path
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid():
        raise MidfillError(
            f"{path} belongs to another user", "remove it or set MIDFILL_RUNTIME_DIR to a private folder"
        )
    if not info.st_mode & stat.S_ISVTX:  # a shared folder like /tmp must not be closed
        _close(path)
    if path.lstat().st_mode & 0o077:
        raise MidfillError(f"{path} is open to other users", f"run: chmod 700 {path}")
    return path


def only_we_write(path: Path) -> bool:
    """Whether ``path`` is a folder of this user to which only this user may write."""
    if sys.platform == "win32":
        return path.is_dir()
    info = path.lstat()
    ours = stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid()
    return ours and not info.st_mode & 0o022 and os.access(path, os.W_OK)


def _runtime_candidate() -> Path:
    if value := os.environ.get("MIDFILL_RUNTIME_DIR"):
        path = expanded(value)
    elif (value := os.environ.get("XDG_RUNTIME_DIR")) and Path(value).is_dir() and _can_hold(Path(value)):
        path = Path(value) / "midfill"
    elif sys.platform == "win32":
        return state_dir() / "run"
    else:
        path = Path(tempfile.gettempdir()) / f"midfill-{os.getuid()}"
    return fitting(path)


def fitting(path: Path) -> Path:
    """Return ``path``, or a short, stable stand-in below /tmp if a socket in it would have too long a name."""
    if len(os.fsencode(path / "engine-0123456789ab.sock")) > MAX_SOCKET_PATH and sys.platform != "win32":
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
        return Path("/tmp") / f"midfill-{os.getuid()}-{digest}"  # noqa: S108 - runtime_dir sees that it is ours, 0700
    return path
