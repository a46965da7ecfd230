"""Names from URIs, without access to the disk."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from midfill.syntax import languages

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# Schemes of texts that are not files, though some have a path: drafts, input boxes, consoles.
_NO_FILES = frozenset({
    "untitled", "inmemory", "output", "vscode-scm", "debug", "comment", "mock", "buffer", "search-editor",
    "walkthrough", "vscode-interactive-input", "vscode-terminal", "vscode-chat-input", "chatsessioninput", "term",
})  # fmt: skip
_DRIVE = re.compile(r"/([A-Za-z]):")


def display_path(uri: str, folders: Iterable[str]) -> str:
    """Return the path inside its workspace folder, else the file's name."""
    path = _path(uri)
    best = ""
    for folder in folders:
        root = _path(folder).rstrip("/") + "/"
        if path.startswith(root) and len(root) > len(best):
            best = root
    name = path[len(best) :] if best else path.rstrip("/").rpartition("/")[2]
    return _CONTROL.sub("_", name)[:1000]


def file_path(uri: str, folders: Iterable[str]) -> str:
    """Return ``display_path`` of a file; "" for a text that is not a file, unless its name says a language."""
    name = display_path(uri, folders)
    scheme = _SCHEME.match(uri)
    is_file = scheme is None or (uri[scheme.end() :].startswith("/") and scheme[0][:-1].lower() not in _NO_FILES)
    return name if is_file or languages.of_path(name) else ""


def folder_path(uri: str) -> Path | None:
    """Return the directory that a ``file:`` URI names."""
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
