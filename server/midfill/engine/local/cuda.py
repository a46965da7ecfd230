"""Decoding by CUDA graphs: one launch for a whole forward pass of a few tokens.

On a GPU a step of one token is hundreds of small kernels, and launching them from Python takes longer than running
them. A graph launches them at once. There is one for each slot, number of rows and length bucket (static.py), and each
once more for steps with an adapter. They are captured by the engine's worker while nobody waits, what was missed most
recently first; until a step's graph is there, and for prompts and for several slots in one step, the step runs as
elsewhere (forward/runner.py). All graphs share one pool of memory, as only one ever runs; what a replay leaves
there is copied out before the next.

A replay cannot be stopped: cancelling takes effect between steps, which is after at most one token and its drafts.

Graphs hold addresses of this process, so there is nothing to keep on disk, and nothing here compiles anything:
capturing them all takes seconds and happens beside the first requests. Rounding differs between a graph and the other
way (other kernels, other numbers of rows), as it does between any two batch sizes on a GPU; in float32 on a CPU, where
this module runs with ``graphs=False``, both give the same tokens.
"""

from __future__ import annotations

import collections
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch

from midfill.engine.local.adapters import Adapter
from midfill.engine.local.attention import ROWWISE, Rows
from midfill.engine.local.forward import eager
from midfill.engine.local.kv_cache import Slot
from midfill.engine.local.model.decoder import Decoder
from midfill.engine.local.static import (
    N_ROWS,
    StaticLora,
    StaticStep,
    buckets,
    bytes_per_token,
    make_slots,
    plan,
    smallest,
)
from midfill.types import MidfillError

log = logging.getLogger(__name__)

# While a prompt is read, how many layers Python may be ahead of the device: enough that the device never waits, few
# enough that a cancelled request stops soon (what is launched cannot be taken back).
LAYERS_AHEAD = 4
# Before a capture the step runs as it is: libraries set themselves up on first use, which a capture does not allow.
N_REHEARSALS = 2


class Pace:
    """Keeps Python near the device."""

    def __init__(self) -> None:
        self._passed: collections.deque[torch.cuda.Event] = collections.deque()

    def __call__(self) -> None:
        """Between two layers of a step: wait until the device has come near."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._passed.append(event)
        if len(self._passed) > LAYERS_AHEAD:
            self._passed.popleft().synchronize()


class Key(NamedTuple):
    """Which graph."""

    slot: int
    n_rows: int
    bucket: int
    adapted: bool


@dataclass(frozen=True, slots=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    logits: torch.Tensor  # (n_rows, vocabulary), in the shared pool


class StaticDecoder:
    """The steps of one decoder that have a fixed shape. Belongs to the worker thread.

    ``residents`` says which adapters its buffers are to have room for, besides the one that is used.
    """

    def __init__(self, decoder: Decoder, slots: Sequence[Slot], *, graphs: bool) -> None:
        """``slots`` of make_slots. Without ``graphs`` the same steps run kernel by kernel, on any device."""
        self.slots, self.capacity = list(slots), slots[0].capacity
        self._decoder, self._graphs_wanted = decoder, graphs
        self.residents: Callable[[], Iterable[Adapter]] = tuple
        self._numbers = {id(slot): number for number, slot in enumerate(slots)}
        self._buckets = buckets(self.capacity)
        self._inputs = torch.zeros((2, ROWWISE), dtype=torch.long, device=decoder.device)  # ids, positions
        self._rows = torch.arange(ROWWISE, device=decoder.device)
        self.lora: StaticLora | None = None
        self._graphs: dict[Key, _Graph] = {}
        self._missed: list[Key] = []
        self._to_warm = [
            Key(slot, n_rows, bucket, False)
            for slot in range(len(slots)) for bucket in reversed(self._buckets) for n_rows in N_ROWS
        ]  # fmt: skip
        self._pool: Any = None

    @property
    def n_graphs(self) -> int:
        """Captured so far."""
        return len(self._graphs)

    def takes(self, batch: Sequence[Rows], adapter: Adapter | None) -> bool:
        """Whether ``step`` can evaluate ``batch`` now."""
        if len(batch) != 1 or id(batch[0].slot) not in self._numbers or not 0 < len(batch[0].ids) <= ROWWISE:
            return False
        if batch[0].positions[-1] >= self.capacity:
            return False
        key = self._key(batch[0], adapter)
        if not self._graphs_wanted or key in self._graphs:
            return True
        if key not in self._missed:
            self._missed.append(key)
        return False

    def step(self, rows: Rows, adapter: Adapter | None) -> torch.Tensor:
        """Evaluate ``rows``, which ``takes`` accepted; the logits of the last ``n_logits``: (n_logits, vocabulary)."""
        key, n = self._key(rows, adapter), len(rows.ids)
        n_more = key.n_rows - n
        inputs = [*rows.ids, *[0] * n_more], [*rows.positions, *range(self.capacity, self.capacity + n_more)]
        self._inputs[:, : key.n_rows] = torch.tensor(inputs)
        if adapter is not None:
            assert self.lora is not None
            self.lora.switch_to(adapter)
        if self._graphs_wanted:
            graph = self._graphs[key]
            graph.graph.replay()
            logits = graph.logits
        else:
            logits = self._compute(key)
        return logits[n - rows.n_logits : n].clone()

    def _key(self, rows: Rows, adapter: Adapter | None) -> Key:
        if adapter is not None and (self.lora is None or not self.lora.holds(adapter)):
            self._make_lora(adapter)
        n_rows, bucket = smallest(N_ROWS, len(rows.ids)), smallest(self._buckets, rows.positions[-1] + 1)
        return Key(self._numbers[id(rows.slot)], n_rows, bucket, adapter is not None)

    def _make_lora(self, adapter: Adapter) -> None:
        """Buffers that hold ``adapter`` and all that are resident; graphs over the old ones are of no use any more."""
        self._graphs = {key: graph for key, graph in self._graphs.items() if not key.adapted}
        self.lora = None  # its memory first
        self.lora = StaticLora(self._decoder.linears, [*self.residents(), adapter])

    def _compute(self, key: Key) -> torch.Tensor:
        """One forward pass over what stands in the inputs: (n_rows, vocabulary)."""
        ids, positions = self._inputs[:, : key.n_rows]
        step = StaticStep(self.slots[key.slot], positions, key.bucket)
        buffers = self.lora.buffers if key.adapted and self.lora is not None else None
        return eager.forward(self._decoder, ids, positions, self._rows[: key.n_rows], step, buffers, _go_on)

    # ---- capturing -----------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether graphs are still to be captured."""
        return self._graphs_wanted and bool(self._missed or self._to_warm)

    def capture_next(self) -> None:
        """Capture one graph; the engine calls it while nobody waits. Never raises: without a graph steps run on."""
        key = self._missed.pop() if self._missed else self._to_warm.pop(0)
        if key in self._graphs or (key.adapted and self.lora is None):
            return
        try:
            self._graphs[key] = self._capture(key)
        except RuntimeError as error:  # out of memory, or something in this model that cannot be captured
            log.warning("no CUDA graph for %s: %s", key, str(error)[:200])
            self._missed.clear()
            self._to_warm.clear()
            if not self._graphs:
                self._graphs_wanted, self._numbers = False, {}

    def aim_behind_the_end(self) -> None:
        """Inputs with which a step changes nothing that a slot holds: every row writes behind the last position."""
        self._inputs[0] = 0
        self._inputs[1] = self.capacity + self._rows

    def _capture(self, key: Key) -> _Graph:
        self.aim_behind_the_end()
        with torch.cuda.device(self._inputs.device):
            aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(N_REHEARSALS):
                    self._compute(key)
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                logits = self._compute(key)
        self._pool = graph.pool()
        return _Graph(graph, logits)


def _go_on() -> None:
    """Nothing can stop a step of fixed shape."""


class Evaluates(Protocol):
    """What is asked to write the first keys and values (forward/runner.py)."""

    model: Any
    device: torch.device

    def forward(self, batch: Sequence[Rows]) -> list[torch.Tensor]:
        """Evaluate ``batch``."""
        ...


def slots_that_fit(
    runner: Evaluates, context_tokens: int, max_context: int, n_slots: int, *, free: int | None = None
) -> list[Slot]:  # fmt: skip
    """Slots of fixed size for prompts of ``context_tokens`` in ``free`` bytes (what the device has).

    Raises MidfillError where they do not fit.
    """
    like = Slot()
    like.begin([1, 2], None, None)
    with torch.inference_mode():
        runner.forward([Rows(like, like.ids, range(2), 1)])
        if free is None:
            torch.cuda.empty_cache()
            free, _ = torch.cuda.mem_get_info(runner.device)
        wanted = plan(free, bytes_per_token(like), context_tokens, max_context, n_slots)
        try:
            return make_slots(like, wanted)
        except torch.OutOfMemoryError as error:
            raise MidfillError(
                f"no room for {wanted.n_slots} prompts of {wanted.capacity} tokens beside the model",
                'choose a smaller model, dtype = "int4" or device = "cpu"',
            ) from error


def static_decoder(
    runner: Evaluates, context_tokens: int, max_context: int, n_slots: int, *, free: int | None = None,
    graphs: bool = True,
) -> StaticDecoder:  # fmt: skip
    """The decoder for ``runner``, which has a Decoder, with slots_that_fit."""
    slots = slots_that_fit(runner, context_tokens, max_context, n_slots, free=free)
    return StaticDecoder(runner.model, slots, graphs=graphs)
