"""Workspaces made of a dict: path to text. ``‸`` is the cursor."""

from __future__ import annotations

from pathlib import Path

from midfill.context.focus import Focus
from midfill.context.index import Index
from midfill.context.outline import source_file
from midfill.context.sources import SOURCES
from midfill.context.view import Edit, Found, Pick, View
from midfill.syntax import languages
from midfill.types import Snapshot


def index_of(files: dict[str, str]) -> Index:
    index = Index()
    for path, text in files.items():
        assert index.put(source_file(path, path, languages.indexed(path), text))
    return index


def focus_at(path: str, buffer: str) -> Focus:
    return Focus(path, path, languages.indexed(path), buffer.replace("‸", ""), buffer.index("‸"))


def view_of(files: dict[str, str], visited: tuple[str, ...] = (), edits: tuple[Edit, ...] = ()) -> View:
    return View(index_of(files), visited, edits)


def found_by(source: str, view: View, focus: Focus) -> list[Found]:
    """What one source finds, the best first."""
    return sorted(SOURCES[source](view, focus), key=lambda found: -found.score)


def names_of(found: list[Found]) -> list[str]:
    """The definitions, each once."""
    return list(dict.fromkeys(one.file.definitions[one.at].name for one in found if isinstance(one, Pick)))


def write(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


def snapshot_at(root: Path, path: str, buffer: str) -> Snapshot:
    uri = (root / path).as_uri()
    return Snapshot(uri, 1, languages.indexed(path), buffer.replace("‸", ""), buffer.index("‸"), path=path)
