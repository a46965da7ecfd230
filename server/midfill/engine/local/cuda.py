"""Decoding by CUDA graphs: one launch for a whole forward pass of a few tokens.

On a GPU a step of one token is hundreds of small kernels, and launching them from Python takes longer than running
them. A graph launches them at once. There is one for each slot, number of rows and length bucket (static.py), and each
once more for steps with an adapter. They are captured by the engine's worker while nobody waits, what was missed most
recently first; until a step's graph is there, and for prompts and for several slots in one step, the step runs as
elsewhere (decode.Runner.forward). All graphs share one pool of memory, as only one ever runs; what a replay leaves
there is copied out before the next.

A replay cannot be stopped: cancelling takes effect between steps, which is after at most one token and its drafts.

Graphs hold addresses of this process, so there is nothing to keep on disk, and nothing here compiles anything:
capturing them all takes seconds and happens beside the first requests. Rounding differs between a graph and the other
way (other kernels, other numbers of rows), as it does between any two batch sizes on a GPU; in float32 on a CPU, where
this module runs with ``graphs=False``, both give the same tokens.
"""

from __future__ import annotations

import collections
import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from midfill.engine.local.adapters import Adapter
from midfill.engine.local.attention import ROWWISE, Rows, current
from midfill.engine.local.kv_cache import Slot
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

if TYPE_CHECKING:
    from midfill.engine.local.decode import Runner

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
    """The steps of one runner that have a fixed shape. Belongs to the worker thread."""

    def __init__(self, runner: Runner, slots: Sequence[Slot], *, graphs: bool) -> None:
        """``slots`` of make_slots. Without ``graphs`` the same steps run kernel by kernel, on any device."""
        self.slots, self.capacity = list(slots), slots[0].capacity
        self._runner, self._graphs_wanted = runner, graphs and runner.lean is not None
        # Without the lean pass nothing can be captured, and kernel by kernel the usual way is the better one.
        usable = self._graphs_wanted or not graphs
        self._numbers = {id(slot): number for number, slot in enumerate(slots) if usable}
        self._buckets = buckets(self.capacity)
        device = runner.model.device
        self._inputs = torch.zeros((2, ROWWISE), dtype=torch.long, device=device)  # ids, positions
        self._rows = torch.arange(ROWWISE, device=device)
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

    def takes(self, batch: Sequence[Rows]) -> bool:
        """Whether ``step`` can evaluate ``batch`` now."""
        if len(batch) != 1 or id(batch[0].slot) not in self._numbers or not 0 < len(batch[0].ids) <= ROWWISE:
            return False
        if batch[0].positions[-1] >= self.capacity:
            return False
        key = self._key(batch[0])
        if not self._graphs_wanted or key in self._graphs:
            return True
        if key not in self._missed:
            self._missed.append(key)
        return False

    def step(self, rows: Rows) -> torch.Tensor:
        """Evaluate ``rows``, which ``takes`` accepted; the logits of the last ``n_logits``: (n_logits, vocabulary)."""
        key, n = self._key(rows), len(rows.ids)
        n_more = key.n_rows - n
        inputs = [*rows.ids, *[0] * n_more], [*rows.positions, *range(self.capacity, self.capacity + n_more)]
        self._inputs[:, : key.n_rows] = torch.tensor(inputs)
        adapter = self._runner.switch.active
        if adapter is not None and key.adapted:
            assert self.lora is not None
            self.lora.switch_to(adapter)
        if self._graphs_wanted:
            graph = self._graphs[key]
            graph.graph.replay()
            logits = graph.logits
        else:
            logits = self._compute(key)
        return logits[n - rows.n_logits : n].clone()

    def _key(self, rows: Rows) -> Key:
        adapter = self._runner.switch.active
        adapted = adapter is not None and self._runner.lean is not None
        if adapted and adapter is not None and (self.lora is None or not self.lora.holds(adapter)):
            self._make_lora(adapter)
        n_rows, bucket = smallest(N_ROWS, len(rows.ids)), smallest(self._buckets, rows.positions[-1] + 1)
        return Key(self._numbers[id(rows.slot)], n_rows, bucket, adapted)

    def _make_lora(self, adapter: Adapter) -> None:
        """Buffers that hold ``adapter`` and all that are resident; graphs over the old ones are of no use any more."""
        assert self._runner.lean is not None
        self._graphs = {key: graph for key, graph in self._graphs.items() if not key.adapted}
        self.lora = None  # its memory first
        self.lora = StaticLora(self._runner.lean.products, [*self._runner.switch.adapters.values(), adapter])

    def _compute(self, key: Key) -> torch.Tensor:
        """One forward pass over what stands in the inputs: (n_rows, vocabulary)."""
        ids, positions = self._inputs[:, : key.n_rows]
        step: Any = StaticStep(self.slots[key.slot], positions, key.bucket)
        keep = self._rows[: key.n_rows]
        if self._runner.lean is not None:
            with self._buffers_for(key):
                return self._runner.lean(ids[None], positions[None], keep, step, _go_on)
        current.step = step
        try:
            outputs = self._runner.model(
                input_ids=ids[None], position_ids=positions[None], use_cache=False, logits_to_keep=keep
            )
        finally:
            current.step = None
        logits: torch.Tensor = outputs.logits[0]
        return logits

    @contextlib.contextmanager
    def _buffers_for(self, key: Key) -> Iterator[None]:
        """Inside, the adapter of a step is what stands in the buffers, or none."""
        switch = self._runner.switch
        active = switch.active
        switch.active = self.lora.buffers if key.adapted and self.lora is not None else None
        try:
            yield
        finally:
            switch.active = active

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


def static_decoder(
    runner: Runner, context_tokens: int, max_context: int, n_slots: int, *, free: int | None = None,
    graphs: bool = True,
) -> StaticDecoder:  # fmt: skip
    """The decoder for ``runner`` with slots for prompts of ``context_tokens`` in ``free`` bytes (what the device has).

    Raises MidfillError where they do not fit.
    """
    like = Slot()
    like.begin([1, 2], None, None)
    with torch.inference_mode():
        runner.forward([Rows(like, like.ids, range(2), 1)])
        if free is None:
            torch.cuda.empty_cache()
            free, _ = torch.cuda.mem_get_info(runner.model.device)
        wanted = plan(free, bytes_per_token(like), context_tokens, max_context, n_slots)
        try:
            slots = make_slots(like, wanted)
        except torch.OutOfMemoryError as error:
            raise MidfillError(
                f"no room for {wanted.n_slots} prompts of {wanted.capacity} tokens beside the model",
                'choose a smaller model, dtype = "int4" or device = "cpu"',
            ) from error
    return StaticDecoder(runner, slots, graphs=graphs)
