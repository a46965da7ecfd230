"""Names out of URIs, without a look at the disk."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DRIVE = re.compile(r"/([A-Za-z]):")


def display_path(uri: str, folders: Iterable[str]) -> str:
    """The path inside its workspace folder, else the file's name."""
    path = _path(uri)
    best = ""
    for folder in folders:
        root = _path(folder).rstrip("/") + "/"
        if path.startswith(root) and len(root) > len(best):
            best = root
    name = path[len(best) :] if best else path.rstrip("/").rpartition("/")[2]
    return _CONTROL.sub("_", name)[:1000]


def folder_path(uri: str) -> Path | None:
    """The directory that a ``file:`` URI names."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    path = unquote(parts.path)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not path or "\0" in path:
        return None
    return Path(path[1:] if _DRIVE.match(path) else path)


def _path(uri: str) -> str:
    scheme, _, rest = uri.partition(":")
    if rest.startswith("//"):
        rest = "/" + rest[2:].partition("/")[2]
    path = unquote(rest.partition("#")[0].partition("?")[0], errors="replace")
    if scheme == "file" and (drive := _DRIVE.match(path)):
        path = f"/{drive[1].lower()}:{path[3:]}"
    return path
