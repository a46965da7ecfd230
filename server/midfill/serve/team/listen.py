"""Where a team's engine listens, and what it refuses to do there."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from midfill.serve.app import Resident
from midfill.serve.deadlines import DeadlineProtocol
from midfill.serve.team.app import TeamService, Terms
from midfill.serve.team.limits import PER_MINUTE, RateLimiter
from midfill.serve.team.tokens import Tokens, default_file
from midfill.types import MidfillError

DRAIN_S = 30  # seconds at most to finish running requests at the end
MAX_CONNECTIONS = 2048


@dataclass(frozen=True, slots=True)
class Listen:
    """``behind_proxy``: a proxy in front of us ends TLS, and nothing else can reach us."""

    host: str
    port: int
    certificate: Path | None = None
    private_key: Path | None = None
    behind_proxy: bool = False
    tokens: Path | None = None
    per_minute: float = PER_MINUTE

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def check(self, *, has_tokens: bool) -> None:
        """Raise MidfillError for settings that would let strangers in or send code unencrypted."""
        if (self.certificate is None) != (self.private_key is None):
            raise MidfillError("TLS needs both of its files", "give --tls-cert and --tls-key")
        if self.is_loopback and not self.behind_proxy:
            return
        if not has_tokens:
            raise MidfillError(
                f"anyone who reaches {self.host} could use the engine", "run first: midfill token add NAME"
            )
        if self.certificate is None and not self.behind_proxy:
            remedy = "give --tls-cert and --tls-key, or --behind-proxy if one in front of it ends TLS"
            raise MidfillError(f"code would go to {self.host} without encryption", remedy)


class _Server(uvicorn.Server):
    """A server beside another one in this process, which handles the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


class TeamServer:
    """The listener, open before the model is loaded, so that mistakes are reported at once. Raises MidfillError."""

    def __init__(self, listen: Listen) -> None:
        self._listen = listen
        self._tokens = Tokens(listen.tokens or default_file())
        listen.check(has_tokens=self._tokens.any)
        self._tls()
        family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((listen.host, listen.port))
        except OSError as error:
            reason = error.strerror or "no such address"
            raise MidfillError(f"cannot listen on {listen.host}:{listen.port}: {reason}", "choose another") from error
        self._socket.listen(256)
        self._server: _Server | None = None
        self.service: TeamService | None = None

    @property
    def address(self) -> str:
        """The address as a client's setting ``engine`` needs it."""
        scheme = "https" if self._listen.certificate else "http"
        host = f"[{self._listen.host}]" if ":" in self._listen.host else self._listen.host
        return f"{scheme}://{host}:{self._socket.getsockname()[1]}/v1"

    @property
    def is_open(self) -> bool:
        """Whether every program on this machine may ask."""
        return self._listen.is_loopback and not self._listen.behind_proxy and not self._tokens.any

    async def run(self, engine: Resident, adapter: str) -> None:
        """Serve until ``drain``."""
        local = self._listen.is_loopback and not self._listen.behind_proxy
        terms = Terms(self.is_open, takes_text=local, adapter=adapter)
        self.service = TeamService(engine, self._tokens, terms, RateLimiter(self._listen.per_minute))
        certificate, key = self._listen.certificate, self._listen.private_key
        self._server = _Server(
            uvicorn.Config(
                self.service.app(), log_config=None, access_log=False, lifespan="off", http=DeadlineProtocol,
                ws="none", timeout_graceful_shutdown=DRAIN_S, timeout_keep_alive=75, limit_concurrency=MAX_CONNECTIONS,
                ssl_certfile=certificate, ssl_keyfile=key, server_header=False,
            )
        )  # fmt: skip
        await self._server.serve(sockets=[self._socket])

    def drain(self) -> None:
        """Take no new requests; finish the running ones."""
        if self.service is not None and self._server is not None:
            self.service.draining = True
            self._server.should_exit = True

    def _tls(self) -> None:
        if self._listen.certificate is None or self._listen.private_key is None:
            return
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._listen.certificate, self._listen.private_key)
        except (OSError, ssl.SSLError) as error:
            reason = getattr(error, "strerror", None) or "they do not fit"
            raise MidfillError(f"--tls-cert and --tls-key cannot be used: {reason}", "give PEM files") from error
