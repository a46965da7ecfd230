"""The source files that an adapter may learn from: those git tracks, without generated files and secrets."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from midfill.context.secrets import is_denied, without_secrets
from midfill.context.walk import Folder, Found, printable
from midfill.syntax import languages
from midfill.train import git
from midfill.types import MidfillError

# A run of some hundred steps reads a few thousand holes, so no more than this is read of a larger collection.
MAX_FILES = 20_000
MAX_CHARS = 200_000_000
MIN_LINES, MIN_CHARS = 8, 200
MIN_LETTERS = 0.4  # of the characters that are not white space; tables of numbers have less
HELD_OUT_SHARE = 0.12  # of the files
MAX_HELD_OUT = 400

# Of the languages that midfill knows and has a grammar for: those that are data rather than written code, and the prose
# that is read all the same, because every repository has it.
NOT_READ = frozenset({"json", "jsonc", "xml", "asm"})
PROSE_READ = frozenset({"markdown"})
_LOCKS = frozenset({"Cargo.lock", "poetry.lock", "Pipfile", "pnpm-lock.yaml", "pubspec.lock"})
VENDORED = frozenset({
    "vendor", "vendored", "_vendor", "third_party", "third-party", "thirdparty", "node_modules", "bower_components",
    "external", "externals", "extern", "site-packages", "dist", "build", "target", "out", "__pycache__", "venv",
})  # fmt: skip
_MADE_NAME = re.compile(
    r".*(?:[._-](?:min|bundle|generated|g|pb|designer|freezed)\.\w+|_pb2(?:_grpc)?\.pyi?|\.pb\.(?:go|cc|h)|-lock\.\w+)",
    re.IGNORECASE,
)
_MADE = re.compile(
    r"^.{0,12}?(?:[#/*;%-]|<!--|\"\"\").{0,200}?"
    r"(?:@generated|generated (?:by|from|file|code)|auto-?generated|do not (?:edit|modify))",
    re.IGNORECASE | re.MULTILINE,
)
_LICENCE_NAME = re.compile(r"(?:licen[cs]e|copying|copyright|unlicense)(?:[-._].*)?", re.IGNORECASE)
# Phrases by which a licence text is recognised, the more demanding licences first.
_LICENCES = (
    ("AGPL-3.0", "gnu affero general public license"),
    ("LGPL", "gnu lesser general public license"),
    ("GPL", "gnu general public license"),
    ("MPL-2.0", "mozilla public license"),
    ("Apache-2.0", "apache license"),
    ("BSD", "redistribution and use in source and binary forms"),
    ("ISC", "permission to use, copy, modify, and/or distribute this software"),
    ("ISC", "permission to use, copy, modify, and distribute this software"),
    ("MIT", "permission is hereby granted, free of charge"),
    ("PSF-2.0", "python software foundation license"),
    ("Unlicense", "this is free and unencumbered software"),
    ("Zlib", "this software is provided 'as-is'"),
)


@dataclass(frozen=True, slots=True)
class SourceText:
    """A file's text with ``\\n`` line ends. ``path`` is relative to its project's folder."""

    project: str
    path: str
    language: str
    text: str

    @property
    def key(self) -> str:
        """The project and path, which together are unique."""
        return f"{self.project}/{self.path}"


@dataclass(slots=True)
class Collection:
    """Files to learn from, and what was left out and why."""

    files: list[SourceText] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    secrets: list[str] = field(default_factory=list)  # files with lines left out that seem to hold a key or a password
    n_secret_lines: int = 0  # number of such lines, with those around them
    licences: dict[str, str] = field(default_factory=dict)  # by project
    others: list[SourceText] = field(default_factory=list)  # files outside the part that is learned: only for context
    folders: dict[str, Path] = field(default_factory=dict)  # by project: its real path

    @property
    def n_chars(self) -> int:
        """The characters of all files."""
        return sum(len(file.text) for file in self.files)

    @property
    def languages(self) -> Counter[str]:
        """The characters of each language."""
        counted: Counter[str] = Counter()
        for file in self.files:
            counted[file.language] += len(file.text)
        return counted

    def commits_ago(self) -> dict[str, int]:
        """Return how many commits ago each file was changed last, by its key; files that git knows nothing about, or
        only old commits, are left out."""
        return {
            f"{project}/{printable(path)}": ago
            for project, folder in self.folders.items() for path, ago in git.commits_ago(folder).items()
        }  # fmt: skip

    @property
    def digest(self) -> str:
        """A sha256 over all names and texts: it changes as soon as one text differs."""
        found = hashlib.sha256()
        for file in self.files:
            found.update(f"{file.key}\0{len(file.text)}\0".encode("utf-8", "replace"))
            found.update(file.text.encode("utf-8", "replace"))
        return found.hexdigest()


@dataclass(frozen=True, slots=True)
class _PlausibleFile:
    """A file that may be learned from, judging by its path."""

    project: str
    folder: Folder
    found: Found

    @property
    def key(self) -> str:
        """The key of its SourceText."""
        return f"{self.project}/{self.found.path}"


def collect(roots: Sequence[Path]) -> Collection:
    """Return what may be learned from in ``roots``, each a project of its own. Raises MidfillError.

    Of more than MAX_FILES or MAX_CHARS, hashes of the paths select the same files each time; the rest is not read.
    """
    collection = Collection()
    candidates = [
        one for project, root in zip(_names(roots), roots, strict=True) for one in _of(project, root, collection)
    ]
    candidates.sort(key=lambda one: _hash(one.key))
    waiting, n_chars = iter(candidates), 0
    for one in waiting:
        if (file := _read(one, collection)) is not None:
            collection.files.append(file)
            n_chars += len(file.text)
        if len(collection.files) >= MAX_FILES or n_chars >= MAX_CHARS:
            break
    if more := sum(1 for _ in waiting):
        collection.left_out["more than is needed"] = more
    _drop_duplicates(collection)
    collection.files.sort(key=lambda file: file.key)
    collection.secrets.sort()
    return collection


def _names(roots: Sequence[Path]) -> list[str]:
    """Return a unique name for each project."""
    names: list[str] = []
    for root in roots:
        name = printable(root.resolve().name) or "project"
        names.append(name if name not in names else f"{name}-{len(names)}")
    return names


def _of(project: str, root: Path, collection: Collection) -> Iterator[_PlausibleFile]:
    try:
        folder = Folder(root, language_by_name)
    except OSError as error:
        raise MidfillError(f"{root} cannot be read: {error.strerror}", "name the folder of a repository") from error
    if not folder.root.is_dir():
        raise MidfillError(f"{root} is not a folder", "name the folder of a repository")
    if folder.is_too_wide:
        raise MidfillError(f"{root} is a home folder or contains one, not a project", "name the folder of a repository")
    collection.licences[project], collection.folders[project] = licence_of(folder.root), folder.root
    for found in _found(folder):
        if language_by_name(found.path):
            if reason := by_name(found.path):
                collection.left_out[reason] += 1
            else:
                yield _PlausibleFile(project, folder, found)


def _read(one: _PlausibleFile, collection: Collection) -> SourceText | None:
    """Return the text to learn from, or None and count the reason."""
    path, text = one.found.path, one.folder.read(one.found)
    language = language_of(path, text or "")
    if text is not None and not language:
        return None
    if text is None:
        collection.left_out["not text, too large or minified"] += 1
        return None
    if reason := by_text(text):
        collection.left_out[reason] += 1
        return None
    kept, n_lines = without_secrets(text, path)
    if n_lines:
        collection.secrets.append(one.key)
        collection.n_secret_lines += n_lines
        if reason := by_text(kept):
            collection.left_out[reason] += 1
            return None
    return SourceText(one.project, path, language, kept)


def _found(folder: Folder) -> Iterable[Found]:
    """Return the files that git tracks; without a git repository, those that git's ignore rules would leave."""
    tracked = git.tracked(folder.root)
    if tracked is None:
        return (found for found in folder.walk() if found is not None)
    return (Found(str(folder.root / path), printable(path), (0, 0)) for path in sorted(tracked))


def language_by_name(path: str) -> str:
    """Return the language of a file that may be learned from; "script" if only its first
    line can tell, "" for others."""
    name = path.rpartition("/")[2]
    found = languages.of_path(path)
    if not found:
        return "script" if "." not in name and not _LICENCE_NAME.fullmatch(name) else ""
    known = languages.of(found)
    is_read = known.grammar and found not in NOT_READ and not (known.prose and found not in PROSE_READ)
    return found if is_read and name not in _LOCKS else ""


def language_of(path: str, text: str) -> str:
    """As ``language_by_name``, but the ``#!`` line of a script decides; "" if it has none."""
    found = language_by_name(path)
    return languages.of_shebang(text[:200].partition("\n")[0]) if found == "script" else found


def by_name(path: str) -> str:
    """Return why a file is left out because of its path; "" if it is not."""
    *folders, name = path.lower().split("/")
    if is_denied(path):
        return "named like a secret"
    if any(folder in VENDORED for folder in folders):
        return "vendored or built"
    return "generated" if _MADE_NAME.fullmatch(name) else ""


def by_text(text: str) -> str:
    """Return why a file is left out because of its text; "" if it is not."""
    if len(text) < MIN_CHARS or text.count("\n") < MIN_LINES:
        return "too short"
    if _MADE.search(text[:2000]):
        return "generated"
    said = "".join(text[:20_000].split())
    return "data" if sum(map(str.isalpha, said)) < MIN_LETTERS * len(said) else ""


def licence_of(root: Path) -> str:
    """Return the licence that the licence file in ``root`` seems to be; "none found" without such a file."""
    found = []
    for file in sorted(root.iterdir()):
        if _LICENCE_NAME.fullmatch(file.name) and file.is_file() and not file.is_symlink():
            with file.open("rb") as stream:
                text = " ".join(stream.read(20_000).decode("utf-8", "replace").lower().split())
            found.append(next((name for name, words in _LICENCES if words in text), "unknown"))
    return " and ".join(dict.fromkeys(found)) or "none found"


def _drop_duplicates(collection: Collection) -> None:
    """Drop files that are nearly the same as one of a project that was named earlier."""
    from midfill.train.duplicates import near_duplicates  # numpy: missing without the extra `train`

    order = list(collection.licences)
    collection.files.sort(key=lambda file: (order.index(file.project), file.path))
    doubled = near_duplicates([file.text for file in collection.files])
    collection.left_out["nearly the same as another"] += len(doubled)
    collection.files = [file for at, file in enumerate(collection.files) if at not in doubled]
    collection.left_out += Counter()  # drops zeros


def split(files: Sequence[SourceText]) -> tuple[list[SourceText], list[SourceText]]:
    """Return (to train on, held out), by a hash of the path: a file stays on its side when others come and go."""
    ordered = sorted(files, key=lambda file: _hash(f"held-out:{file.key}"))
    n = min(MAX_HELD_OUT, round(len(files) * HELD_OUT_SHARE)) if len(files) >= 8 else min(1, len(files) - 1)
    held_out = {file.key for file in ordered[: max(0, n)]}
    train = [file for file in files if file.key not in held_out]
    return train, [file for file in files if file.key in held_out]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()
