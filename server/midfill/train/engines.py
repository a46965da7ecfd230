"""Whether this user's engines have requests: training gives way to them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import httpx

from midfill import paths
from midfill.engine.record import Address, RuntimeFiles, find
from midfill.types import MidfillError

FIND_EVERY_S = 5.0  # engines come and go


class Engines:
    """All engines of this user that run now, and a connection to each."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._clients: dict[str, httpx.Client] = {}  # by token
        self._n_requests: dict[str, int] = {}  # total requests of each engine at the last look
        self._found_at = float("-inf")

    @property
    def are_busy(self) -> bool:
        """Whether an engine has requests at this moment."""
        return any(n_open for n_open, _ in self._look().values())

    @property
    def were_asked(self) -> bool:
        """Whether an engine has requests, or had some since the last call: most requests end within a moment."""
        found = self._look()
        known, self._n_requests = self._n_requests, {token: n for token, (_, n) in found.items()}
        return any(n_open or n != known.get(token, n) for token, (n_open, n) in found.items())

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _look(self) -> dict[str, tuple[int, int]]:
        """Return (current requests, requests since its start) of each engine that answers, by token."""
        if self._clock() - self._found_at >= FIND_EVERY_S:
            self._found_at = self._clock()
            self._find()
        found = {token: _requests(client) for token, client in self._clients.items()}
        return {token: counts for token, counts in found.items() if counts is not None}

    def _find(self) -> None:
        addresses = {address.token: address for address in _addresses()}
        for token in self._clients.keys() - addresses.keys():
            self._clients.pop(token).close()
        for token in addresses.keys() - self._clients.keys():
            self._clients[token] = _client(addresses[token])


def _addresses() -> Iterator[Address]:
    with contextlib.suppress(MidfillError, OSError):
        folder = paths.runtime_dir()
        for record in folder.glob("engine-*.json"):
            if (address := find(RuntimeFiles(folder, record.stem.removeprefix("engine-")))) is not None:
                yield address


def _client(address: Address) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=address.socket or None)
    base = "http://midfill" if address.socket else f"http://127.0.0.1:{address.port}"
    headers = {"Authorization": f"Bearer {address.token}"}
    return httpx.Client(transport=transport, base_url=base, headers=headers, timeout=1.0, trust_env=False)


def _requests(client: httpx.Client) -> tuple[int, int] | None:
    try:
        stats = client.get("/midfill/stats").json()
        total = stats.get("totals") or {}
        return int(stats.get("n_active", 0)) + int(stats.get("n_waiting", 0)), int(total.get("n_requests", 0))
    except (httpx.HTTPError, ValueError, TypeError, AttributeError):
        return None
