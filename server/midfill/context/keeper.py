"""What the workspace's thread works on: folders, documents, the index, and choices. Used by that thread alone."""

from __future__ import annotations

import os
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from midfill.context.choose import Choice, choose
from midfill.context.focus import Focus
from midfill.context.index import Index, SourceFile
from midfill.context.secrets import is_denied
from midfill.context.sources import SOURCES
from midfill.context.view import Edit, View
from midfill.context.walk import Folder, Found, is_handwritten, printable
from midfill.syntax import languages
from midfill.types import Snapshot

RESCAN_S = 300.0  # a folder is walked again when somebody works in it so long after
MAX_FOLDERS = 20
MAX_WALK_S = 120.0  # of work, for one folder
MAX_EDITS = 8
MAX_VISITED = 12
NEAR_LINES = 4  # edits as near as this are one
MAX_EDIT_LINES = 40
NEWS_S = 3.0  # what was learned about other files changes a choice after so long


@dataclass(frozen=True, slots=True)
class Document:
    """An open document. ``where`` is its absolute path, None for what is no file."""

    uri: str
    where: Path | None
    path: str  # what the model sees
    language: str
    text: str  # with "\\n" line ends


class Keeper:
    """The index, and what it is made from."""

    def __init__(self, off: Iterable[str] = ()) -> None:
        self.index = Index()
        self._folders: dict[Path, Folder] = {}
        self._walks: deque[tuple[Folder, Iterator[Found | None]]] = deque()
        self._seen: dict[Path, set[str]] = {}  # files that the present walk of a folder came by
        self._walked: dict[Path, float] = {}  # when a folder was walked last, and how long that took
        self._spent: dict[Path, float] = {}
        self._keys: dict[str, str] = {}  # of open documents, by URI
        self._visited: OrderedDict[str, None] = OrderedDict()
        self._edits: deque[Edit] = deque(maxlen=MAX_EDITS)
        self._chosen_at: dict[str, tuple[int, float]] = {}  # generation and time of the last choice for a document
        self.set_off(off)

    def set_off(self, off: Iterable[str]) -> None:
        """Sources that are not asked."""
        self._sources = {name: source for name, source in SOURCES.items() if name not in set(off)}

    # ---- folders -----------------------------------------------------------------------------------------------------

    def set_folders(self, paths: Iterable[Path]) -> None:
        """Walk the folders that are new; forget the files of those that are not there any more."""
        wanted = tuple(paths)[:MAX_FOLDERS]
        for path in [path for path in self._folders if path not in wanted]:
            folder = self._folders.pop(path)
            self._walks = deque(walk for walk in self._walks if walk[0] is not folder)
            for key in [key for key in self.index.files if folder.relative(key) is not None and not self._is_open(key)]:
                self.index.remove(key)
        for path in wanted:
            if path not in self._folders:
                try:
                    folder = Folder(path)
                except (OSError, RuntimeError, ValueError):
                    continue  # gone, or a circle of links
                self._folders[path] = folder
                self._begin(path, folder)

    @property
    def has_steps(self) -> bool:
        """Whether a folder is being walked."""
        return bool(self._walks)

    def step(self) -> None:
        """Read one more file of the folder that is being walked."""
        folder, walk = self._walks[0]
        began = time.monotonic()
        found = next(walk, False)
        if isinstance(found, Found):
            self._read(folder, found)
        spent = self._spent[folder.root] = self._spent.get(folder.root, 0.0) + time.monotonic() - began
        if found is False or spent > MAX_WALK_S:
            self._walks.popleft()
            if found is False:
                self._drop_missing(folder)

    def _begin(self, path: Path, folder: Folder) -> None:
        self._walked[path] = time.monotonic()
        if not folder.is_too_wide:
            self._seen[folder.root], self._spent[folder.root] = set(), 0.0
            self._walks.append((folder, folder.walk()))

    def _read(self, folder: Folder, found: Found) -> None:
        self._seen[folder.root].add(found.key)
        known = self.index.files.get(found.key)
        if self._is_open(found.key) or (known is not None and known.stamp == found.stamp):
            return
        text = folder.read(found)
        if text is None:
            self.index.remove(found.key)
        else:
            self.index.put(SourceFile.read(found.key, found.path, languages.indexed(found.path), text, found.stamp))

    def _drop_missing(self, folder: Folder) -> None:
        """Forget what was there at the last walk and is not any more."""
        seen = self._seen.pop(folder.root, set())
        for key in list(self.index.files):
            if key not in seen and not self._is_open(key) and folder.relative(key) is not None:
                self.index.remove(key)

    def _walk_again(self) -> None:
        now = time.monotonic()
        for path, folder in self._folders.items():
            if now - self._walked[path] > RESCAN_S and not any(walk[0] is folder for walk in self._walks):
                folder.forget_rules()
                self._begin(path, folder)

    # ---- documents ---------------------------------------------------------------------------------------------------

    def take(self, document: Document) -> None:
        """Read a document as it is now."""
        key = self._key(document.uri, document.where)
        self._visit(document.uri)
        if not self._may_show(key, document):
            self.index.remove(key)
            return
        old = self.index.files.get(key)
        if old is not None and old.text == document.text:
            return
        if old is not None and (edit := edit_between(key, old.text, document.text)) is not None:
            self._note(edit)
        file = SourceFile.read(key, printable(document.path), document.language, document.text)
        while not self.index.put(file):  # what is open matters more than what is not
            if (other := next((other for other in self.index.files if not self._is_open(other)), None)) is None:
                break
            self.index.remove(other)

    def forget(self, uri: str) -> None:
        """A document was closed."""
        key = self._keys.pop(uri, uri)
        self._chosen_at.pop(uri, None)
        self.index.remove(key)
        for folder in self._folders.values():
            path = folder.relative(key)
            if path is not None and languages.indexed(path) and folder.admits(key):
                found = Found(key, printable(path), (0, 0))
                if (text := folder.read(found)) is not None:
                    self.index.put(SourceFile.read(key, found.path, languages.indexed(path), text))
                return

    def _key(self, uri: str, where: Path | None) -> str:
        if uri not in self._keys:
            self._keys[uri] = os.path.realpath(where) if where is not None else uri
        return self._keys[uri]

    def _is_open(self, key: str) -> bool:
        return key in self._keys.values()

    def _may_show(self, key: str, document: Document) -> bool:
        """Whether other files' prompts may hold parts of it: denied and ignored files stay among themselves."""
        if not is_handwritten(document.text):
            return False
        folders = [folder for folder in self._folders.values() if folder.relative(key) is not None]
        return all(folder.admits(key) for folder in folders) if folders else not is_denied(Path(key).as_posix())

    def _visit(self, uri: str) -> None:
        self._visited[uri] = None
        self._visited.move_to_end(uri)
        while len(self._visited) > MAX_VISITED:
            self._visited.popitem(last=False)

    def _note(self, edit: Edit) -> None:
        """Keep an edit; one that goes on with the last is part of it."""
        last = self._edits[0] if self._edits else edit
        if last.key == edit.key and edit.start <= last.end + NEAR_LINES and last.start <= edit.end + NEAR_LINES:
            start, end = min(edit.start, last.start), max(edit.end, last.end)
            edit = Edit(edit.key, start, min(end, start + MAX_EDIT_LINES))
            if self._edits:
                self._edits.popleft()
        self._edits.appendleft(edit)

    # ---- choices -----------------------------------------------------------------------------------------------------

    def is_news(self, uri: str) -> bool:
        """Whether something was learned since the last choice for a document, some time ago. Called by any thread."""
        generation, at = self._chosen_at.get(uri, (-1, 0.0))
        return generation != self.index.generation and time.monotonic() - at > NEWS_S

    def choose(self, snapshot: Snapshot, budget: int, before: Choice | None) -> Choice:
        """The snippets for the place of ``snapshot``."""
        self._walk_again()
        self._visit(snapshot.uri)
        key = self._keys.get(snapshot.uri, snapshot.uri)
        visited = tuple(self._keys.get(uri, uri) for uri in reversed(self._visited))
        view = View(self.index, visited, tuple(self._edits))
        focus = Focus(key, snapshot.path, snapshot.language, snapshot.text, snapshot.cursor)
        self._chosen_at[snapshot.uri] = (self.index.generation, time.monotonic())
        return choose(view, focus, budget, before, self._sources)


def edit_between(key: str, old: str, new: str) -> Edit | None:
    """The lines of ``new`` that are not those of ``old``; None where lines only went."""
    before, after = old.split("\n"), new.split("\n")
    n = min(len(before), len(after))
    start = next((i for i in range(n) if before[i] != after[i]), n)
    n_same = next((i for i in range(n - start) if before[-1 - i] != after[-1 - i]), n - start)
    end = len(after) - n_same
    return Edit(key, start, end) if end > start else None
