"""The data of the workspace's thread: folders, documents, the index, and choices. Only that thread uses it.

It says which text to parse next (``step``, ``take``) and receives the result (``parsed``).
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from midfill.context.choose import Choice, choose
from midfill.context.definitions import Resolved, with_keys
from midfill.context.focus import Focus
from midfill.context.index import Index, SourceFile
from midfill.context.kinds import KINDS
from midfill.context.knowledge.declared import lists_at
from midfill.context.knowledge.functions import signatures_at
from midfill.context.knowledge.homes import Sight
from midfill.context.knowledge.names import KnownNames
from midfill.context.knowledge.places import receiver_before
from midfill.context.parser import Parsed, ParseJob
from midfill.context.project import go_module, outside, path_of
from midfill.context.secrets import is_denied
from midfill.context.sources import SOURCES
from midfill.context.view import NO_PROJECT, Edit, View
from midfill.context.walk import MAX_FOLDER, Folder, Found, is_handwritten, printable
from midfill.syntax import languages
from midfill.syntax.calls import Signature
from midfill.types import Snapshot

log = logging.getLogger(__name__)

RESCAN_S = 300.0  # a folder in which the user works is walked again after this long
MAX_FOLDERS = 20
MAX_WALK_S = 120.0  # of work, for one folder
MAX_EDITS = 8
MAX_VISITED = 12
NEAR_LINES = 4  # edits this close to each other count as one
MAX_EDIT_LINES = 40
MAX_ENDED = 20  # after this many texts that end the child, the rest of a folder is left for the next walk
MAX_SKIPPED = 5000  # files that are remembered as too much to parse
SLOW_S = 60.0  # a document that was too much to parse has no definitions for this long
NEWS_S = 3.0  # what was learned about other files changes a choice after this long


@dataclass(frozen=True, slots=True)
class OpenDocument:
    """An open document. ``where`` is its absolute path, None if it is not a file."""

    uri: str
    where: Path | None
    path: str  # what the model sees
    language: str
    text: str  # with "\\n" line ends


@dataclass(frozen=True, slots=True)
class _PendingParse:
    """A text that is being parsed: the file without its definitions, and where it comes from."""

    file: SourceFile
    uri: str = ""  # of an open document
    folder: Folder | None = None  # of a file on disk


class Keeper:
    """The index, and what it is made from."""

    def __init__(self, off: Iterable[str] = ()) -> None:
        self.index = Index()
        self._asked: _PendingParse | None = None
        self._again: deque[tuple[Folder, Found]] = deque()  # files of closed documents
        self._skipped: OrderedDict[str, tuple[int, int]] = OrderedDict()  # files too much to parse, with their stamps
        self._slow_until: dict[str, float] = {}  # the same of open documents, by URI
        self._n_ended: dict[Path, int] = {}  # how many of them the current walk of a folder has met
        self._folders: dict[Path, Folder] = {}
        self._walks: deque[tuple[Folder, Iterator[Found | None]]] = deque()
        self._seen: dict[Path, set[str]] = {}  # files that the current walk of a folder has seen
        self._walked: dict[Path, float] = {}  # when a folder was walked last, and how long that took
        self._spent: dict[Path, float] = {}
        self._keys: dict[str, str] = {}  # of open documents, by URI
        self._projects: dict[str, str] = {}  # by key, of open documents outside of the folders
        self._visited: OrderedDict[str, None] = OrderedDict()
        self._edits: deque[Edit] = deque(maxlen=MAX_EDITS)
        self._chosen_at: dict[str, tuple[int, float]] = {}  # generation and time of the last choice for a document
        self.disable(off)

    def disable(self, off: Iterable[str]) -> None:
        """Set the sources that are switched off."""
        self._sources = {name: source for name, source in SOURCES.items() if name not in set(off)}

    # ---- folders -----------------------------------------------------------------------------------------------------

    def set_folders(self, paths: Iterable[Path]) -> None:
        """Walk the new folders; forget the files of folders that are gone."""
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
                    continue  # gone, or a cycle of links
                self._folders[path] = folder
                self._begin(path, folder)
        self._projects = {key: name for uri, key in self._keys.items() if (name := self._project(uri, key))}

    @property
    def has_steps(self) -> bool:
        """Whether there are files to read."""
        return bool(self._walks or self._again)

    def step(self) -> ParseJob | None:
        """Read one more file of the folder that is being walked; return what to parse of it."""
        if self._again:
            folder, known = self._again.popleft()
            return self._read(folder, known) if folder in self._folders.values() else None
        folder, walk = self._walks[0]
        began = time.monotonic()
        found = next(walk, False)
        job = None
        if isinstance(found, Found):
            self._seen[folder.root].add(found.key)
            job = self._read(folder, found)
        self._spend(folder, time.monotonic() - began)
        if found is False:
            self._leave(folder)
            self._drop_missing(folder)
        return job

    def parsed(self, parsed: Parsed) -> None:
        """Take the result of the last job."""
        asked, self._asked = self._asked, None
        if asked is None or asked.file.key != parsed.job.key:
            return
        definitions = parsed.definitions
        if asked.folder is not None:
            self._spend(asked.folder, parsed.took_s)
            if definitions is None:
                self._skip(asked.folder, asked.file)
            elif asked.folder in self._folders.values() and not self._is_open(asked.file.key):
                self.index.put(dataclasses.replace(asked.file, definitions=definitions))
        elif asked.uri in self._keys:
            if definitions is None:
                self._slow_until[asked.uri] = time.monotonic() + SLOW_S
            self._put(dataclasses.replace(asked.file, definitions=definitions or ()))

    def _ask(self, asked: _PendingParse) -> ParseJob | None:
        """Return what to parse of a file; None if it cannot be parsed, and is taken without definitions."""
        if asked.file.language in KINDS:
            self._asked = asked
            return ParseJob(asked.file.key, asked.file.language, asked.file.text)
        if asked.uri:
            self._put(asked.file)
        else:
            self.index.put(asked.file)
        return None

    def _skip(self, folder: Folder, file: SourceFile) -> None:
        """Skip a file that is too much to parse: it is not read again until it changes, and after some such files the
        walk of the folder ends."""
        self.index.remove(file.key)
        self._skipped[file.key] = file.stamp
        while len(self._skipped) > MAX_SKIPPED:
            self._skipped.popitem(last=False)
        n = self._n_ended[folder.root] = self._n_ended.get(folder.root, 0) + 1
        if n == MAX_ENDED:
            log.warning("context: %d files of a folder are too much to parse; the rest of it is read later", n)
            self._leave(folder)

    def _spend(self, folder: Folder, seconds: float) -> None:
        spent = self._spent[folder.root] = self._spent.get(folder.root, 0.0) + seconds
        if spent > MAX_WALK_S:
            self._leave(folder)

    def _leave(self, folder: Folder) -> None:
        """End the walk of ``folder``."""
        self._walks = deque(walk for walk in self._walks if walk[0] is not folder)

    def _begin(self, path: Path, folder: Folder) -> None:
        self._walked[path] = time.monotonic()
        if not folder.is_too_wide:
            self._seen[folder.root], self._spent[folder.root], self._n_ended[folder.root] = set(), 0.0, 0
            self._walks.append((folder, folder.walk()))

    def _read(self, folder: Folder, found: Found) -> ParseJob | None:
        known = self.index.files.get(found.key)
        if self._is_open(found.key) or (known is not None and known.stamp == found.stamp):
            return None
        text = folder.read(found) if self._skipped.get(found.key) != found.stamp else None
        if text is None:
            self.index.remove(found.key)
            return None
        file = SourceFile(found.key, found.path, languages.indexed(found.path), text, stamp=found.stamp)
        return self._ask(_PendingParse(file, folder=folder))

    def _drop_missing(self, folder: Folder) -> None:
        """Forget what was there at the last walk and is gone now."""
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

    def take(self, document: OpenDocument) -> ParseJob | None:
        """Take the current text of a document; return what to parse of it."""
        key = self._key(document.uri, document.where)
        self._visit(document.uri)
        if not self._may_show(key, document):
            self.index.remove(key)
            return None
        old = self.index.files.get(key)
        if old is not None and old.text == document.text:
            return None
        if old is not None and (edit := edit_between(key, old.text, document.text)) is not None:
            self._note(edit)
        file = SourceFile(key, printable(document.path), document.language, document.text)
        if time.monotonic() < self._slow_until.get(document.uri, 0.0):
            self._put(file)
            return None
        return self._ask(_PendingParse(file, uri=document.uri))

    def _put(self, file: SourceFile) -> None:
        """Take an open document; open documents matter more than others."""
        while not self.index.put(file):
            if (other := next((other for other in self.index.files if not self._is_open(other)), None)) is None:
                break
            self.index.remove(other)

    def forget(self, uri: str) -> None:
        """Forget a document that the client closed."""
        key = self._keys.pop(uri, uri)
        self._chosen_at.pop(uri, None)
        self._slow_until.pop(uri, None)
        if self._is_open(key):  # open under another URI
            return
        self._projects.pop(key, None)
        self.index.remove(key)
        for folder in self._folders.values():
            if (found := folder.found(key)) is not None:
                self._again.append((folder, found))
                return

    def _key(self, uri: str, where: Path | None) -> str:
        if uri not in self._keys:
            key = self._keys[uri] = _real(where) if where is not None else uri
            if project := self._project(uri, key):
                self._projects[key] = project
        return self._keys[uri]

    def _project(self, uri: str, key: str) -> str:
        """Return the project of a file outside the folders; "" for files of the workspace."""
        path = path_of(uri)
        if not path:
            return NO_PROJECT
        if any(folder.relative(at) is not None for folder in self._folders.values() for at in (key, path)):
            return ""
        file = key if key != uri else _real(Path(path)) if uri.startswith("file:") else ""
        if not file:
            return uri.rpartition("/")[0]
        project = outside(Path(file))
        return "" if any(folder.root.is_relative_to(project) for folder in self._folders.values()) else project

    def _is_open(self, key: str) -> bool:
        return key in self._keys.values()

    def _may_show(self, key: str, document: OpenDocument) -> bool:
        """Whether prompts of other files may hold parts of it: secret and ignored files never do."""
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
        """Keep an edit; one that continues the last edit becomes part of it."""
        last = self._edits[0] if self._edits else edit
        if last.key == edit.key and edit.start <= last.end + NEAR_LINES and last.start <= edit.end + NEAR_LINES:
            start, end = min(edit.start, last.start), max(edit.end, last.end)
            edit = Edit(edit.key, start, min(end, start + MAX_EDIT_LINES))
            if self._edits:
                self._edits.popleft()
        self._edits.appendleft(edit)

    # ---- choices -----------------------------------------------------------------------------------------------------

    def is_news(self, uri: str) -> bool:
        """Whether something was learned since the last choice for a document, some time ago. Any thread may call it."""
        generation, at = self._chosen_at.get(uri, (-1, 0.0))
        return generation != self.index.generation and time.monotonic() - at > NEWS_S

    def declared(self, snapshot: Snapshot) -> tuple[dict[str, KnownNames], dict[str, Signature]]:
        """Return the members that the workspace's files declare for what is used at ``snapshot``, by receiver; and what
        their functions take, by callee."""
        view, focus = self.seen_at(snapshot)
        sight = Sight(
            self.index, lambda key: view.may_show(key, focus), lru_cache(self._is_whole), lru_cache(self._go_folder)
        )  # fmt: skip
        return lists_at(sight, focus, receiver_before(snapshot)), signatures_at(sight, focus)

    def _is_whole(self, file: SourceFile) -> bool:
        """Whether the index has every file with this one's ending in its folder: none too large, ignored
        or left out."""
        folder, ending = os.path.dirname(file.key), os.path.splitext(file.key)[1]  # noqa: PTH120, PTH122
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in islice(entries, MAX_FOLDER)]
        except (OSError, ValueError):
            return False  # a document that is not a file
        keys = (os.path.join(folder, name) for name in names if name.endswith(ending))  # noqa: PTH118
        return len(names) < MAX_FOLDER and all(key in self.index.files for key in keys)

    def _go_folder(self, key: str, import_path: str) -> str | None:
        """Return the folder of an import path, as the index names it, if it is in the same module as the
        file ``key``."""
        root, module = go_module(os.path.dirname(path_of(key) or key))  # noqa: PTH120
        inside = import_path.removeprefix(module).lstrip("/")
        if not module or not f"{import_path}/".startswith(f"{module}/"):
            return None
        where = os.path.join(root, *inside.split("/")) if inside else root  # noqa: PTH118
        paths = (folder.relative(where) for folder in self._folders.values())
        return next((path.removeprefix(".") for path in paths if path is not None), None)

    def uses(self, source: str) -> bool:
        """Whether a source of snippets is switched on. Any thread may call it."""
        return source in self._sources

    def choose(
        self, snapshot: Snapshot, budget: int, before: Choice | None, resolved: Sequence[Resolved] = ()
    ) -> Choice:
        """Return the snippets for the place of ``snapshot``; ``resolved``: what names near it are."""
        self._walk_again()
        self._visit(snapshot.uri)
        view, focus = self.seen_at(snapshot)
        self._chosen_at[snapshot.uri] = (self.index.generation, time.monotonic())
        view = dataclasses.replace(view, resolved=with_keys(resolved, self._key_of))
        return choose(view, focus, budget, before, self._sources)

    def _key_of(self, path: str) -> str:
        """Return the index's key of a file by its path in a folder that may be a link. Does not touch the disk."""
        for given, folder in self._folders.items():
            if Path(path).is_relative_to(given):
                return str(folder.root / Path(path).relative_to(given))
        return path

    def seen_at(self, snapshot: Snapshot) -> tuple[View, Focus]:
        """Return what the sources see at a cursor."""
        key = self._keys.get(snapshot.uri, snapshot.uri)
        projects = self._projects
        if snapshot.uri not in self._keys and (project := self._project(snapshot.uri, key)):
            projects = {**projects, key: project}
        visited = tuple(self._keys.get(uri, uri) for uri in reversed(self._visited))
        view = View(self.index, visited, tuple(self._edits), projects)
        return view, Focus(key, snapshot.path, snapshot.language, snapshot.text, snapshot.cursor)


def _real(path: Path) -> str:
    """Return the real path; a path that no file system can hold stays as it is."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)


def edit_between(key: str, old: str, new: str) -> Edit | None:
    """Return the lines of ``new`` that ``old`` does not have; None if lines were only removed."""
    before, after = old.split("\n"), new.split("\n")
    n = min(len(before), len(after))
    start = next((i for i in range(n) if before[i] != after[i]), n)
    n_same = next((i for i in range(n - start) if before[-1 - i] != after[-1 - i]), n - start)
    end = len(after) - n_same
    return Edit(key, start, end) if end > start else None
