"""Every test has folders of its own, and no server outlives its test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from .client import REPOSITORY, Client


class Launch(Protocol):
    """Start a server; with ``script``, one with the engine of fakes.py."""

    def __call__(self, **options: Any) -> Client: ...


def private_environment(folder: Path) -> dict[str, str]:
    script = folder / "script.json"
    script.write_text(json.dumps({"chunks": ["a", " + b"], "delay_s": 0.02}))
    folders = {f"MIDFILL_{name}_DIR": str(folder / name) for name in ("CONFIG", "CACHE", "DATA", "STATE", "RUNTIME")}
    return {
        **folders,
        "MIDFILL_SCRIPT": str(script),
        "MIDFILL_DEBUG_METHODS": "1",
        "PYTHONPATH": str(REPOSITORY / "server"),
    }


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return private_environment(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One server for the tests of a module that leave it unchanged."""
    folder = tmp_path_factory.mktemp("shared")
    client = Client(private_environment(folder), folder)
    client.initialize()
    client.ready()
    yield client
    client.kill()


@pytest.fixture
def launch(environment: dict[str, str], tmp_path: Path) -> Iterator[Launch]:
    clients: list[Client] = []

    def start(**options: Any) -> Client:
        script = options.pop("script", None)
        if script is not None:
            options.setdefault("with_fakes", True)
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
