"""What the event loop calls of the resident engine: requests, adapters, figures. The engine's
thread (thread.py) does the work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from midfill.engine.base import AdapterMissingError, BadRequestError, Delta, EngineError, GenerateRequest
from midfill.engine.local.lora.adapter import Adapter, read_adapter, summed
from midfill.engine.local.lora.loader import AdapterLoader
from midfill.engine.local.request import Request
from midfill.engine.local.store.preparing import Compiling
from midfill.engine.local.thread import EngineThread, LoadOptions
from midfill.engine.suspects import Suspects, WorkLog, refusal
from midfill.tokenizer import CodeTokenizer
from midfill.types import EngineStatus, MidfillError, ModelInfo


class LocalEngine:
    """The engine on this machine, called from the event loop. Methods raise EngineError if their docstring says so."""

    def __init__(
        self, spec: str = "auto", *, device: str = "auto", dtype: str = "auto", template: str = "auto",
        max_adapters: int = 8, suspects: Suspects | None = None, work_log: WorkLog | None = None,
        compiling: Compiling | None = None,
    ) -> None:  # fmt: skip
        """``suspects``: prompts that are refused; ``work_log`` records which prompts are being worked on;
        ``compiling``: the compilation of the kernels, if it has begun already."""
        self._suspects = suspects
        self._loader = AdapterLoader(self)
        settings = LoadOptions(spec, device, dtype, template, max_adapters)
        self.thread = EngineThread(settings, self._loader.close, work_log, compiling)

    def start(self) -> None:
        """Begin loading; ``status`` tells the progress."""
        self.thread.start()
        self._loader.start()

    @property
    def status(self) -> EngineStatus:
        """Whether the engine is starting, ready or failed, and what the user can do about a failure."""
        return self.thread.status

    @property
    def info(self) -> ModelInfo | None:
        """The model, with the context that memory allows now; None until the engine is ready."""
        return self.thread.info

    @property
    def tokenizer(self) -> CodeTokenizer | None:
        """The model's tokenizer; None until the engine is ready."""
        return self.thread.model.tokenizer if self.thread.model is not None else None

    @property
    def busy(self) -> bool:
        """Whether there is work, even if the thread is stuck and does not get to it."""
        return self.thread.busy

    @property
    def n_progress(self) -> int:
        """A counter that grows while work progresses; a watchdog reads it."""
        return self.thread.n_progress

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Closing the iterator cancels the request. Raises EngineError."""
        adapter = self.check(request)
        out: asyncio.Queue[Delta | Exception] = asyncio.Queue()
        loop, now = asyncio.get_running_loop(), time.monotonic()
        candidates = [Request(request, loop, out, adapter, index, arrived=now) for index in range(request.n)]
        self.thread.submit(request, candidates)
        n_open = len(candidates)
        try:
            while n_open:
                item = await out.get()
                if isinstance(item, Exception):
                    raise item
                n_open -= item.finish_reason is not None
                yield item
        finally:
            for candidate in candidates:
                candidate.cancelled.set()

    def check(self, request: GenerateRequest) -> Adapter | None:
        """Check that ``request`` can be answered now, and return its adapter. Raises
        BadRequestError or another EngineError."""
        info = self.info
        model, residents = self.thread.model, self.thread.residents
        if info is None or model is None or residents is None:
            raise EngineError("the engine is not ready", self.status.remedy or "wait until the model is loaded")
        n_prompt = len(request.prompt)
        ids = (*request.prompt, *request.given)
        if not request.prompt or min(ids) < 0 or max(ids) >= model.vocabulary:
            raise BadRequestError(
                "the prompt is empty or holds ids outside the vocabulary", "render the prompt for this model"
            )
        if n_prompt + request.max_tokens > info.max_context:
            raise BadRequestError(
                f"the prompt of {n_prompt} tokens leaves no room for an answer", f"the model takes {info.max_context}"
            )
        if info.most_tokens and n_prompt > info.most_tokens:
            raise EngineError(
                f"memory is short: prompts of {n_prompt} tokens are refused for now",
                f"at most {info.most_tokens} tokens for the next minute",
            )
        if self._suspects is not None and request.prompt in self._suspects:
            raise refusal()
        if request.adapter is None:
            return None
        if (adapter := residents.adapters.get(request.adapter)) is None:
            raise AdapterMissingError(f"adapter {request.adapter[:64]!r} is not loaded", "load it first")
        self.thread.used(request.adapter)
        return adapter

    async def load_adapter(self, name: str, *folders: Path) -> dict[str, Any]:
        """Make the adapter in a folder, or the sum of those in several, usable as ``name`` and return its facts. Raises
        MidfillError; the old adapter then stays.

        Generation continues meanwhile. The loader notices files that are replaced later (lora/loader.py).
        """
        return _facts(await asyncio.wrap_future(self.thread.while_serving(lambda: self._loader.load(name, folders))))

    async def check_adapter(self, *folders: Path) -> dict[str, Any]:
        """Check that the adapter in a folder, or the sum of those in several, could be loaded, keep nothing of it, and
        return its facts. Raises MidfillError."""
        return _facts(await asyncio.wrap_future(self.thread.while_serving(lambda: self._loader.check(folders))))

    async def unload_adapter(self, name: str) -> None:
        """Forget the adapter ``name``."""
        await asyncio.wrap_future(self.thread.post(lambda: self.thread.unload_adapter(name)))

    async def block(self, seconds: float) -> None:
        """Keep the thread from its work for ``seconds``, for tests."""
        await asyncio.wrap_future(self.thread.post(lambda: time.sleep(seconds)))

    def figures(self) -> dict[str, Any]:
        """Return the counters since the start, and the last requests."""
        scheduler, records = self.thread.scheduler, self.thread.records
        n_slots = len(self.thread.slots.slots) if self.info is not None else 0
        slots = {"n_slots": n_slots, "n_active": len(scheduler.running), "n_waiting": len(scheduler.waiting)}
        return {**slots, "totals": dict(records.totals), "recent": list(records.recent)}

    def adapters(self) -> list[dict[str, Any]]:
        """Return the facts of each resident adapter."""
        return [
            {"name": a.name, "folder": " + ".join(map(str, a.folders)), "rank": a.rank, "alpha": a.alpha,
             "base": a.base, "parameters": a.parameters, "digest": a.digest,
             "problem": _problem(self._loader.problems.get(a.name))}
            for a in self.resident_adapters().values()
        ]  # fmt: skip

    async def aclose(self) -> None:
        """End the thread after its current step."""
        self.thread.close()

    # ---- on the loader's thread --------------------------------------------------------------------------------

    def resident_adapters(self) -> Mapping[str, Adapter]:
        """The resident adapters by name; the mapping never changes once returned."""
        return self.thread.residents.adapters if self.thread.residents is not None else {}

    def read_adapter(self, name: str, folders: Sequence[Path]) -> Adapter:
        """Read and check the sum of the adapters in ``folders``, and lay it out for use. Raises MidfillError."""
        model = self.thread.model
        if self.info is None or model is None:
            raise EngineError("the engine is not ready", self.status.remedy or "wait until the model is loaded")
        adapter = summed(name, [read_adapter(name, folder, model.model, model.base_names) for folder in folders])
        self.thread.runner.make_ready(adapter)
        return adapter

    def install_adapter(self, adapter: Adapter, *, replacing: Adapter | None) -> None:
        """Make ``adapter`` usable and wait until it is. Does nothing if ``replacing`` is no longer resident."""
        self.thread.post(lambda: self.thread.install_adapter(adapter, replacing)).result()


def _facts(adapter: Adapter) -> dict[str, Any]:
    return {
        "name": adapter.name, "rank": adapter.rank, "alpha": adapter.alpha, "parameters": adapter.parameters,
        "digest": adapter.digest,
    }  # fmt: skip


def _problem(error: MidfillError | None) -> dict[str, str] | None:
    return {"message": error.message, "remedy": error.remedy} if error is not None else None
