"""Real engine processes of a tiny model."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from midfill.client.link import EngineLink
from midfill.config import Config
from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.engine.http import HttpEngine
from midfill.serve.team.listen import Listen, TeamServer
from midfill.tokenizer import CodeTokenizer
from midfill.types import EngineStatus, MidfillError, ModelInfo, Stats

PATIENCE_S = 90.0  # a machine that is busy with other work


def config_of(model: Path, **settings: Any) -> Config:
    whole = ("confidence", "first_unit")  # so that a tiny random model's text is shown to its last token
    return Config(
        model=str(model), device="cpu", dtype="float32", max_tokens=8, disabled_rules=whole, ahead=False, **settings
    )


async def until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def ready(engine: HttpEngine) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        state: dict[str, Any] = (await engine.client.get("/midfill/status")).json()
        if state["status"]["state"] == "ready":
            return state
        assert state["status"]["state"] == "starting", state
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def text_of(engine: HttpEngine) -> str:
    return "".join([delta.text async for delta in engine.stream(GenerateRequest((1, 2, 3), 8))])


@contextlib.asynccontextmanager
async def followed(config: Config) -> AsyncIterator[tuple[EngineLink, list[EngineStatus]]]:
    statuses: list[EngineStatus] = []
    subject = EngineLink(config, statuses.append)
    subject.start()
    try:
        yield subject, statuses
    finally:
        await subject.aclose()


TOKEN = "a-token"
STATS = Stats(3, 1, 2, 0.0, 0.1, 0.2)


class FakeResident:
    """Writes "a", "b"; may break off in between, or wait for ever."""

    def __init__(self) -> None:
        self.status = EngineStatus("ready", model="m")
        self.info: ModelInfo | None = ModelInfo("m", "", None, 10, 20, "cpu", "float32")
        self.tokenizer: CodeTokenizer | None = None
        self.asked: list[GenerateRequest] = []
        self.blocked_s = 0.0
        self.error: MidfillError | None = None
        self.logprobs: tuple[float, ...] = ()
        self.refusal: EngineError | None = None
        self.waits = False
        self.n_open = 0
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        self.asked.append(request)
        self.n_open += 1
        try:
            for index in range(1, request.n):
                yield Delta(f"a{index}", "length", STATS, index, self.logprobs)
            yield Delta("a", stats=STATS, logprobs=self.logprobs)
            self.began.set()
            if self.waits:
                await asyncio.Event().wait()
            if self.error is not None:
                raise self.error
            yield Delta("b", "stop", STATS, logprobs=self.logprobs)
        finally:
            self.n_open -= 1
            self.ended.set()

    async def aclose(self) -> None: ...

    def check(self, request: GenerateRequest) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def load_adapter(self, name: str, *folders: Path) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return {"name": name, "folder": " + ".join(map(str, folders))}

    async def check_adapter(self, *folders: Path) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return {"folder": " + ".join(map(str, folders))}

    async def unload_adapter(self, name: str) -> None: ...

    async def block(self, seconds: float) -> None:
        self.blocked_s = seconds

    def adapters(self) -> list[dict[str, Any]]:
        return [{"name": "lora"}]

    def figures(self) -> dict[str, Any]:
        return {"n_active": self.n_open}


@asynccontextmanager
async def listening(engine: FakeResident, listen: Listen) -> AsyncIterator[TeamServer]:
    server = TeamServer(listen)
    task = asyncio.create_task(server.run(engine, "none"))
    while server._server is None or not server._server.started:
        await asyncio.sleep(0.01)
    try:
        yield server
    finally:
        server.drain()
        await asyncio.wait_for(task, 20)


def certified(folder: Path) -> tuple[Path, Path]:
    """Return a self-signed certificate for the loopback interface, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key
