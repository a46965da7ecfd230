"""A part of a repository: some languages, some folders, or both. An adapter may be trained for that part alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from midfill.syntax import languages
from midfill.train.collect import Collection, SourceText
from midfill.triggers import matches
from midfill.types import MidfillError


@dataclass(frozen=True, slots=True)
class RepositoryPart:
    """``languages``: language ids, none: all. ``glob``: which paths, relative to their repository; "": all."""

    languages: tuple[str, ...] = ()
    glob: str = ""

    @classmethod
    def of(cls, named: str, folder: str) -> RepositoryPart:
        """Return the part that users name: languages in any spelling with commas between them, a folder or a glob."""
        found = tuple(languages.canonical(name.strip()) for name in named.split(",") if name.strip())
        if not folder or any(sign in folder for sign in "*?["):
            return cls(found, folder)
        inside = folder.replace("\\", "/").removeprefix("./").strip("/")
        return cls(found, f"{inside}/**" if inside else "")

    def __str__(self) -> str:
        return " in ".join(filter(None, (", ".join(self.languages), self.glob)))

    @property
    def settings(self) -> tuple[str, ...]:
        """The keys of the setting ``adapters`` that mean this part; the glob stands for languages in a folder."""
        return (self.glob,) if self.glob else self.languages

    def has(self, file: SourceText) -> bool:
        """Whether ``file`` belongs to it."""
        return (not self.languages or file.language in self.languages) and (
            not self.glob or matches(file.path, self.glob)
        )

    def limited(self, collection: Collection) -> Collection:
        """Return ``collection`` with the files of this part; the others are kept for context. Raises MidfillError if
        the part has none."""
        if not (self.languages or self.glob):
            return collection
        inside = [file for file in collection.files if self.has(file)]
        if not inside:
            raise MidfillError(
                f"no file is {self}", "check --language and --folder; paths are relative to the repository"
            )
        others = [file for file in collection.files if not self.has(file)]
        return dataclasses.replace(collection, files=inside, others=others)
