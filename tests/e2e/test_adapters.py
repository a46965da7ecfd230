"""Several adapters through the real server and a real engine of a small model: sums, and one for each folder."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from midfill import paths
from midfill.engine import record
from tests.engine.test_adapters import save_adapter
from tests.lsp.client import Client, at

PATIENCE_S = 120.0
TEXT = "def total(values):\n    return \n"


@pytest.fixture
def workspace(tiny: Path, tmp_path: Path) -> Path:
    """A workspace, and registered adapters of the small model; one is of another base."""
    for seed, name in enumerate(("team", "mine", "svc", "other")):
        save_adapter(AutoModelForCausalLM.from_pretrained(tiny), paths.adapters_dir() / name, seed, r=2 + seed)
    file = paths.adapters_dir() / "other" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "google/codegemma-7b"}))
    (tmp_path / "w").mkdir()
    return tmp_path / "w"


@pytest.fixture
def client(tiny: Path, workspace: Path, own_runtime: Path) -> Iterator[Client]:
    client = Client({**os.environ, "MIDFILL_DEBUG_METHODS": "1"}, workspace)
    client.initialize(
        capabilities={"workspace": {"configuration": False}}, rootUri=workspace.as_uri(),
        workspaceFolders=[{"uri": workspace.as_uri(), "name": "w"}],
        initializationOptions={
            "model": str(tiny), "device": "cpu", "dtype": "float32", "maxTokens": 8, "adapter": "team+mine",
            "adapters": {"services/**": "svc", "go": "none"}, "maxAdapters": 1, "candidates": 1,
            "disabledRules": ["confidence", "first_unit"],
        },
    )  # fmt: skip
    client.notify("initialized", {})
    yield client
    client.kill()


def until(client: Client, what: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        status: dict[str, Any] = client.result("midfill/status")
        if status["state"] in ("ready", "generating") and what in f"{status['adapter']} {status['message']}":
            return status
        assert status["state"] != "error", status
        assert time.monotonic() < deadline, status
        time.sleep(0.1)


def answered_by(client: Client, workspace: Path, path: str, language: str) -> str:
    """Ask in a document, and return the adapter that the explanation names."""
    uri = client.open(TEXT, (workspace / path).as_uri(), language)
    client.result("textDocument/inlineCompletion", at(uri, 1, 11, context={"triggerKind": 1}))
    trace: dict[str, Any] = client.result("midfill/explain", {"textDocument": {"uri": uri}})["trace"]
    return str(trace["adapter"])


def resident(runtime: Path) -> list[str]:
    """Return the names of the adapters in the engine's memory."""

    (file,) = runtime.glob("engine-*.json")

    async def ask() -> list[str]:
        address = record.find(record.RuntimeFiles(runtime, file.stem.removeprefix("engine-")))
        assert address is not None
        engine = address.connect()
        try:
            state = (await engine.client.get("/midfill/status")).json()
        finally:
            await engine.aclose()
        return [str(entry["name"]) for entry in state["adapters"]]

    return asyncio.run(ask())


def test_a_sum_one_for_a_folder_and_none_for_a_language(client: Client, workspace: Path) -> None:
    assert until(client, "team+mine")["adapter"] == "team+mine; services/**: svc; go: none"
    places = {
        ("main.py", "python"): "team+mine",
        ("services/api/main.py", "python"): "svc",
        ("services/main.go", "go"): "svc",
        ("main.go", "go"): "none",
        ("again.py", "python"): "team+mine",
    }
    for (path, language), adapter in places.items():
        assert answered_by(client, workspace, path, language) == adapter


def test_the_adapter_is_there_before_the_first_key(client: Client, workspace: Path, own_runtime: Path) -> None:
    """There is room for one adapter: that of the document where the cursor is, without a request."""
    until(client, "team+mine")
    for path, name in (("services/a.py", "svc"), ("b.py", "team+mine"), ("services/c.py", "svc")):
        uri = client.open(TEXT, (workspace / path).as_uri())
        client.notify("textDocument/didFocus", at(uri, 1, 11))
        deadline = time.monotonic() + PATIENCE_S
        while resident(own_runtime) != [name]:
            assert time.monotonic() < deadline, resident(own_runtime)
            time.sleep(0.1)


def test_switched_while_running_and_what_is_wrong_is_said(client: Client, workspace: Path) -> None:
    until(client, "team+mine")
    settings = {"adapter": "team+gone", "adapters": {}}
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": settings}})
    status = until(client, "no adapter named 'gone'; using team")
    assert (status["adapter"], status["remedy"][:28]) == ("team", "run: midfill adapters list, ")
    assert answered_by(client, workspace, "a.py", "python") == "team"
    settings = {"adapter": "team+other", "adapters": {}}
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": settings}})
    status = until(client, "trained on google/codegemma-7b")
    assert status["message"].startswith("adapter other cannot be used")
    assert status["message"].endswith("; using team")
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": {"adapter": "mine", "adapters": {}}}})
    until(client, "mine")
    assert answered_by(client, workspace, "b.py", "python") == "mine"
