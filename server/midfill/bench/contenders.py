"""The contenders: midfill's engine, llama.cpp's server and transformers' ``generate()``, each a process of its own.

All get the same text and are timed from here, token by token as it arrives.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from midfill.bench.figures import GENERATE, LLAMA, OURS
from midfill.bench.prompts import Layouts, continuation
from midfill.engine.base import Engine, GenerateRequest
from midfill.eval.about import cores
from midfill.types import MidfillError, Snapshot, Stats

CONTEXT = 4096
START_S = 180.0
ANSWER_S = 300.0
NO_STATS = Stats()


@dataclass(frozen=True, slots=True)
class Timing:
    """One answer. ``token_s``: when its tokens had arrived, in seconds since the request.

    Our own engine sends several tokens at once, so only the first and the last of its times are known.
    """

    token_s: tuple[float, ...]
    n_tokens: int
    total_s: float
    text: str = ""
    stats: Stats = NO_STATS  # our own engine's

    @property
    def ttft_s(self) -> float:
        """Time to the first token."""
        return self.token_s[0]

    def until(self, n: int) -> float:
        """Return the seconds until ``n`` tokens had arrived."""
        return self.token_s[n - 1] if n <= len(self.token_s) else self.total_s

    @property
    def spent_s(self) -> float:
        """Seconds from the first token to the last."""
        return self.until(self.n_tokens) - self.ttft_s


async def ask(engine: Engine, request: GenerateRequest) -> Timing:
    """Return one answer of an engine that speaks our wire format. Raises EngineError."""
    start, first, text, stats = time.perf_counter(), 0.0, "", NO_STATS
    async with aclosing(engine.stream(request)) as deltas:  # type: ignore[type-var]
        async for delta in deltas:
            if delta.text or delta.finish_reason:  # tokens that only repeat the healed word do not count
                first = first or time.perf_counter() - start
            text += delta.text
            stats = delta.stats or stats
    return Timing((first,), stats.n_decoded, time.perf_counter() - start, text, stats)


class Contender(Protocol):
    """Answers prompts while nothing else runs."""

    name: str
    pid: int

    async def window(self, ids: Sequence[int], n_tokens: int) -> Timing:
        """Continue plain text, token by token."""
        ...

    async def infill(self, snapshot: Snapshot, n_tokens: int) -> Timing:
        """Return the middle at the cursor, requested as an editor plugin would do it."""
        ...


class Midfill:
    """Our engine over its socket."""

    name = OURS

    def __init__(self, engine: Engine, layouts: Layouts, pid: int) -> None:
        self._engine, self._layouts, self.pid = engine, layouts, pid

    async def window(self, ids: Sequence[int], n_tokens: int) -> Timing:
        """Continue plain text, token by token."""
        return await ask(self._engine, continuation(ids, n_tokens))

    async def infill(self, snapshot: Snapshot, n_tokens: int) -> Timing:
        """Return the middle in the product's own layout."""
        return await ask(self._engine, self._layouts.default(snapshot, n_tokens))

    async def infill_exactly(self, snapshot: Snapshot, n_tokens: int) -> Timing:
        """Return the middle in the plain layout."""
        return await ask(self._engine, self._layouts.exact(snapshot, n_tokens))


class LlamaServer:
    """llama.cpp's server with its default settings."""

    name = LLAMA

    def __init__(self, client: httpx.AsyncClient, pid: int, version: str) -> None:
        self._client, self.pid, self.version = client, pid, version

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, binary: Path, gguf: Path) -> AsyncIterator[LlamaServer]:
        """Yield a running server on ``gguf``; stop it at the end. Raises MidfillError."""
        port = _free_port()
        command = [str(binary), "-m", str(gguf), "-t", str(cores()), "-c", str(CONTEXT), "-np", "1"]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        version = await _version(binary)
        url, limits = f"http://127.0.0.1:{port}", httpx.Limits(max_keepalive_connections=0)  # it closes idle ones
        async with (
            _child(command) as child,
            httpx.AsyncClient(base_url=url, timeout=ANSWER_S, limits=limits, trust_env=False) as client,
        ):
            await _until_healthy(client, child)
            yield cls(client, child.pid, version)

    async def window(self, ids: Sequence[int], n_tokens: int) -> Timing:
        """Continue plain text, token by token."""
        return await self._ask("/completion", {"prompt": list(ids)}, n_tokens)

    async def infill(self, snapshot: Snapshot, n_tokens: int) -> Timing:
        """Return the middle in the server's own layout and with its own cache."""
        body = {"input_prefix": snapshot.prefix, "input_suffix": snapshot.suffix}
        return await self._ask("/infill", body, n_tokens)

    async def _ask(self, route: str, body: dict[str, Any], n_tokens: int) -> Timing:
        # All n_tokens are decoded even if the model would end: the comparison is over as many tokens as we decoded.
        body |= {"n_predict": n_tokens, "temperature": 0, "cache_prompt": True, "stream": True, "ignore_eos": True}
        start, token_s, text = time.perf_counter(), [0.0] * 0, ""
        async with self._client.stream("POST", route, json=body) as response:
            if response.status_code != 200:
                raise MidfillError(f"llama.cpp's server answered HTTP {response.status_code}", "another version may do")
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line[6:])
                n_new = len(event.get("tokens") or ()) or int(bool(event.get("content")))
                token_s += [time.perf_counter() - start] * n_new
                text += event.get("content", "")
        if not token_s:
            raise MidfillError("llama.cpp's server sent no token", "another version may do")
        return Timing(tuple(token_s), len(token_s), token_s[-1], text)


class Generate:
    """transformers' ``generate()`` as on the model card, behind a pipe."""

    name = GENERATE

    def __init__(self, child: asyncio.subprocess.Process, layouts: Layouts) -> None:
        self._child, self._layouts, self.pid = child, layouts, child.pid
        self.dtype = ""  # according to its answers

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls, folder: Path, layouts: Layouts, dtype: str) -> AsyncIterator[Generate]:
        """Yield a child with the model of ``folder``; stop it at the end. Raises MidfillError."""
        command = [sys.executable, "-P", "-m", "midfill.bench.baseline", str(folder), dtype, str(cores())]
        async with _child(command, talks=True) as child:
            contender = cls(child, layouts)
            await contender.window([1], 1)  # answers once it has loaded
            yield contender

    async def window(self, ids: Sequence[int], n_tokens: int) -> Timing:
        """Continue plain text, token by token."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"ids": list(ids), "n_tokens": n_tokens}).encode() + b"\n")
        async with asyncio.timeout(ANSWER_S):
            line = await self._child.stdout.readline()
        if not line:
            raise MidfillError("the process of generate() ended", "it needs about 2 GB; or use --skip-generate")
        answer = json.loads(line)
        token_s, self.dtype = tuple(answer["token_s"]), answer["dtype"]
        return Timing(token_s, len(token_s), token_s[-1])

    async def infill(self, snapshot: Snapshot, n_tokens: int) -> Timing:
        """Return the middle; the whole prompt is read each time."""
        return await self.window(self._layouts.exact_ids(snapshot), n_tokens)


@contextlib.asynccontextmanager
async def _child(command: list[str], *, talks: bool = False) -> AsyncIterator[asyncio.subprocess.Process]:
    """Yield a process that lives as long as the block. Raises MidfillError."""
    pipe = asyncio.subprocess.PIPE if talks else asyncio.subprocess.DEVNULL
    try:
        child = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise MidfillError(f"cannot start {command[0]}: {error.strerror}", "check the path") from error
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), 10)
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def _until_healthy(client: httpx.AsyncClient, child: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + START_S
    while child.returncode is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if (await client.get("/health")).status_code == 200:
                return
        await asyncio.sleep(0.2)
    raise MidfillError("llama.cpp's server did not start", "try its command by hand: llama-server -m FILE.gguf")


async def _version(binary: Path) -> str:
    try:
        child = await asyncio.create_subprocess_exec(
            str(binary), "--version", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
    except OSError as error:
        raise MidfillError(f"cannot start {binary}: {error.strerror}", "check --llama-server") from error
    output, _ = await child.communicate()
    lines = [line for line in output.decode(errors="replace").splitlines() if line.startswith("version")]
    return lines[0].removeprefix("version:").strip() if lines else "unknown"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
