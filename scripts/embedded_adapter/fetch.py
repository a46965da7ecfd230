"""Builds the text of the embedded adapter: ``python -m scripts.embedded_adapter.fetch DIR``.

Writes DIR/train/<language>/<package>/…, DIR/held-out/<language>/<package>/… and DIR/SOURCES.md; the archives stay in
DIR/cache. The same sources.toml gives the same files. See README.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from midfill.context.secrets import has_secret, is_denied

from . import licences
from .archives import ArchiveError, plain_files
from .indexes import Cache, DownloadError
from .report import as_markdown
from .sources import SOURCES, Source, read_sources
from .wanted import choose, fingerprint, is_wanted_path, is_wanted_text


@dataclass
class Package:
    """The relevant content of an archive."""

    source: Source
    texts: dict[str, str] = field(default_factory=dict)
    licence_files: dict[str, str] = field(default_factory=dict)
    metadata: str = ""  # its statement about its licence
    debian: licences.DebianCopyright | None = None


def main(arguments: list[str] | None = None) -> int:
    """Fetch, check, choose, write; return the number of packages that failed."""
    parser = argparse.ArgumentParser(prog="fetch", description="Fetches the text of the embedded adapter.")
    parser.add_argument("dir", type=Path, metavar="DIR")
    parser.add_argument("--sources", type=Path, default=SOURCES, help="another list than sources.toml")
    parser.add_argument("--cache", type=Path, help="where the archives stay (DIR/cache)")
    parser.add_argument("--allow-newer", action="store_true", help="take what Debian has now, without its hash")
    options = parser.parse_args(arguments)
    cache = Cache(options.cache or options.dir / "cache", allow_newer=options.allow_newer)
    sources = sorted(
        read_sources(options.sources), key=lambda source: (source.use == "train", source.language, source.name)
    )
    packages, failures = [], []
    for source in sources:
        try:
            packages.append(read_package(source, cache.archives(source)))
        except (ArchiveError, DownloadError) as error:
            failures.append(source)
            print(f"error: {source.name} ({source.language}): {error}", file=sys.stderr)
    if failures:
        print(f"{len(failures)} of {len(sources)} packages failed; nothing was written.", file=sys.stderr)
        return 1
    write(options.dir, packages)
    return 0


def read_package(source: Source, archives: list[Path]) -> Package:
    """Return the wanted files of a package whose licence is what sources.toml says."""
    package = Package(source)
    for archive in archives:
        for path, content in plain_files(archive):
            _take(package, _inner(path, source), content.decode("utf-8", errors="replace"))
    if faults := licences.check(source.licence, package.metadata, package.licence_files):
        raise ArchiveError("; ".join(faults))
    _drop_foreign(package)
    if not package.texts:
        raise ArchiveError("no file of it is wanted")
    if source.index == "debian":
        _lift(package)
    _keep_near_licences(package)
    return package


def _take(package: Package, path: str, text: str) -> None:
    source = package.source
    if path.endswith(".dist-info/METADATA"):
        package.metadata = licences.of_python(text)
    elif path == "package.json" and source.index == "npm":
        package.metadata = licences.of_npm(text)
    elif path in ("debian/copyright", f"usr/share/doc/{source.name}/copyright"):
        package.debian = licences.DebianCopyright(text)
        package.metadata = package.debian.of("any/file")
        package.licence_files["debian-copyright"] = text
    elif licences.is_licence_file(path):
        package.licence_files[path] = text
    elif (
        (not source.folders or _is_inside(path, source.folders))
        and not _is_inside(path, source.without)
        and is_wanted_path(path, source.language, text[:200].partition("\n")[0])
        and "\ufffd" not in text
        and is_wanted_text(text)
        and not licences.names_copyleft(text)
        and not is_denied(path)
    ):
        package.texts[path] = text.replace("\r\n", "\n")


def _inner(path: str, source: Source) -> str:
    """Return the path below the archive's top folder, if it has one that only repeats the package's name."""
    if source.index in ("pypi", "debian") or path.startswith("debian/"):
        return path
    return "/".join(PurePosixPath(path).parts[1:])


def _is_inside(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def _drop_foreign(package: Package) -> None:
    """Leave out what is under another licence: according to the licence file of its folder, or to debian/copyright."""
    foreign = [
        str(PurePosixPath(path).parent) + "/"
        for path, text in package.licence_files.items()
        if "/" in path and licences.names_copyleft(text) and not licences.families_of_text(text)
    ]
    package.texts = {
        path: text
        for path, text in package.texts.items()
        if not path.startswith(tuple(foreign)) and (package.debian is None or package.debian.is_permissive(path))
    }


def _lift(package: Package) -> None:
    """Make paths relative to the folder that contains all the code: usr/share/… is Debian's, not the project's."""
    top = os.path.commonpath([str(PurePosixPath(path).parent) for path in package.texts])
    package.texts = {path.removeprefix(top + "/"): text for path, text in package.texts.items()}
    package.licence_files = {
        path.removeprefix(top + "/") if path.startswith(top + "/") else PurePosixPath(path).name: text
        for path, text in package.licence_files.items()
    }


def _keep_near_licences(package: Package) -> None:
    """Keep the licence files of what is taken: those above the code, and those in a folder for them."""
    above = {parent for path in package.texts for parent in PurePosixPath(path).parents}
    package.licence_files = {
        path: text
        for path, text in package.licence_files.items()
        if (place := PurePosixPath(path).parent) in above or place.name.lower().startswith("licen")
    }


def write(folder: Path, packages: list[Package]) -> None:
    """Write both halves and SOURCES.md; the old ones are removed only when the new ones are complete."""
    building = folder / "building"
    shutil.rmtree(building, ignore_errors=True)
    seen: set[str] = set()
    rows = []
    for package in packages:  # held-out comes first: what is in both halves is left out of train
        source = package.source
        fresh = {path: text for path, text in package.texts.items() if _is_new(text, seen)}
        chosen = choose(fresh, source.limit_kb * 1000, has_secret)
        target = building / source.use / source.language / source.label
        for path in chosen:
            _write_text(target / path, fresh[path])
        for path, text in package.licence_files.items():
            _write_text(target / path, text)
        rows.append((source, len(chosen), sum(len(fresh[path].encode()) for path in chosen)))
    _write_text(building / "SOURCES.md", as_markdown(rows))
    for name in ("train", "held-out", "SOURCES.md"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (building / name).replace(folder / name)
    building.rmdir()


def _is_new(text: str, seen: set[str]) -> bool:
    mark = fingerprint(text)
    is_new = mark not in seen
    seen.add(mark)
    return is_new


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")


if __name__ == "__main__":
    sys.exit(main())
