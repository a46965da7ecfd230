"""Build everything that a release consists of into dist/: ``make release``.

These are the wheel, the source archive, the VS Code extension, the Neovim plugin, a CycloneDX file that lists the
packages of an installation, and the checksums of all. Dates in the files are those of the commit, so with the same
tools the same commit gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXTRAS = ("embedded", "train")  # that the list of components covers


def main() -> int:
    """Build; return the exit code."""
    if _said("git", "status", "--porcelain"):
        print("there are changes that are not committed: a release is what a commit says", file=sys.stderr)
        return 1
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    epoch = int(_said("git", "log", "-1", "--format=%ct"))
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch)
    dist = ROOT / "dist"
    files = [
        dist / f"midfill-{version}{suffix}"
        for suffix in ("-py3-none-any.whl", ".tar.gz", ".vsix", ".cdx.json")
    ] + [dist / f"midfill.nvim-{version}.tar.gz"]  # fmt: skip
    _wheel, source, extension, components, _ = files
    for file in files:
        file.unlink(missing_ok=True)
    _run(sys.executable, "-m", "build", "--outdir", str(dist))
    _run("make", "--no-print-directory", "vsix", "nvim")
    source.write_bytes(settled_tar(source.read_bytes(), epoch))
    extension.write_bytes(settled_zip(extension.read_bytes(), epoch))
    _list_components(components)
    sums = "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in sorted(files))
    (dist / "SHA256SUMS").write_text(sums, encoding="utf-8")
    print(sums, end="")
    return 0


def settled_tar(content: bytes, epoch: int) -> bytes:
    """Return a .tar.gz with the same files in the order of their names, without owners, and with one date."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(content)) as old,
        gzip.GzipFile("", "wb", 9, packed, mtime=epoch) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for entry in sorted(old.getmembers(), key=lambda one: one.name):
            data = old.extractfile(entry) if entry.isfile() else None
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = epoch, 0, 0, "", ""
            entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            entry.pax_headers = {}
            new.addfile(entry, data)
    return packed.getvalue()


def settled_zip(content: bytes, epoch: int) -> bytes:
    """Return a .zip with the same files in the order of their names, and with one date."""
    date = time.gmtime(epoch)[:6]
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(old.namelist()):
            entry = zipfile.ZipInfo(name, date)
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            new.writestr(entry, old.read(name))
    return packed.getvalue()


def _list_components(file: Path) -> None:
    """List what `pip install 'midfill[embedded,train]'` brings, in the versions of constraints-dev.txt."""
    chosen = [word for extra in EXTRAS for word in ("--extra", extra)]
    bin_folder = Path(sys.executable).parent
    compiled = _said(
        str(bin_folder / "uv"), "pip", "compile", "-q", "pyproject.toml", *chosen, "--universal", "--python-version",
        "3.11", "--no-header", "--no-annotate", "-c", "constraints-dev.txt",
    )  # fmt: skip
    subprocess.run(  # noqa: S603 - our own tools
        [bin_folder / "cyclonedx-py", "requirements", "-", "--pyproject", "pyproject.toml", "--output-reproducible",
         "--of", "JSON", "-o", file],
        cwd=ROOT, input=compiled, text=True, check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip


def _said(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603 - our own words
    return done.stdout.strip()


def _run(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)  # noqa: S603 - our own words


if __name__ == "__main__":
    sys.exit(main())
