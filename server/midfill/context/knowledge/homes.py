"""What is visible of the workspace when a type is looked up: files, what their imports mean, members found before."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from midfill.context.imports import Import, imports_of, resolve
from midfill.context.index import DefinitionRef, Index, SourceFile
from midfill.context.knowledge.types import GO, Type, split

MAX_BODY = 8000  # characters of a declaration
MAX_MEMBER = 400  # characters of one member


@dataclass(frozen=True, slots=True)
class Member:
    """``type``: of its value, or of what it returns if it ``is_called``; as it is written in ``home``."""

    type: str
    home: Home
    is_called: bool = False
    is_private: bool = False
    is_static: bool = False


@dataclass
class Members:
    """Members by name. ``is_complete``: there are no others."""

    found: dict[str, Member] = field(default_factory=dict)
    is_complete: bool = True

    def add(self, other: Members) -> None:
        """Add inherited members: own members come first."""
        for name, member in other.found.items():
            self.found.setdefault(name, member)
        self.is_complete &= other.is_complete


@dataclass(frozen=True, eq=False)
class Sight:
    """What is visible of the workspace.

    ``may_use``: whether a file, by its key, is of the project that asks. ``is_whole``: whether the index has every file
    of a file's folder. ``go_folder``: the folder, as the index names it, of a Go import path, seen from the file with a
    key; None if it is in another module.
    """

    index: Index
    may_use: Callable[[str], bool] = lambda _: True
    is_whole: Callable[[SourceFile], bool] = lambda _: True
    go_folder: Callable[[str, str], str | None] = lambda _key, _path: None
    homes: dict[str, Home] = field(default_factory=dict)  # by key: what was read is not read again
    members: dict[tuple[Type, str], Members | None] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Home:
    """A file in which a type's name is read: its imports determine what the name means."""

    sight: Sight
    key: str
    path: str
    family: str
    text: str

    @classmethod
    def of(cls, sight: Sight, file: SourceFile) -> Home:
        """Return a file of the index."""
        if file.key not in sight.homes:
            sight.homes[file.key] = cls(sight, file.key, file.path, file.family, file.text)
        return sight.homes[file.key]

    @property
    def folder(self) -> str:
        """Its folder; in Go that is its package."""
        return self.path.rpartition("/")[0]

    @cached_property
    def imported(self) -> dict[str, list[SourceFile]]:
        """The workspace's files for each name that it imports."""
        found: dict[str, list[SourceFile]] = {}
        for one in imports_of(self.text, self.path, self.family):
            files = [file for file in self._files(one) if self.sight.may_use(file.key)]
            for name in one.names or ((one.alias,) if one.alias else ()):
                if files:
                    found.setdefault(name, files)
        return found

    def _files(self, one: Import) -> list[SourceFile]:
        """Return the files that an import means; for Go only if its module says so, since other modules' folders have
        the same names."""
        if self.family != GO:
            return resolve(self.sight.index, one, self.path)
        folder = self.sight.go_folder(self.key, one.paths[0])
        return self.sight.index.in_folder(folder) if folder is not None else []

    def places(self, name: str, package: str = "") -> list[DefinitionRef]:
        """Return where ``name`` is defined, outside of any class, as this file would mean it."""
        places = [
            place for place in self.sight.index.defining(name)
            if not place.definition.owner and place.file.family == self.family and self.sight.may_use(place.file.key)
        ]  # fmt: skip
        if self.family == GO:
            if package:
                folders = {file.folder for file in self.imported.get(package, ())}
                return [place for place in places if place.file.folder in folders]
            return [place for place in places if place.file.folder == self.folder]
        own = [place for place in places if place.file.key == self.key]
        if own or (package or name) not in self.imported:
            return own
        files = {file.key for file in self.imported[package or name]}
        there = [place for place in places if place.file.key in files]
        # A file may re-export what another one defines: then it is that one, if there is no second one of its name.
        return there or (places if len(places) == 1 else [])


Find = Callable[[Type, Home], Members | None]  # members.members_of


def inherit(members: Members, kind: Type | None, home: Home, find: Find) -> None:
    """Add the members of a base; if the base is unknown, the members are not complete."""
    found = find(kind, home) if kind is not None else None
    members.add(found if found is not None else Members(is_complete=False))


def text_of(place: DefinitionRef) -> str:
    """Return a declaration as in its file, without comments."""
    one = place.definition
    return bare("\n".join(place.file.lines[one.line : one.end_line + 1])[:MAX_BODY])


def lines_of(body: str, ends: str) -> list[str]:
    """Return the members of a body as they are written, without comments."""
    return [line.strip() for line in split(bare(body), ends) if line.strip()]


def is_cut(place: DefinitionRef) -> bool:
    """Whether ``text_of`` a declaration is only a part of it."""
    one = place.definition
    return sum(len(line) + 1 for line in place.file.lines[one.line : one.end_line + 1]) > MAX_BODY


def bare(text: str) -> str:
    """Return the text without comments, whose apostrophes are not quotes."""
    return re.sub(r"(?m)/\*(?:[^*]|\*(?!/))*+(?:\*/)?|(?<![:\w\"'])//[^\n]*$", "", text) if "/" in text else text
