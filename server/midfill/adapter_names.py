"""What the settings ``adapter`` and ``adapters`` mean as text: one adapter or a sum of several, and which one answers
in which document. No adapter is looked up here."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from midfill.syntax import languages
from midfill.triggers import matches
from midfill.types import MidfillError, Snapshot

ADAPTER_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}"  # no leading dot: "." and ".." are folders
MAX_SUMMED = 4  # adapters in one sum
SUM_NAME = rf"{ADAPTER_NAME}(?:\+{ADAPTER_NAME}){{0,{MAX_SUMMED - 1}}}"  # the engine's name of an adapter or a sum
NO_ADAPTER = ("", "none")
RESERVED_ADAPTERS = (*NO_ADAPTER, "auto", "embedded")  # names that no adapter can have
# Matched at every keystroke, and a workspace's file may set them.
MAX_PARTS, MAX_PART_CHARS = 100, 200
_LANGUAGE = r"[\w.+#-]{1,40}"


def summands(setting: str) -> tuple[str, ...]:
    """Return the adapters that ``setting`` adds up: "team+mine" are two. Paths have " + " between them, since a path
    may hold a plus sign."""
    parts = tuple(part.strip() for part in setting.split("+"))
    if all(re.fullmatch(ADAPTER_NAME, part) for part in parts):
        return parts
    return tuple(part.strip() for part in setting.split(" + "))


def names_registered_only(setting: str) -> bool:
    """Whether ``setting`` holds no path."""
    return all(re.fullmatch(ADAPTER_NAME, part) for part in summands(setting))


def read_part(entry: str) -> tuple[str, str]:
    """Return the part of a workspace in "part=adapter", a language id or a glob, and its adapter. Raises
    MidfillError."""
    part, _, adapter = entry.partition("=")
    part, adapter = part.strip(), adapter.strip()
    fits = _is_glob(part) and len(part) <= MAX_PART_CHARS if _is_glob(part) else re.fullmatch(_LANGUAGE, part)
    if not fits or not 1 <= len(adapter) <= 1000:
        raise MidfillError(f"adapters: {entry[:60]!r}", 'write "language=adapter" or "folder/**=adapter"')
    if not _is_glob(part):
        return languages.canonical(part), adapter
    return part + "**" if part.endswith("/") else part, adapter


def _is_glob(part: str) -> bool:
    return any(sign in part for sign in "/*?[")


def chosen(default: str | None, of_part: Mapping[str, str | None], snapshot: Snapshot) -> str | None:
    """Return the adapter for a document, None for the base model: that of the last glob that matches its path, else its
    language's, else ``default``."""
    path = snapshot.name or snapshot.path
    for part in reversed(list(of_part)):
        if _is_glob(part) and _matches(path, part):
            return of_part[part]
    return of_part.get(snapshot.language, default)


_matches = functools.lru_cache(4096)(matches)  # asked several times for each key
