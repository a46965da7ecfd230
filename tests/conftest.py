"""Every test has folders of its own; they share the prepared models, since preparing one takes time."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from midfill import paths
from midfill.engine import record
from midfill.engine.record import RuntimeFiles
from tests.groups import pytest_collection_modifyitems, pytest_configure, pytest_xdist_make_scheduler

__all__ = ["pytest_collection_modifyitems", "pytest_configure", "pytest_xdist_make_scheduler"]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration, data, state and runtime of this test only."""
    monkeypatch.delenv("MIDFILL_CONFIG", raising=False)
    for name in ("CONFIG", "DATA", "STATE", "RUNTIME"):
        monkeypatch.setenv(f"MIDFILL_{name}_DIR", str(tmp_path / f"midfill-{name.lower()}"))


@pytest.fixture
def own_runtime(own_folders: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder whose path is short enough for a socket; every engine in it is stopped."""
    with tempfile.TemporaryDirectory(prefix="mf-", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("MIDFILL_RUNTIME_DIR", folder)
        yield Path(folder)
        for lock in Path(folder).rglob("engine-*.lock"):
            where = RuntimeFiles(lock.parent, lock.stem.removeprefix("engine-"))
            if record.is_running(where) and (address := record.find(where)) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(address.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2 in float32 as transformers saves it, with a small tokenizer. Tests must not write into it."""
    from tests.engine.made import save_tiny

    return save_tiny("qwen2", tmp_path_factory.mktemp("models") / "tiny-qwen")


@pytest.fixture(scope="session")
def embedded_folder() -> Path:
    """The prepared embedded model: made in the first run on a machine, found in later ones. It has floats, since tests
    compare it with transformers' own modules."""
    from midfill.engine.local.store import models

    return models.prepare(models.resolve("embedded"), lambda stage, fraction: None, floats=True)


@pytest.fixture(scope="session")
def gemma3_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemma 3 270M from its packages, prepared: a second real architecture, with sliding windows."""
    from midfill.engine.local.store import embedded, models
    from tests.engine.gemma3 import GEMMA3

    file = paths.private_dir(paths.cache_dir() / "tests") / "gemma3-270m-q4-k-m.gguf"
    if not file.is_file():
        part = tmp_path_factory.mktemp("gemma3") / file.name
        embedded.assemble(part, lambda stage, fraction: None, GEMMA3)
        shutil.move(part, file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    return models.prepare(models.resolve(str(file)), lambda stage, fraction: None)
