"""The address of an engine elsewhere: ``https://host/v1``, checked before anything is sent there."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from midfill.types import MidfillError

EXAMPLE = 'for example engine = "https://host.example/v1"'


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """An engine's address. ``base`` has OpenAI's routes below it (it ends in /v1), ``root`` the engine's own routes."""

    base: str
    root: str
    host: str  # the host that users see, with its port if the setting has one

    @property
    def name(self) -> str:
        """The name that users see, with the path where it is needed: two replicas may be on one host."""
        return self.root.partition("//")[2]

    @property
    def is_loopback(self) -> bool:
        """Whether the address is this machine, so that nothing leaves it."""
        return _is_loopback(urlsplit(self.base).hostname or "")


def read_address(text: str) -> EngineAddress:
    """Return the address in a setting. Raises MidfillError; its text never repeats what may be a secret."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise MidfillError("engine: this is not an address", EXAMPLE) from error
    if parts.username is not None or parts.password is not None:
        raise MidfillError("engine: the address holds a user or a password", "put the key into MIDFILL_ENGINE_KEY")
    if parts.scheme not in ("https", "http") or not host or not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
        raise MidfillError("engine: the address must begin with https://", EXAMPLE)
    if parts.query or parts.fragment:
        raise MidfillError("engine: the address has a query", EXAMPLE)
    if parts.scheme == "http" and not _is_loopback(host):
        raise MidfillError(f"engine: {host} would be contacted without encryption", f"use https://{host}/v1")
    shown = f"[{host}]" if ":" in host else host
    shown += f":{port}" if port is not None else ""
    path = parts.path.rstrip("/") or "/v1"
    start = f"{parts.scheme}://{shown}"
    return EngineAddress(start + path, start + path.removesuffix("/v1"), shown)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def leaving(addresses: tuple[str, ...]) -> str:
    """Return the notice about engines elsewhere: "code leaves this machine for HOST"; "" if there are none."""
    hosts = [address.host for address in map(read_address, addresses) if not address.is_loopback]
    return f"code leaves this machine for {', '.join(dict.fromkeys(hosts))}" if hosts else ""


def read_listen(text: str) -> tuple[str, int]:
    """Return the host and port of ``HOST:PORT``. Raises MidfillError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise MidfillError(f"{text!r} is not HOST:PORT", "for example 127.0.0.1:9257")
    return host.strip("[]"), int(port)
