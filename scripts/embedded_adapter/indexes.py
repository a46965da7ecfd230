"""Downloads through the indexes' ordinary clients: pip, npm and apt-get. None of them runs a package's code here."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from .sources import Source

APT_LISTS = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))


class DownloadError(Exception):
    """A package that could not be downloaded as sources.toml describes it."""


class Cache:
    """A folder with the archives of each package, filled once."""

    def __init__(self, folder: Path, *, allow_newer: bool) -> None:
        self.folder = folder
        self.allow_newer = allow_newer
        self._apt: Path | None = None

    def archives(self, source: Source) -> list[Path]:
        """Return the package's checked archive; for Debian's sources, followed by the one with debian/copyright."""
        place = self.folder / source.index / f"{source.label}-{source.version}"
        if not place.is_dir():
            self._download(source, place)
        archives = sorted(place.iterdir(), key=lambda path: ".debian.tar" in path.name)
        try:
            self._check(source, archives[0])
        except DownloadError:
            shutil.rmtree(place)  # so that the next run asks the index again
            raise
        return archives

    def _download(self, source: Source, place: Path) -> None:
        arriving = place.with_name(place.name + ".arriving")
        shutil.rmtree(arriving, ignore_errors=True)
        arriving.mkdir(parents=True)
        ways = {"pypi": _pip, "npm": _npm, "debian": self._deb, "debian-source": self._deb_source}
        ways[source.index](source, arriving)
        arriving.rename(place)

    def _check(self, source: Source, archive: Path) -> None:
        with archive.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
        if found == source.sha256:
            return
        message = f"{source.name} {source.version}: {archive.name} has the SHA-256 {found}, not {source.sha256}"
        if source.index in ("pypi", "npm"):
            raise DownloadError(message)
        self._may_be_newer(message)

    def _deb(self, source: Source, folder: Path) -> None:
        """Download a binary package: a tar of plain files. It is not installed, and its scripts are not read."""
        exact = f"{source.name}={source.version}"
        try:
            self._apt_get(folder, "download", exact)
        except DownloadError as error:
            self._may_be_newer(f"Debian does not have {exact}: {error}")
            self._apt_get(folder, "download", source.name)

    def _deb_source(self, source: Source, folder: Path) -> None:
        """Download upstream's original archive, and Debian's own with its record of the licences."""
        self._apt_get(folder, "source", "--download-only", source.name)
        for path in folder.iterdir():
            if not re.search(r"\.(?:orig|debian)\.tar\.[a-z0-9]+$", path.name):
                path.unlink()
        originals = [path.name for path in folder.iterdir() if ".orig." in path.name]
        if len(originals) != 1:
            raise DownloadError(f"{len(originals)} original archives, one is expected")
        if not originals[0].startswith(f"{source.name}_{source.version}.orig."):
            self._may_be_newer(f"Debian has {originals[0]}, not {source.version}")

    def _may_be_newer(self, message: str) -> None:
        if not self.allow_newer:
            raise DownloadError(f"{message}\n--allow-newer takes what Debian has now")
        print(f"warning: {message}", file=sys.stderr)

    def _apt_get(self, folder: Path, *arguments: str) -> None:
        if self._apt is None:
            self._apt = _prepare_apt(self.folder / "apt")
        _run(["apt-get", *_apt_options(self._apt), "-qq", *arguments], folder)


def _pip(source: Source, folder: Path) -> None:
    """Download a wheel for any machine: a zip of plain files that needs no building."""
    any_machine = ["--implementation", "py", "--abi", "none", "--platform", "any", "--python-version", "3.13"]
    options = ["--no-deps", "--only-binary", ":all:", *any_machine, "--dest", "."]
    _run([sys.executable, "-m", "pip", "download", "-q", *options, f"{source.name}=={source.version}"], folder)


def _npm(source: Source, folder: Path) -> None:
    _run(["npm", "pack", "--silent", "--ignore-scripts", f"{source.name}@{source.version}"], folder)


def _run(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError as error:
        raise DownloadError(f"{command[0]} is not installed") from error
    if done.returncode:
        raise DownloadError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _prepare_apt(folder: Path) -> Path:
    """Prepare a private apt state with the packages and the sources of this machine's own Debian mirrors; needs no
    root."""
    for name in ("parts", "lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines = sorted({f"{kind} {rest}" for rest in _suites() for kind in ("deb", "deb-src")})
    if not lines:
        raise DownloadError("apt knows no Debian mirror here; the packages of Debian need a Debian machine")
    (folder / "parts" / "debian.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
    folder = folder.resolve()
    _run(["apt-get", *_apt_options(folder), "update", "-qq"], folder)
    return folder


def _apt_options(folder: Path) -> list[str]:
    options = {
        "Dir::Etc::SourceList": "/dev/null",
        "Dir::Etc::SourceParts": folder / "parts",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "",  # the private folders need not be readable by apt's own user
    }
    return [part for key, value in options.items() for part in ("-o", f"{key}={value}")]


def _suites() -> list[str]:
    """Return the rest of a line of sources.list for every Debian suite that this machine takes packages from."""
    files = [APT_LISTS[0], *(APT_LISTS[1].iterdir() if APT_LISTS[1].is_dir() else ())]
    lines = []
    for path in files:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            lines += _of_stanzas(text) if path.suffix == ".sources" else _of_lines(text)
    return lines


def _of_stanzas(text: str) -> list[str]:
    lines = []
    for stanza in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
        signed = f"[signed-by={fields['Signed-By']}] " if fields.get("Signed-By") else ""
        lines += [
            f"{signed}{uri} {suite} {fields.get('Components', '')}"
            for uri in fields.get("URIs", "").split()
            for suite in fields.get("Suites", "").split()
            if _is_debian(uri)
        ]
    return lines


def _of_lines(text: str) -> list[str]:
    entries = re.findall(r"^deb(?:-src)?\s+((?:\[[^\]]*\]\s+)?)(\S+)\s+(.*)$", text, re.MULTILINE)
    return [f"{options}{uri} {rest}" for options, uri, rest in entries if _is_debian(uri)]


def _is_debian(uri: str) -> bool:
    return urlsplit(uri).path.strip("/") in ("debian", "debian-security")
