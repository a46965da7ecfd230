"""The models to choose from: prepared ones by their manifests, fetched ones by the hub's cache, and those on offer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from midfill.config import DEFAULT
from midfill.lsp import models

from .inside import Inside

EMBEDDED = {"kind": "embedded", "sha256": "0", "size": 1}
FILES = {"config.json": {"size": 1000}, "int8.safetensors": {"size": 9000}}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of this test for prepared models and for the hub's cache."""
    monkeypatch.setenv("MIDFILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def prepare(cache: Path, name: str, manifest: Any) -> None:
    folder = cache / "cache" / "models" / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))


def test_what_is_offered(cache: Path) -> None:
    found = models.found()
    assert [model.spec for model in found] == [offer[0] for offer in models.OFFERED]
    assert not any(model.here for model in found)
    assert all(model.size > model.memory - models.OVERHEAD_BYTES > 0 for model in found)


def test_what_is_here_comes_first(cache: Path) -> None:
    gguf = cache / "own.gguf"
    gguf.touch()
    fetched = models.OFFERED[-1][0]
    snapshot = cache / "hub" / f"models--{fetched.replace('/', '--')}" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").touch()
    source = {"kind": "gguf", "path": str(gguf)}
    prepare(cache, "a", {"name": "q", "source": EMBEDDED, "files": FILES, "parameters": 500})
    prepare(cache, "b", {"name": "own", "source": source, "files": FILES, "parameters": 700})
    *here, offered = models.found()[:4]
    assert here == [
        models.ModelChoice("embedded", "q", True, 10_000, 500 + models.OVERHEAD_BYTES),
        models.ModelChoice(str(gguf), "own", True, 10_000, 700 + models.OVERHEAD_BYTES),
        models.ModelChoice(
            fetched, fetched, True, models.OFFERED[-1][2], models.OFFERED[-1][1] + models.OVERHEAD_BYTES
        ),
    ]
    assert not offered.here


@pytest.mark.parametrize(
    "manifest",
    [
        "no JSON", "[]", "{}", "[" * 5000,
        {"name": "x", "source": {"kind": "gguf", "path": "/no/such.gguf"}, "files": FILES},
        {"name": "x", "source": {"kind": "gguf"}, "files": FILES},
        {"name": 5, "source": EMBEDDED, "files": FILES},
        {"name": "x", "source": EMBEDDED, "files": []},
    ],
)  # fmt: skip
def test_a_manifest_that_says_nothing_is_left_out(cache: Path, manifest: Any) -> None:
    prepare(cache, "x", manifest)
    assert all(not model.here for model in models.found())


def test_the_request(cache: Path) -> None:
    inside = Inside()
    inside.initialize()
    told = inside.result("midfill/models")
    inside.close()
    assert told["model"] == DEFAULT.model
    assert told["models"][0].keys() == {"spec", "name", "here", "size", "memory"}
