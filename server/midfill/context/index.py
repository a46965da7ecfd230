"""The known files, in memory: their text, their definitions, and where a name is defined or used.

Only the workspace's one thread changes and reads it.
"""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property

from midfill.context.definition import Definition
from midfill.context.kinds import family

MAX_FILES = 4000
MAX_CHARS = 24_000_000  # of all texts together
MAX_WORDS = 400_000  # distinct words that are known; a larger project has found most of its words by then
MAX_FILE_WORDS = 3000  # distinct words of one file that are indexed
MIN_WORD = 3

WORD = re.compile(r"[^\W\d]\w*")
_ACCESSED = re.compile(r"(?:\.|->|::)([^\W\d]\w*)")
_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class SourceFile:
    """One file of the workspace, or an open document."""

    key: str  # its identity: the real path, or the URI of a document that is not a file
    path: str  # the name that the model sees
    language: str
    text: str
    definitions: tuple[Definition, ...] = ()
    stamp: tuple[int, int] = (0, 0)  # of the file on disk

    @cached_property
    def lines(self) -> list[str]:
        """The text's lines, kept because they are needed again and again."""
        return self.text.split("\n")

    @cached_property
    def accesses(self) -> Mapping[str, Sequence[int]]:
        """Where each name stands behind a dot, kept because it is needed again and again."""
        found: defaultdict[str, array[int]] = defaultdict(lambda: array("I"))
        for one in _ACCESSED.finditer(self.text):
            found[one[1]].append(one.start(1))
        return dict(found)

    @property
    def folder(self) -> str:
        """The folder of its path."""
        return self.path.rpartition("/")[0]

    @property
    def family(self) -> str:
        """The family of the language: languages that see each other's definitions share one."""
        return family(self.language)


@dataclass(frozen=True, slots=True)
class DefinitionRef:
    """A definition in its file."""

    file: SourceFile
    at: int

    @property
    def definition(self) -> Definition:
        """The definition itself."""
        return self.file.definitions[self.at]


class Index:
    """Every known file by key, by file name, by the names it defines and the words it uses."""

    def __init__(self) -> None:
        self.files: dict[str, SourceFile] = {}
        self.n_chars = 0
        self.generation = 0  # changes with every change
        self._by_name: defaultdict[str, set[str]] = defaultdict(set)
        self._by_folder: defaultdict[str, set[str]] = defaultdict(set)
        self._defined: defaultdict[str, dict[str, list[int]]] = defaultdict(dict)
        self._used: defaultdict[str, set[str]] = defaultdict(set)

    def put(self, file: SourceFile) -> bool:
        """Add ``file``, replacing the one with its key; return False if there is no room."""
        self.remove(file.key)
        if len(self.files) >= MAX_FILES or self.n_chars + len(file.text) > MAX_CHARS:
            return False
        self.generation += 1
        self.files[file.key] = file
        self.n_chars += len(file.text)
        self._by_name[_file_name(file)].add(file.key)
        self._by_folder[file.folder].add(file.key)
        for at, definition in enumerate(file.definitions):
            if definition.kind != "impl":
                self._defined[definition.name].setdefault(file.key, []).append(at)
        for word in _words(file.text):
            if word in self._used or len(self._used) < MAX_WORDS:
                self._used[word].add(file.key)
        return True

    def remove(self, key: str) -> None:
        """Forget a file."""
        file = self.files.pop(key, None)
        if file is None:
            return
        self.generation += 1
        self.n_chars -= len(file.text)
        self._by_name[_file_name(file)].discard(key)
        self._by_folder[file.folder].discard(key)
        for definition in file.definitions:
            self._defined[definition.name].pop(key, None)
            if not self._defined[definition.name]:
                del self._defined[definition.name]
        for word in _words(file.text):
            if (users := self._used.get(word)) is not None:
                users.discard(key)
                if not users:
                    del self._used[word]

    def defining(self, name: str) -> list[DefinitionRef]:
        """Return where ``name`` is defined, in any language."""
        found = self._defined.get(name, {})
        return [DefinitionRef(self.files[key], at) for key, places in found.items() for at in places]

    def is_defined(self, name: str) -> bool:
        """Whether any file defines ``name``."""
        return name in self._defined

    def users(self, word: str) -> Set[str]:
        """Return the keys of the files in which ``word`` occurs."""
        return self._used.get(word, _NOBODY)

    def ending(self, path: str) -> list[SourceFile]:
        """Return the files whose path is ``path`` or ends with it."""
        keys = self._by_name.get(path.rpartition("/")[2], ())
        files = (self.files[key] for key in sorted(keys))
        return [file for file in files if file.path == path or file.path.endswith("/" + path)]

    def folders_ending(self, path: str) -> list[str]:
        """Return the folders with files that are ``path`` or end with it."""
        folders = (folder for folder, keys in self._by_folder.items() if keys)
        return sorted(folder for folder in folders if folder == path or folder.endswith("/" + path))

    def in_folder(self, folder: str) -> list[SourceFile]:
        """Return the files that are directly in ``folder``."""
        return [self.files[key] for key in sorted(self._by_folder.get(folder, ()))]


def _file_name(file: SourceFile) -> str:
    return file.path.rpartition("/")[2]


def _words(text: str) -> set[str]:
    words = {word for match in WORD.finditer(text) if len(word := match[0]) >= MIN_WORD}  # lets other threads run
    return words if len(words) <= MAX_FILE_WORDS else set(sorted(words)[:MAX_FILE_WORDS])
