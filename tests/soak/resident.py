"""A resident engine without a model: its answer says which version of the buffer the request was about."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from midfill import paths
from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.serve import main
from midfill.tokenizer import CodeTokenizer
from midfill.types import EngineStatus, ModelInfo, Stats
from tests.tokenizers_made import describe

MARK = re.compile(r"mark_(\d+)")
STEP_S = 0.002  # a token
N_BEFORE_DEATH = 3  # words


def _die(moment: str) -> None:
    """Kill this process as TEST_DEATH says, at the ``moment`` of TEST_DEATH_AT: by a signal, a code, or a message."""
    how = os.environ.get("TEST_DEATH", "") if os.environ.get("TEST_DEATH_AT") == moment else ""
    if how.startswith("SIG"):
        os.kill(os.getpid(), signal.Signals[how])
        time.sleep(60)
    elif how == "keeper":
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    elif how:
        if not how.isdigit():
            os.write(2, f"midfill: {how}\n  -> set device\n".encode())
        os._exit(int(how) if how.isdigit() else 1)


class EchoEngine:
    """For a buffer that contains ``mark_12`` it writes ``x_12, y_12, z_12)``, one word at a time."""

    def __init__(self, *_: Any, **__: Any) -> None:
        file = paths.private_dir(paths.cache_dir()) / "soak-tokenizer.json"
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(describe("qwen2.5-coder")), encoding="utf-8")
        part.replace(file)
        self.tokenizer = CodeTokenizer.from_file(file)
        self.info: ModelInfo | None = ModelInfo("echo", str(file), "qwen2.5-coder", 512, 1024, "cpu", "float32")
        self.status = EngineStatus("ready", model="echo", device="cpu", pid=os.getpid())
        self.n_progress = 0
        self.n_active = self.n_requests = 0
        self._blocked = False

    @property
    def busy(self) -> bool:
        """Whether a request waits for a token; the engine always makes progress, unless it is blocked."""
        if not self._blocked:
            self.n_progress += 1
        return self.n_active > 0 or self._blocked

    def start(self) -> None:
        """Load nothing. TEST_STUCK_S: how long its worker may stand still."""
        _die("start")
        if value := os.environ.get("TEST_STUCK_S"):
            main.STUCK_S = int(value)

    def check(self, request: GenerateRequest) -> None:
        """Accept every request."""

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle."""
        found = MARK.findall(self.tokenizer.decode(list(request.prompt)))
        number = found[-1] if found else "none"
        self.n_active += 1
        self.n_requests += 1
        start, n = time.monotonic(), 0
        try:
            for word in (f"x_{number}", ", ", f"y_{number}", ", ", f"z_{number}", ")"):
                await asyncio.sleep(STEP_S)
                n += 1
                if n == N_BEFORE_DEATH:
                    _die("stream")
                yield Delta(word, logprobs=(-0.1,) if request.logprobs else ())
            now = time.monotonic()
            for index in range(request.n):
                yield Delta("", "stop", Stats(len(request.prompt), 0, n, 0.0, STEP_S, now - start), index)
        finally:
            self.n_active -= 1

    async def load_adapter(self, name: str, *folders: Path) -> dict[str, Any]:
        """Refuse: no adapter is known."""
        raise EngineError("no adapters here")

    async def check_adapter(self, *folders: Path) -> dict[str, Any]:
        """Refuse: no adapter fits."""
        raise EngineError("no adapters here")

    async def unload_adapter(self, name: str) -> None:
        """Do nothing: there is nothing to forget."""

    async def block(self, seconds: float) -> None:
        """Stop the worker's progress for a while."""
        self._blocked = True
        await asyncio.sleep(seconds)
        self._blocked = False

    def adapters(self) -> list[dict[str, Any]]:
        """Return no adapters."""
        return []

    def figures(self) -> dict[str, Any]:
        """Return the counters."""
        return {"n_active": self.n_active, "totals": {"n_requests": self.n_requests}}

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""
