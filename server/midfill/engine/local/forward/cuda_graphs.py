"""Decoding by CUDA graphs: one launch for a whole forward pass of a few tokens.

On a GPU a step of one token is hundreds of small kernels, and launching them from Python takes longer than running
them. A graph launches them at once. There is one for each slot, number of rows and length bucket (fixed_shape.py), and
each once more for steps with an adapter. The engine's worker captures them while no request waits, the most recently
missed one first. Until a step's graph exists, and for prompts and for several slots in one step, the step runs by the
usual pass (forward/runner.py). Only one graph ever runs at a time, so all leave their logits in the same place, and the
worker copies the ones it needs before the next replay.

A replay cannot be stopped: cancelling takes effect between steps, which is after at most one token and its drafts.

Graphs hold addresses of this process, so they cannot be kept on disk: capturing them all takes seconds and happens
beside the first requests. If Triton is installed, its kernels are tried on the loaded model, and used for these steps
if they give the same result, faster (``choose``); Triton keeps what it compiles.

Rounding differs between a graph and the usual pass (other kernels, other numbers of rows), as it does between any two
batch sizes on a GPU; in float32 on a CPU, where this module runs with ``graphs=False``, both give the same tokens.
"""

from __future__ import annotations

import collections
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch

from midfill.engine.local.forward import eager
from midfill.engine.local.forward.attention import ROWWISE, Rows
from midfill.engine.local.forward.fixed_shape import StaticLora, StaticStep
from midfill.engine.local.forward.graphs import Graphs, Streams
from midfill.engine.local.forward.memory_plan import N_ROWS, buckets, smallest
from midfill.engine.local.lora.adapter import Adapter
from midfill.engine.local.model.decoder import Decoder
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.engine.local.shortage import is_out_of_memory

log = logging.getLogger(__name__)

# How many layers Python may be ahead of the device while a prompt is read: enough that the device never waits, few
# enough that a cancelled request stops soon (launched kernels cannot be taken back).
LAYERS_AHEAD = 4
# Two passes agree if their logits differ by less than this part: the effect of rounding to bfloat16 in a deep model.
AGREE = 0.1
N_TIMED = 20  # replays


class Backpressure:
    """Keeps Python near the device."""

    def __init__(self) -> None:
        self._passed: collections.deque[torch.cuda.Event] = collections.deque()

    def __call__(self) -> None:
        """Wait between two layers of a step until the device is at most LAYERS_AHEAD layers behind."""
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._passed.append(event)
        if len(self._passed) > LAYERS_AHEAD:
            self._passed.popleft().synchronize()


# forward of forward/fused.py: (decoder, ids, positions, slot, adapter) -> the logits of every row, (rows, vocabulary).
Fused = Callable[[Decoder, torch.Tensor, torch.Tensor, Slot, Adapter | None], torch.Tensor]


class GraphKey(NamedTuple):
    """Identifies a graph."""

    slot: int
    n_rows: int
    bucket: int
    adapted: bool


class StaticDecoder:
    """The steps of one decoder that have a fixed shape. Only the worker's thread uses it.

    ``residents`` returns the adapters that need room, besides the one in use.
    """

    def __init__(
        self,
        decoder: Decoder | None,
        slots: Sequence[Slot],
        logits: torch.Tensor,
        *,
        usual: int,
        chunk: int,
        graphs: bool,
    ) -> None:
        """``slots``: from make_slots; ``logits``: any of the model's, (1, vocabulary); ``usual``: positions that a
        full prompt takes with its answer; ``chunk``: how many tokens of a prompt to read at once. Without ``graphs``
        the same steps run kernel by kernel, on any device. Without a decoder (the model runs through transformers'
        own modules) it takes no step."""
        self.slots, self.capacity, self.chunk = list(slots), slots[0].capacity, chunk
        self._decoder, self._graphs_wanted = decoder, graphs and decoder is not None
        self.residents: Callable[[], Iterable[Adapter]] = tuple
        self._numbers = {id(slot): number for number, slot in enumerate(slots) if decoder is not None}
        device = logits.device
        self._inputs = torch.zeros((2, ROWWISE), dtype=torch.long, device=device)  # ids, positions
        self._rows = torch.arange(ROWWISE, device=device)
        self._outbox = _InputSender(self._inputs)
        # All steps and graphs leave their logits here: only one runs at a time.
        self._logits = logits.new_zeros((ROWWISE, logits.shape[-1]))
        self.lora: StaticLora | None = None
        self._without_room: set[str] = set()  # digests of adapters that found no memory
        self._graphs: dict[bool, Graphs[GraphKey]] = {}  # key: whether they are adapted
        if self._graphs_wanted:
            streams = Streams(device)
            self._graphs = {False: Graphs(streams, streams.plain), True: Graphs(streams, streams.adapted)}
        self._missed: list[GraphKey] = []
        self._fused: Fused | None = None
        self._usual, self._all_buckets = usual, buckets(self.capacity, usual)
        self._take(None)

    def _take(self, fused: Fused | None) -> None:
        """Compute steps by ``fused`` from now on, or by the eager pass if it is None. The
        other one's graphs are dropped."""
        for graphs in self._graphs.values():
            graphs.drop()
        self._missed.clear()
        self._fused = fused
        self._buckets = (self.capacity,) if fused is not None else self._all_buckets  # it reads the length
        self._to_warm = [
            GraphKey(slot, n_rows, bucket, False)
            for slot in range(len(self.slots)) for bucket in reversed(self._buckets) for n_rows in N_ROWS
        ]  # fmt: skip

    @property
    def is_fused(self) -> bool:
        """Whether Triton's kernels compute the steps."""
        return self._fused is not None

    @property
    def n_graphs(self) -> int:
        """The number of graphs captured so far."""
        return sum(len(graphs) for graphs in self._graphs.values())

    def takes(self, batch: Sequence[Rows], adapter: Adapter | None) -> bool:
        """Whether ``step`` can evaluate ``batch`` now."""
        if len(batch) != 1 or id(batch[0].slot) not in self._numbers or not 0 < len(batch[0].ids) <= ROWWISE:
            return False
        if batch[0].positions[-1] >= self.capacity or not self._has_buffers(adapter):
            return False
        key = self._key(batch[0], adapter)
        if not self._graphs_wanted or key in self._graphs[key.adapted]:
            return True
        if key not in self._missed:
            self._missed.append(key)
        return False

    def step(self, rows: Rows, adapter: Adapter | None) -> torch.Tensor:
        """Evaluate ``rows``, which ``takes`` accepted; return the logits of the last
        ``n_logits``: (n_logits, vocabulary)."""
        key, n = self._key(rows, adapter), len(rows.ids)
        n_more = key.n_rows - n
        self._outbox.send([*rows.ids, *[0] * n_more], [*rows.positions, *range(self.capacity, self.capacity + n_more)])
        if adapter is not None:
            assert self.lora is not None
            self.lora.switch_to(adapter)
        if self._graphs_wanted:
            self._graphs[key.adapted].replay(key)
        else:
            self._compute(key)
        return self._logits[n - rows.n_logits : n].clone()

    def _key(self, rows: Rows, adapter: Adapter | None) -> GraphKey:
        n_rows, bucket = smallest(N_ROWS, len(rows.ids)), smallest(self._buckets, rows.positions[-1] + 1)
        return GraphKey(self._numbers[id(rows.slot)], n_rows, bucket, adapter is not None)

    def _has_buffers(self, adapter: Adapter | None) -> bool:
        """Whether ``adapter``, if any, fits the buffers; they are made larger if there is memory for it."""
        if adapter is None or self._decoder is None or (self.lora is not None and self.lora.holds(adapter)):
            return True
        if adapter.digest in self._without_room:
            return False
        if self._graphs_wanted:
            self._graphs[True].drop()  # they read the old buffers
        self.lora = None  # frees its memory first
        resident = [one for one in self.residents() if one.digest not in self._without_room]
        try:
            self.lora = StaticLora(self._decoder.linears, [*resident, adapter])
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            log.warning("no room for the adapter %s beside the graphs: its steps are launched one by one", adapter.name)
            self._without_room.add(adapter.digest)
            return False
        return True

    def _compute(self, key: GraphKey) -> None:
        """Run one forward pass over the inputs; it leaves its results in ``_logits``."""
        ids, positions = self._inputs[:, : key.n_rows]
        assert self._decoder is not None
        step, keep = StaticStep(self.slots[key.slot], positions, key.bucket), self._rows[: key.n_rows]
        buffers = self.lora.buffers if key.adapted and self.lora is not None else None
        if self._fused is not None:
            logits = self._fused(self._decoder, ids, positions, self.slots[key.slot], buffers)
        else:
            logits = eager.forward(self._decoder, ids, positions, keep, step, buffers, _go_on)
        self._logits[: key.n_rows] = logits

    # ---- capturing -----------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether graphs are still to be captured."""
        return self._graphs_wanted and bool(self._missed or self._to_warm)

    def capture_next(self) -> None:
        """Capture one graph; the engine calls it while no request waits. Never raises:
        steps also run without a graph."""
        key = self._missed.pop() if self._missed else self._to_warm.pop(0)
        graphs = self._graphs[key.adapted]
        if key in graphs or (key.adapted and self.lora is None):
            return
        self.aim_behind_the_end()
        try:
            graphs.capture(key, functools.partial(self._compute, key))
        except Exception as error:  # noqa: BLE001 - no memory, an uncapturable step, a kernel that fails to compile
            log.warning("no CUDA graph for %s: %s", key, str(error)[:200])
            if self._fused is not None and not is_out_of_memory(error):
                self._take(None)
                return
            self._missed.clear()
            self._to_warm.clear()
            if not self.n_graphs:
                self.close()

    # ---- which pass ----------------------------------------------------------------------------------------------

    def choose(self, fused: Fused) -> None:
        """Use ``fused`` for every step if on this model it gives the eager pass's result, and gives it sooner.

        Nothing depends on it: after any error, such as a kernel that does not compile here or a missing
        compiler, the eager pass stays.
        """
        slot, start = self.slots[0], self._usual - ROWWISE  # in the last bucket of the usual prompt
        for buffer in (*slot.keys, *slot.values):
            buffer.normal_(std=0.3)  # nothing is lost: no request has used it yet
        try:
            found = []
            for one in (None, fused):
                self._take(one)
                self._outbox.send([1, 5, 2], range(start, start + 3))
                bucket = smallest(self._buckets, start + 3)
                self._compute(GraphKey(0, 3, bucket, False))
                found.append((self._logits[:3].float().clone(), self._seconds(GraphKey(0, 1, bucket, False))))
            (expected, eager_s), (logits, fused_s) = found
            difference = float((logits - expected).norm() / expected.norm())
            log.info("kernels by Triton: %.3f ms instead of %.3f, logits differ by %.4f", fused_s * 1e3, eager_s * 1e3,
                     difference)  # fmt: skip
            if difference < AGREE and fused_s < eager_s:
                return
        except Exception as error:  # noqa: BLE001 - errors of many kinds, Triton's own among them
            log.info("no kernels by Triton: %s", str(error)[:200])
        finally:
            for buffer in (*slot.keys, *slot.values):
                buffer.zero_()
        self._take(None)

    def _seconds(self, key: GraphKey) -> float:
        """Return how many seconds the graph of a step takes on the device."""
        graphs = self._graphs[False]
        graphs.capture(key, functools.partial(self._compute, key))
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        graphs.replay(key)
        start.record()
        for _ in range(N_TIMED):
            graphs.replay(key)
        end.record()
        end.synchronize()
        graphs.drop()
        return float(start.elapsed_time(end)) / 1e3 / N_TIMED

    def warm_up(self) -> None:
        """Run a step of the most rows, so that the first request does not wait for its kernels to load."""
        if not self._numbers:
            return
        self.aim_behind_the_end()
        try:
            self._compute(GraphKey(0, ROWWISE, self._buckets[-1], False))
        except Exception as error:
            if self._fused is None:
                raise
            log.warning("no kernels by Triton after all: %s", str(error)[:200])
            self._take(None)
            self._compute(GraphKey(0, ROWWISE, self._buckets[-1], False))

    def close(self) -> None:
        """Destroy the graphs; from now on steps are launched kernel by kernel, by the usual pass."""
        for graphs in self._graphs.values():
            graphs.drop()
        self._graphs_wanted, self._numbers = False, {}
        self._missed.clear()
        self._to_warm.clear()

    def aim_behind_the_end(self) -> None:
        """Set inputs with which a step changes nothing that a slot holds: every row writes after the last position."""
        self._inputs[0] = 0
        self._inputs[1] = self.capacity + self._rows


def _go_on() -> None:
    """Do nothing, as a step of fixed shape cannot be stopped."""


class _InputSender:
    """Sends a step's inputs to the device without waiting for it."""

    def __init__(self, inputs: torch.Tensor) -> None:
        """``inputs``: the tensor on the device, (2, ROWWISE): ids, positions."""
        is_cuda = inputs.is_cuda
        self._there, self._here = inputs, torch.zeros(inputs.shape, dtype=inputs.dtype, pin_memory=is_cuda)
        self._sent: torch.cuda.Event | None = torch.cuda.Event() if is_cuda else None  # type: ignore[no-untyped-call]

    def send(self, ids: Sequence[int], positions: Sequence[int]) -> None:
        """Send the inputs of the next step."""
        if self._sent is not None:
            self._sent.synchronize()  # the host memory is read until the last copy is done
        self._here[:, : len(ids)] = torch.tensor([ids, positions])
        self._there.copy_(self._here, non_blocking=True)
        if self._sent is not None:
            self._sent.record()
