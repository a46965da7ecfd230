"""Download the projects that ``midfill eval languages`` measures on: ``python -m scripts.eval_languages.fetch DIR``.

Writes DIR/dev/<group>/<package>/… and DIR/test/<group>/<package>/…, and keeps the archives in DIR/cache. The same
projects.toml always gives the same files. See README.md.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path, PurePosixPath

from midfill.eval.languages.groups import GROUPS, language_of
from midfill.eval.repository import SKIPPED
from scripts.embedded_adapter.archives import ArchiveError, plain_files
from scripts.embedded_adapter.indexes import Cache, DownloadError
from scripts.embedded_adapter.wanted import choose, fingerprint, is_wanted_text

from .projects import HALVES, PROJECTS, SamplePackage, read_projects

LIMIT = 120_000  # characters of one language of one project
# Not the project's own code, or code that a person would not type.
_FOLDERS = SKIPPED | {"debian", "locale", "locales", "i18n", "lang", "langs", "third_party", "migrations", "fixtures"}


def main(arguments: list[str] | None = None) -> int:
    """Fetch, choose, write; return 1 if a package failed."""
    parser = argparse.ArgumentParser(prog="fetch", description="Fetches the projects of midfill eval languages.")
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument("--projects", type=Path, default=PROJECTS, help="list of projects (default: projects.toml)")
    parser.add_argument("--cache", type=Path, help="folder for the archives (default: DIR/cache)")
    parser.add_argument(
        "--allow-newer", action="store_true", help="take Debian's current version without checking its hash"
    )
    options = parser.parse_args(arguments)
    cache = Cache(options.cache or options.dir / "cache", allow_newer=options.allow_newer)
    projects, failures = read_projects(options.projects), 0
    texts: list[tuple[SamplePackage, dict[str, str]]] = []
    for project in projects:
        try:
            texts.append((project, read_project(project, cache.archives(project.source))))
        except (ArchiveError, DownloadError) as error:
            failures += 1
            print(f"error: {project.source.name}: {error}", file=sys.stderr)
    if failures:
        print(f"{failures} of {len(projects)} packages failed; nothing was written.", file=sys.stderr)
        return 1
    write(options.dir, texts)
    return 0


def read_project(project: SamplePackage, archives: list[Path]) -> dict[str, str]:
    """Return the texts by path of one package in the languages of its group, bounded. Raises ArchiveError."""
    found: dict[str, dict[str, str]] = {}
    for path, content in plain_files(archives[0]):
        inner = _inner(path, project)
        if not _is_wanted_path(inner, project.source.folders):
            continue
        text = content.decode("utf-8", errors="replace").replace("\r\n", "\n")
        language = language_of(inner, text)
        if language in GROUPS[project.group] and "\ufffd" not in text and is_wanted_text(text):
            found.setdefault(language, {})[inner] = text
    chosen = {path: texts[path] for texts in found.values() for path in choose(texts, LIMIT, lambda _text: False)}
    if not chosen:
        raise ArchiveError("no file of it is wanted")
    return chosen


def _inner(path: str, project: SamplePackage) -> str:
    """Return the path below the archive's top folder, if it has one that only repeats the package's name."""
    parts = PurePosixPath(path).parts
    return "/".join(parts if project.source.index in ("pypi", "debian") else parts[1:])


def _is_wanted_path(path: str, folders: tuple[str, ...]) -> bool:
    pure = PurePosixPath(path)
    if folders and not any(path.startswith(folder.rstrip("/") + "/") for folder in folders):
        return False
    if any(part.startswith(".") for part in pure.parts) or ".min." in pure.name:
        return False
    return not _FOLDERS & {part.lower() for part in pure.parts[:-1]}


def write(folder: Path, projects: list[tuple[SamplePackage, dict[str, str]]]) -> None:
    """Write both halves, each text once; the old ones are removed only when the new ones are complete."""
    building = folder / "building"
    shutil.rmtree(building, ignore_errors=True)
    seen: set[str] = set()
    for project, texts in projects:
        for path, text in texts.items():
            if (mark := fingerprint(text)) in seen:
                continue
            seen.add(mark)
            file = building / project.half / project.group / project.source.label / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="")
    for half in HALVES:
        (building / half).mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / half, ignore_errors=True)
        (building / half).replace(folder / half)
    building.rmdir()


if __name__ == "__main__":
    sys.exit(main())
