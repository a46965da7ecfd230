"""The key for an engine elsewhere, and the client that carries it. Neither is ever in a command line or a log."""

from __future__ import annotations

import os
import ssl
import stat
import sys
from pathlib import Path

import httpx

from midfill import paths, safe_path
from midfill.addresses import EngineAddress
from midfill.config import Config
from midfill.engine.connections import CancellableTransport
from midfill.types import MidfillError

KEY = safe_path.ENGINE_KEY
MAX_KEY_BYTES = 4096
CONNECT_S = 2.0
READ_S = 30.0  # seconds between two pieces of an answer; a request's own deadline is shorter


def read_key(config: Config) -> str:
    """Return the key: from the environment, else from the configured file; "" for none. Raises MidfillError."""
    key = os.environ.get(KEY, "").strip()
    where = KEY
    if not key and config.engine_key_file:
        file = paths.expanded(config.engine_key_file)
        key, where = _of_file(file), str(file)
    if any(not "!" <= char <= "~" for char in key):
        raise MidfillError(f"{where} holds no key: a key is one word of ASCII", "write only the key, in one line")
    return key


def _of_file(file: Path) -> str:
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise MidfillError(f"engine_key_file: cannot read {file}: {error.strerror}", "write the key into it") from error
    with os.fdopen(descriptor, "rb") as stream:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise MidfillError(f"engine_key_file: {file} is not a file", "write the key into a file of its own")
        if sys.platform != "win32" and (info.st_mode & 0o077 or info.st_uid != os.getuid()):
            raise MidfillError(f"engine_key_file: {file} is open to others", f"run: chmod 600 {file}")
        return stream.read(MAX_KEY_BYTES).decode("utf-8", "replace").strip()


def make_client(address: EngineAddress, config: Config) -> httpx.AsyncClient:
    """Return a client of ``address``: no redirects, nothing from the environment, the company's certificates if set.

    Reads files and takes about 30 ms: call it in a thread. Raises MidfillError.
    """
    key = read_key(config)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    trust: ssl.SSLContext | bool = False
    if address.base.startswith("https:"):
        trust = ssl.create_default_context()
        if config.engine_ca_file:
            _trust_too(trust, paths.expanded(config.engine_ca_file))
    proxy = config.engine_proxy if config.engine_proxy and not address.is_loopback else None
    return httpx.AsyncClient(
        transport=CancellableTransport(verify=trust, proxy=proxy, retries=0),
        headers=headers,
        timeout=httpx.Timeout(READ_S, connect=CONNECT_S),
        follow_redirects=False,
        trust_env=False,
    )


def _trust_too(context: ssl.SSLContext, file: Path) -> None:
    try:
        context.load_verify_locations(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise MidfillError(
            f"engine_ca_file: {file} holds no certificates", "name a file of PEM certificates"
        ) from error
