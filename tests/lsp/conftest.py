"""Every test has folders of its own, and no server outlives its test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from .client import REPOSITORY, WITH_FAKES, Client


class Launch(Protocol):
    """Start a server; with ``script`` one whose engine is fakes.py's."""

    def __call__(self, **options: Any) -> Client: ...


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"chunks": ["a", " + b"], "delay_s": 0.02}))
    folders = {f"MIDFILL_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "CACHE", "DATA", "STATE", "RUNTIME")}
    return {
        **folders,
        "MIDFILL_SCRIPT": str(script),
        "MIDFILL_DEBUG_METHODS": "1",
        "PYTHONPATH": str(REPOSITORY / "server"),
    }


@pytest.fixture
def launch(environment: dict[str, str], tmp_path: Path) -> Iterator[Launch]:
    clients: list[Client] = []

    def start(**options: Any) -> Client:
        script = options.pop("script", None)
        if script is not None:
            options.setdefault("args", WITH_FAKES)
            Path(environment["MIDFILL_SCRIPT"]).write_text(json.dumps(script))
        cwd = options.pop("cwd", tmp_path)
        client = Client({**environment, **options.pop("env", {})}, cwd, **options)
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.kill()


@pytest.fixture
def client(launch: Launch) -> Client:
    """A server that is initialized and has its engine."""
    client = launch()
    client.initialize()
    client.ready()
    return client
