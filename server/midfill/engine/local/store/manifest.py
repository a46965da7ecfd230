"""The names of a prepared folder's files, and its manifest: size and sha256 of each, written last."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midfill.types import MidfillError

MANIFEST = "manifest.json"
INDEX = "model.safetensors.index.json"
INT8 = "int8.safetensors"
FORMAT = 4  # raised when a prepared folder's content changes meaning: older folders are made again


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a prepared folder of the current format, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files, source = manifest.get("files", {}), manifest.get("source", {})
        sound = all(type(entry["size"]) is int and isinstance(entry["sha256"], str) for entry in files.values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    sound = sound and isinstance(manifest.get("name", ""), str) and isinstance(source, dict)
    return manifest if sound and manifest.get("format") == FORMAT else None


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that make up the model: those of the index, or the single one, or all; none if a
    prepared folder holds only the weights that serve here. Raises MidfillError."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return [folder / name for name in sorted({Path(str(file)).name for file in index["weight_map"].values()})]
    except FileNotFoundError:
        single = folder / "model.safetensors"
        every = [single] if single.is_file() else sorted(folder.glob("*.safetensors"))
        return [file for file in every if file.name != INT8]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MidfillError(
            f"the index of weights in {folder} is damaged", "fetch or prepare the model again"
        ) from error


def write_index(folder: Path, where: Mapping[str, str]) -> None:
    """Record which file of ``folder`` holds each tensor of the model. The index appears
    by one rename. Raises OSError."""
    temporary = folder / f".{INDEX}.{os.getpid()}"
    temporary.write_text(json.dumps({"metadata": {}, "weight_map": dict(sorted(where.items()))}), encoding="utf-8")
    temporary.replace(folder / INDEX)


def write_manifest(folder: Path, name: str, origin: dict[str, Any], figures: dict[str, Any]) -> None:
    """Record size and sha256 of every file of ``folder``, and sync all of it to the disk. The manifest comes last."""
    files = recorded(sorted(folder.iterdir()))
    write_json(folder / MANIFEST, {"format": FORMAT, "name": name, "source": origin, **figures, "files": files})


def recorded(files: list[Path]) -> dict[str, dict[str, Any]]:
    """Return size and sha256 of each file, once it is on the disk."""
    entries: dict[str, dict[str, Any]] = {}
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            entries[file.name] = {"size": file.stat().st_size, "sha256": digest}
            os.fsync(stream.fileno())
    return entries


def write_json(file: Path, content: dict[str, Any]) -> None:
    """Write ``content``, and sync it to the disk. Raises OSError."""
    with file.open("w", encoding="utf-8") as out:
        json.dump(content, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
