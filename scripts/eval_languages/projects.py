"""Read projects.toml: the packages with their version, group of languages, and half (dev or test)."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from midfill.eval.languages.groups import GROUPS
from scripts.embedded_adapter.sources import INDEXES, Source

PROJECTS = Path(__file__).with_name("projects.toml")
HALVES = ("dev", "test")
_KEYS = frozenset({"group", "half", "index", "name", "version", "sha256", "folders"})


@dataclass(frozen=True, slots=True)
class SamplePackage:
    """One package of a group. ``source`` is the request to the indexes; its licence does not matter here."""

    group: str
    half: str
    source: Source


def read_projects(path: Path = PROJECTS) -> list[SamplePackage]:
    """Return all entries, checked. Raises ValueError."""
    projects = [_project(entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["project"]]
    if faults := find_faults(projects):
        raise ValueError(f"{path.name}: " + "; ".join(faults))
    return projects


def _project(entry: dict[str, object]) -> SamplePackage:
    if unknown := entry.keys() - _KEYS:
        raise ValueError(f"{entry.get('name')}: unknown keys {sorted(unknown)}")
    folders, name = entry.get("folders", []), str(entry["name"])
    source = Source(
        index=str(entry["index"]),
        name=name,
        version=str(entry["version"]),
        sha256=str(entry["sha256"]),
        language=str(entry["group"]),
        licence="",
        use="held-out",
        project=name,
        folders=tuple(folders) if isinstance(folders, list) else (),
    )
    return SamplePackage(str(entry["group"]), str(entry["half"]), source)


def find_faults(projects: list[SamplePackage]) -> list[str]:
    """Return what is wrong with the list, in words."""
    faults = []
    for project in projects:
        source = project.source
        checks = {
            "no such index": source.index in INDEXES,
            "not a SHA-256": re.fullmatch(r"[0-9a-f]{64}", source.sha256) is not None,
            "no such group": project.group in GROUPS,
            "half is dev or test": project.half in HALVES,
        }
        faults += [f"{source.name}: {fault}" for fault, is_sound in checks.items() if not is_sound]
    names = [(project.group, project.source.label) for project in projects]
    faults += [f"{name} is listed twice in {group}" for group, name in set(names) if names.count((group, name)) > 1]
    return faults
