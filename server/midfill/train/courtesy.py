"""Training gives way to engines while they generate: on a GPU, which knows no idle class."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import httpx
import torch

from midfill import paths
from midfill.serve.daemon import Address, Place, find
from midfill.train.layers import before_each
from midfill.types import MidfillError

LOOK_EVERY_S = 0.05
FIND_EVERY_S = 5.0  # engines come and go
WAIT_S = 0.01
MAX_WAIT_S = 5.0  # an engine that never rests: training goes on all the same, slowly


class Courtesy:
    """Knows whether an engine of this user has requests, and waits meanwhile."""

    def __init__(self) -> None:
        self._busy, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="midfill-courtesy", daemon=True)

    def start(self) -> Courtesy:
        """Begin to look."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    @property
    def is_busy(self) -> bool:
        """Whether somebody is waiting for an engine."""
        return self._busy.is_set()

    def attach(self, model: torch.nn.Module) -> None:
        """Wait between the layers of ``model``, forward and backward. What the device has queued is done first."""
        before_each(model, self.wait)

    def wait(self) -> None:
        """Until every engine rests, at most MAX_WAIT_S."""
        if not self._busy.is_set():
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        end = time.monotonic() + MAX_WAIT_S
        while time.monotonic() < end and self._busy.is_set():
            time.sleep(WAIT_S)

    def _watch(self) -> None:
        clients: dict[str, httpx.Client] = {}
        found_at = time.monotonic() - FIND_EVERY_S
        while not self._closed.wait(LOOK_EVERY_S):
            if time.monotonic() - found_at >= FIND_EVERY_S:
                found_at = time.monotonic()
                clients = _clients(clients)
            if any(_has_requests(client) for client in clients.values()):
                self._busy.set()
            else:
                self._busy.clear()
        for client in clients.values():
            client.close()


def _clients(known: dict[str, httpx.Client]) -> dict[str, httpx.Client]:
    """One for each engine's token; those that are gone are closed."""
    addresses = {address.token: address for address in _addresses()}
    for token in known.keys() - addresses.keys():
        known[token].close()
    return {token: known.get(token) or _client(address) for token, address in addresses.items()}


def _addresses() -> Iterator[Address]:
    with contextlib.suppress(MidfillError, OSError):
        folder = paths.runtime_dir()
        for record in folder.glob("engine-*.json"):
            if (address := find(Place(folder, record.stem.removeprefix("engine-")))) is not None:
                yield address


def _client(address: Address) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=address.socket or None)
    base = "http://midfill" if address.socket else f"http://127.0.0.1:{address.port}"
    headers = {"Authorization": f"Bearer {address.token}"}
    return httpx.Client(transport=transport, base_url=base, headers=headers, timeout=1.0, trust_env=False)


def _has_requests(client: httpx.Client) -> bool:
    try:
        stats = client.get("/midfill/stats").json()
        return int(stats.get("n_active", 0)) + int(stats.get("n_waiting", 0)) > 0
    except (httpx.HTTPError, ValueError, TypeError, AttributeError):
        return False
