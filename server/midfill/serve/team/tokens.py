"""The tokens of a team: one per person, of which only the digest is kept."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from midfill import paths
from midfill.types import MidfillError

NAME = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"
PREFIX = "mf_"  # so that scanners of repositories recognise one
MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Credential:
    """One person's token. ``digest`` is the sha256 of 256 random bits, which needs no salt and no slow hash."""

    name: str
    digest: str
    created: float


def default_file() -> Path:
    """Return the file beside the user's configuration."""
    return paths.config_file().parent / "tokens.json"


def add(name: str, file: Path) -> str:
    """Create a token for ``name`` and return it; it is not stored. Raises MidfillError."""
    if not re.fullmatch(NAME, name):
        raise MidfillError(f"{name!r} is not a valid name", "letters, digits, dot, dash, underscore, @, at most 64")
    with _locked(file):
        entries = read(file)
        if any(entry.name == name for entry in entries):
            raise MidfillError(f"{name} already has a token", f"to revoke it: midfill token revoke {name}")
        token = PREFIX + secrets.token_urlsafe(32)
        _write(file, [*entries, Credential(name, digest_of(token), time.time())])
    return token


def revoke(name: str, file: Path) -> None:
    """Revoke the token of ``name``. Raises MidfillError."""
    with _locked(file):
        entries = read(file)
        left = [entry for entry in entries if entry.name != name]
        if len(left) == len(entries):
            raise MidfillError(f"{name} has no token", "run: midfill token list")
        _write(file, left)


def read(file: Path) -> list[Credential]:
    """Return the entries of all tokens; none without a file. Raises MidfillError if it is damaged or open to others."""
    try:
        info = file.stat()
        if os.name == "posix" and info.st_mode & 0o077:
            raise MidfillError(f"{file} is open to others", f"run: chmod 600 {file}")
        content = json.loads(file.read_bytes()[:MAX_BYTES])
        entries = [Credential(str(one["name"]), str(one["digest"]), float(one["created"])) for one in content]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MidfillError(f"{file} is damaged", "fix the file, or remove it and add the tokens again") from error
    return entries


def digest_of(token: str) -> str:
    """Return the digest of a token, which is what is kept."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


class Tokens:
    """The tokens of ``file``, read again when it changes; a revoked one is refused at once."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._entries: list[Credential] = []
        self._refresh()

    @property
    def any(self) -> bool:
        """Whether there is a token at all."""
        self._refresh()
        return bool(self._entries)

    def name_of(self, token: str) -> str | None:
        """Return the person that a token belongs to, or None."""
        self._refresh()
        digest = digest_of(token)
        found = None
        for entry in self._entries:  # compares with all of them, whichever matches
            if hmac.compare_digest(entry.digest, digest):
                found = entry.name
        return found

    def _refresh(self) -> None:
        try:
            info = self._file.stat()
            seen = (info.st_ino, info.st_size, info.st_mtime_ns)
        except OSError:
            seen = None
        if seen != self._seen or seen is None:
            self._entries = read(self._file) if seen is not None else []
            self._seen = seen


def _locked(file: Path) -> FileLock:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return FileLock(file.with_suffix(".lock"))


def _write(file: Path, entries: list[Credential]) -> None:
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            json.dump([asdict(entry) for entry in entries], out, indent=1)
        temporary.replace(file)
    except OSError as error:
        raise MidfillError(f"cannot write {file}: {error.strerror}", "nothing was changed") from error
