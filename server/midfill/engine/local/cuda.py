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
import functools
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from midfill.engine.local.adapters import Adapter, LoraPair
from midfill.engine.local.attention import ROWWISE, Rows
from midfill.engine.local.forward import eager
from midfill.engine.local.graphs import Graphs, Streams
from midfill.engine.local.kv_cache import Slot
from midfill.engine.local.memory_plan import (
    N_ROWS,
    Demand,
    buckets,
    chunks,
    memory,
    peak_of,
    plan,
    smallest,
    usual_length,
)
from midfill.engine.local.model.decoder import Decoder
from midfill.engine.local.shortage import is_out_of_memory
from midfill.engine.local.static import RANK_STEP, StaticLora, StaticStep, bytes_per_token, make_slots
from midfill.types import MidfillError

log = logging.getLogger(__name__)

# While a prompt is read, how many layers Python may be ahead of the device: enough that the device never waits, few
# enough that a cancelled request stops soon (what is launched cannot be taken back).
LAYERS_AHEAD = 4
NO_ROOM = 'choose a smaller model, dtype = "int4" or device = "cpu"'


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


class StaticDecoder:
    """The steps of one decoder that have a fixed shape. Belongs to the worker thread.

    ``residents`` says for which adapters there is to be room, besides the one that is used.
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
        """``slots`` of make_slots; ``logits``: any of the model's, (1, vocabulary); ``usual``: positions that a full
        prompt takes with its answer; ``chunk``: how many tokens of a prompt to read at once. Without ``graphs`` the
        same steps run kernel by kernel, on any device. Without a decoder (the model runs through transformers' own
        modules) none is taken.
        """
        self.slots, self.capacity, self.chunk = list(slots), slots[0].capacity, chunk
        self._decoder, self._graphs_wanted = decoder, graphs and decoder is not None
        self.residents: Callable[[], Iterable[Adapter]] = tuple
        self._numbers = {id(slot): number for number, slot in enumerate(slots) if decoder is not None}
        self._buckets = buckets(self.capacity, usual)
        device = logits.device
        self._inputs = torch.zeros((2, ROWWISE), dtype=torch.long, device=device)  # ids, positions
        self._rows = torch.arange(ROWWISE, device=device)
        self._outbox = _Outbox(self._inputs)
        # What every step leaves behind, graphs too: only one runs at a time.
        self._logits = logits.new_zeros((ROWWISE, logits.shape[-1]))
        self.lora: StaticLora | None = None
        self._without_room: set[str] = set()  # digests of adapters for which there was no memory
        self._graphs: dict[bool, Graphs[Key]] = {}  # by whether they are adapted
        if self._graphs_wanted:
            streams = Streams(device)
            self._graphs = {False: Graphs(streams, streams.plain), True: Graphs(streams, streams.adapted)}
        self._missed: list[Key] = []
        self._to_warm = [
            Key(slot, n_rows, bucket, False)
            for slot in range(len(slots)) for bucket in reversed(self._buckets) for n_rows in N_ROWS
        ]  # fmt: skip

    @property
    def n_graphs(self) -> int:
        """Captured so far."""
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
        """Evaluate ``rows``, which ``takes`` accepted; the logits of the last ``n_logits``: (n_logits, vocabulary)."""
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

    def _key(self, rows: Rows, adapter: Adapter | None) -> Key:
        n_rows, bucket = smallest(N_ROWS, len(rows.ids)), smallest(self._buckets, rows.positions[-1] + 1)
        return Key(self._numbers[id(rows.slot)], n_rows, bucket, adapter is not None)

    def _has_buffers(self, adapter: Adapter | None) -> bool:
        """Whether ``adapter``, if any, fits the buffers, which are made larger where there is room for it."""
        if adapter is None or self._decoder is None or (self.lora is not None and self.lora.holds(adapter)):
            return True
        if adapter.digest in self._without_room:
            return False
        if self._graphs_wanted:
            self._graphs[True].drop()  # they read the old buffers
        self.lora = None  # its memory first
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

    def _compute(self, key: Key) -> None:
        """One forward pass over what stands in the inputs; its results stand in ``_logits``."""
        ids, positions = self._inputs[:, : key.n_rows]
        assert self._decoder is not None
        step, keep = StaticStep(self.slots[key.slot], positions, key.bucket), self._rows[: key.n_rows]
        buffers = self.lora.buffers if key.adapted and self.lora is not None else None
        self._logits[: key.n_rows] = eager.forward(self._decoder, ids, positions, keep, step, buffers, _go_on)

    # ---- capturing -----------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether graphs are still to be captured."""
        return self._graphs_wanted and bool(self._missed or self._to_warm)

    def capture_next(self) -> None:
        """Capture one graph; the engine calls it while nobody waits. Never raises: without a graph steps run on."""
        key = self._missed.pop() if self._missed else self._to_warm.pop(0)
        graphs = self._graphs[key.adapted]
        if key in graphs or (key.adapted and self.lora is None):
            return
        self.aim_behind_the_end()
        try:
            graphs.capture(key, functools.partial(self._compute, key))
        except RuntimeError as error:  # out of memory, or something in this model that cannot be captured
            log.warning("no CUDA graph for %s: %s", key, str(error)[:200])
            self._missed.clear()
            self._to_warm.clear()
            if not self.n_graphs:
                self.close()

    def warm_up(self) -> None:
        """A step of the most rows, so that the first request does not wait until its kernels are loaded."""
        if self._numbers:
            self.aim_behind_the_end()
            self._compute(Key(0, ROWWISE, self._buckets[-1], False))

    def close(self) -> None:
        """Destroy the graphs; steps are launched kernel by kernel from now on, by the usual way."""
        for graphs in self._graphs.values():
            graphs.drop()
        self._graphs_wanted, self._numbers = False, {}
        self._missed.clear()
        self._to_warm.clear()

    def aim_behind_the_end(self) -> None:
        """Inputs with which a step changes nothing that a slot holds: every row writes behind the last position."""
        self._inputs[0] = 0
        self._inputs[1] = self.capacity + self._rows


def _go_on() -> None:
    """Nothing can stop a step of fixed shape."""


class _Outbox:
    """Sends a step's inputs to the device without waiting for it."""

    def __init__(self, inputs: torch.Tensor) -> None:
        """``inputs``: where they go, (2, ROWWISE): ids, positions."""
        is_cuda = inputs.is_cuda
        self._there, self._here = inputs, torch.zeros(inputs.shape, dtype=inputs.dtype, pin_memory=is_cuda)
        self._sent: torch.cuda.Event | None = torch.cuda.Event() if is_cuda else None  # type: ignore[no-untyped-call]

    def send(self, ids: Sequence[int], positions: Sequence[int]) -> None:
        """What the next step reads."""
        if self._sent is not None:
            self._sent.synchronize()  # the memory here is read until the last copy is done
        self._here[:, : len(ids)] = torch.tensor([ids, positions])
        self._there.copy_(self._here, non_blocking=True)
        if self._sent is not None:
            self._sent.record()


class Runs(Protocol):
    """What is asked of forward/runner.py."""

    model: Any
    device: torch.device

    def forward(self, batch: Sequence[Rows], adapter: Adapter | None) -> list[torch.Tensor]:
        """Evaluate ``batch``."""
        ...


def static_decoder(
    runner: Runs, context_tokens: int, max_context: int, n_slots: int, *, free: int | None = None,
    graphs: bool = True,
) -> StaticDecoder:  # fmt: skip
    """The decoder for ``runner`` with slots for prompts of ``context_tokens`` in ``free`` bytes (what the device has).

    Raises MidfillError where they do not fit.
    """
    device, model = runner.device, runner.model if isinstance(runner.model, Decoder) else None
    usual = usual_length(context_tokens, max_context)
    to_try = chunks(memory(device)[1] if device.type == "cuda" else 1 << 60)
    with torch.inference_mode():
        for chunk in to_try:
            try:
                like, logits, demand = measure(runner, context_tokens, chunk)
                wanted = plan(
                    free if free is not None else memory(device)[0], demand, context_tokens, max_context, n_slots
                )
                slots = make_slots(like, wanted)
                break
            except (MidfillError, torch.OutOfMemoryError) as error:
                if chunk == to_try[-1]:
                    if isinstance(error, MidfillError):
                        raise
                    raise MidfillError(f"no room for a prompt of {context_tokens} tokens", NO_ROOM) from error
        if graphs and model is None:
            log.warning("no CUDA graphs: %s has no forward pass of ours", type(runner.model).__name__)
        decoder = StaticDecoder(model, slots, logits, usual=usual, chunk=chunk, graphs=graphs)
        decoder.warm_up()
    log.info("%d slots of %d tokens, %d at once; %s", wanted.n_slots, wanted.capacity, chunk, demand)
    return decoder


def measure(runner: Runs, context_tokens: int, chunk: int) -> tuple[Slot, torch.Tensor, Demand]:
    """A slot that was written to (emptied), logits (1, vocabulary), and what the model needs beside its weights.

    By the steps that need most: the last chunk of a prompt of ``context_tokens``, and one of ROWWISE rows, with an
    adapter on every linear layer. They also load the kernels that the first request would have to wait for.
    """
    device, like, found = runner.device, Slot(), list[torch.Tensor]()
    like.begin([1] * context_tokens, None, None)

    def read(n: int) -> None:
        at = range(context_tokens - n, context_tokens)
        found[:] = runner.forward([Rows(like, [1] * n, at, 1)], adapter)

    adapter = null_adapter(runner.model) if isinstance(runner.model, Decoder) else None
    read(1)  # makes the slot's buffers, and what libraries keep for good
    prefill = peak_of(lambda: read(min(chunk, context_tokens)), device)
    step = peak_of(lambda: read(min(ROWWISE, context_tokens)), device)
    logits = found[0]
    demand = Demand(
        token=bytes_per_token(like), prefill=prefill, step=step, adapter=adapter.n_bytes if adapter is not None else 0,
        logits=ROWWISE * logits.numel() * logits.element_size(),
    )  # fmt: skip
    like.keys, like.values = ([t[:, :1].clone() for t in tensors] for tensors in (like.keys, like.values))
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return like, logits, demand


def null_adapter(decoder: Decoder) -> Adapter:
    """One of rank RANK_STEP on every linear layer of the decoder's layers that changes nothing."""
    adapter, like = Adapter("", Path(), "", RANK_STEP, 1.0, "", {}), torch.empty(0, dtype=decoder.kv_dtype)
    for linear in (linear for layer in decoder.layers for linear in layer.linears):
        for path, size in zip(linear.paths, linear.sizes, strict=True):
            a, b = like.new_zeros((RANK_STEP, linear.in_features)), like.new_zeros((size, RANK_STEP))
            adapter.pairs[path] = LoraPair(a, b, 1.0)
        adapter.stack(linear.paths, linear.sizes)
    return adapter.to(decoder.device, decoder.kv_dtype)
