"""One real engine with the embedded model for all tests of this folder, in folders of its own."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.lsp.client import REPOSITORY, Client

LOAD_S = 180.0  # the model may have to be prepared first


class Start(Protocol):
    """Start a front end on the shared engine and wait until it is ready."""

    def __call__(self, capabilities: dict[str, Any] | None = None, **options: Any) -> Client: ...


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of every process here; prepared models stay in their usual place."""
    home = tmp_path_factory.mktemp("midfill")
    env = {f"MIDFILL_{name}_DIR": str(home / name) for name in ("CONFIG", "DATA", "STATE", "RUNTIME")}
    (home / "CONFIG").mkdir()
    (home / "CONFIG" / "config.toml").write_text(
        # One request to the engine for each of the client's: tests that need more set that.
        'model = "embedded"\nengine_idle_exit_s = 60\ncandidates = 1\nahead = false\n'
    )
    return {**env, "MIDFILL_DEBUG_METHODS": "1", "PYTHONPATH": str(REPOSITORY / "server")}


@pytest.fixture
def start(folders: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    clients: list[Client] = []

    def launch(capabilities: dict[str, Any] | None = None, **options: Any) -> Client:
        client = Client(folders, tmp_path)
        clients.append(client)
        client.initialize(capabilities=capabilities or {}, initializationOptions=options)
        wait_ready(client)
        return client

    yield launch
    for client in clients:
        client.kill()


@pytest.fixture(scope="session", autouse=True)
def _engine_ends(folders: dict[str, str]) -> Iterator[None]:
    yield
    for record in Path(folders["MIDFILL_RUNTIME_DIR"]).glob("engine-*.json"):
        os.kill(json.loads(record.read_text())["pid"], signal.SIGTERM)


def wait_ready(client: Client) -> dict[str, object]:
    """Poll the status until the engine answers; return the status."""
    deadline = time.monotonic() + LOAD_S
    while True:
        status: dict[str, object] = client.result("midfill/status")
        if status["state"] in ("ready", "generating"):
            return status
        assert status["state"] != "error", status
        assert time.monotonic() < deadline, status
        time.sleep(0.1)
