"""sources.toml: which packages, in which version, under which licence, for which half."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath

from .licences import ALLOWED
from .wanted import SUFFIXES

SOURCES = Path(__file__).with_name("sources.toml")
INDEXES = ("pypi", "npm", "debian", "debian-source")
USES = ("train", "held-out")
MAX_LIMIT_KB = 400  # so that no project dominates
_NAME = re.compile(r"(?:@[a-z0-9][a-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._+-]*")
_VERSION = re.compile(r"(?:[0-9]+:)?[0-9][A-Za-z0-9.+~-]*")


@dataclass(frozen=True, slots=True)
class Source:
    """One package, one archive of it."""

    index: str
    name: str
    version: str  # for Debian's source packages upstream's version, without Debian's revision
    sha256: str
    language: str
    licence: str
    use: str
    project: str  # packages of one project share it
    folders: tuple[str, ...] = ()  # only these, below the archive's own top folder; all if empty
    without: tuple[str, ...] = ()  # without these: code that is also in a project we measure on
    limit_kb: int = MAX_LIMIT_KB

    @property
    def label(self) -> str:
        """The name of its folder: a scoped name without its "/"."""
        return self.name.removeprefix("@").replace("/", "-")


def read_sources(path: Path = SOURCES) -> list[Source]:
    """Return all entries, checked."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["source"]
    known = {field.name for field in fields(Source)}
    sources = []
    for entry in entries:
        if unknown := entry.keys() - known:
            raise ValueError(f"{entry.get('name')}: unknown keys {sorted(unknown)}")
        paths = {key: tuple(entry.pop(key, ())) for key in ("folders", "without")}
        sources.append(Source(**{"project": entry["name"], **entry, **paths}))
    if faults := find_faults(sources):
        raise ValueError("sources.toml: " + "; ".join(faults))
    return sources


def find_faults(sources: list[Source]) -> list[str]:
    """Return what is wrong with the list, in words."""
    faults = [f"{source.name}: {fault}" for source in sources for fault in _faults_of(source)]
    halves: dict[str, set[str]] = {}
    for source in sources:
        halves.setdefault(source.project.lower(), set()).add(source.use)
    faults += [f"{project} is in both halves" for project, uses in halves.items() if len(uses) > 1]
    places = [(source.use, source.language, source.label.lower()) for source in sources]
    faults += [f"{'/'.join(place)} is listed twice" for place in sorted(set(places)) if places.count(place) > 1]
    return faults


def _faults_of(source: Source) -> list[str]:
    checks = {
        "no such index": source.index in INDEXES,
        "not a package's name": _NAME.fullmatch(source.name) is not None,
        "not an exact version": _VERSION.fullmatch(source.version) is not None,
        "not a SHA-256": re.fullmatch(r"[0-9a-f]{64}", source.sha256) is not None,
        "no such language": source.language in SUFFIXES,
        "licence not allowed": source.licence in ALLOWED,
        "use is train or held-out": source.use in USES,
        "limit_kb out of range": 0 < source.limit_kb <= MAX_LIMIT_KB,
        "a path leads outside": not any(
            PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts
            for path in source.folders + source.without
        ),
    }
    return [fault for fault, is_sound in checks.items() if not is_sound]
