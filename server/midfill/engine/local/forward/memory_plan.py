"""How a GPU's memory is shared out beside the weights: slots, prompts being read, graphs, adapters.

Slots get their memory once, so what else will be needed must be known before. It is measured on the loaded model by the
steps that need most (``Demand``), and the slots get what is left. A card that has too little for long pieces of a
prompt reads short ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from midfill.engine.local.forward.attention import ROWWISE
from midfill.types import MidfillError

MIB, GIB = 1 << 20, 1 << 30

# A step has one of these numbers of rows: the last token alone, or with 1, 2, 4, 8 or 16 drafts.
N_ROWS = (1, 2, 3, 5, 9, ROWWISE)
# Rows that only fill a step up write behind the last position, each to its own place.
SCRATCH = ROWWISE
# Attention reads whole buckets: the powers of two from here, what the usual prompt needs, and the capacity.
FIRST_BUCKET = 512
# A slot's capacity is a multiple of it, so that its rows stay aligned.
ALIGNMENT = 256
# Room for an answer and its drafts behind a prompt that fills its budget.
ANSWER_TOKENS = 256
# More is of no use to a completion, and the largest buckets are slow to capture.
MAX_CAPACITY = 8192
# Tokens of a prompt that are read at once, by the memory of the card from which on: long pieces are quicker, as each
# step reads all weights, and take memory by their length.
CHUNKS = ((14 * GIB, 1024), (10 * GIB, 512), (0, 256))
# With less free than this, slots are no longer than they must be: the rest is worth more to adapters and graphs.
PLENTY = 4 * GIB
# What the driver keeps of one graph of some 600 kernels; an estimate, as no allocator of ours sees it.
GRAPH_BYTES = 3 * MIB // 2
# What the allocator rounds up, and what the device's other users take meanwhile.
MARGIN = 64 * MIB
# As many adapters as there must be room for: the buffers that graphs read, and a resident one copied into them.
N_ADAPTERS = 2


@dataclass(frozen=True, slots=True)
class Demand:
    """What a model needs beside its weights, in bytes. ``token``: keys and values of one position in all layers;
    ``prefill``: the most that reading a chunk takes for a moment; ``step``: the same of a step of ROWWISE rows;
    ``adapter``: one of rank 16 on every linear layer; ``logits``: those of ROWWISE rows.
    """

    token: int
    prefill: int = 0
    step: int = 0
    adapter: int = 0
    logits: int = 0

    def reserve(self, n_slots: int, n_buckets: int) -> int:
        """All but the slots. Graphs with and without an adapter have a pool of memory each."""
        n_graphs = 2 * n_slots * n_buckets * len(N_ROWS)
        graphs = 2 * self.step + self.logits + n_graphs * GRAPH_BYTES
        return self.prefill + N_ADAPTERS * self.adapter + graphs + MARGIN


@dataclass(frozen=True, slots=True)
class Plan:
    """How many slots, for how many tokens each."""

    n_slots: int
    capacity: int


def plan(free: int, demand: Demand, context_tokens: int, max_context: int, n_slots: int) -> Plan:
    """As many slots for a prompt of ``context_tokens`` and its answer as ``free`` bytes allow, at most ``n_slots``;
    what is left makes them longer, where there is plenty. Raises MidfillError where not even one fits.
    """
    needed = usual_length(context_tokens, max_context)
    longest = min(MAX_CAPACITY, rounded_up(max_context, ALIGNMENT)) if free >= PLENTY else needed
    for n in range(n_slots, 0, -1):
        for capacity in range(max(needed, longest), needed - 1, -ALIGNMENT):
            reserve = demand.reserve(n, len(buckets(capacity, needed)))
            if n * (capacity + SCRATCH) * demand.token + reserve <= free:
                return Plan(n, capacity)
    raise MidfillError(
        "the model leaves no room for a prompt in the memory of its device",
        'choose a smaller model, dtype = "int4" or device = "cpu"',
    )


def usual_length(context_tokens: int, max_context: int) -> int:
    """Positions that a prompt which fills its budget takes with its answer."""
    return rounded_up(min(context_tokens + ANSWER_TOKENS + ROWWISE, max_context), ALIGNMENT)


def rounded_up(n: int, step: int) -> int:
    """``n``, or the next multiple of ``step``."""
    return -(-n // step) * step


def buckets(capacity: int, usual: int) -> tuple[int, ...]:
    """The lengths attention may read, ascending. ``usual`` is one, so that an answer to a prompt that fills its budget
    reads no more than that.
    """
    sizes, size = {capacity, min(usual, capacity)}, FIRST_BUCKET
    while size < capacity:
        sizes.add(size)
        size *= 2
    return tuple(sorted(sizes))


def smallest(sizes: Sequence[int], n: int) -> int:
    """The first of ``sizes`` (ascending) that holds ``n``."""
    return next(size for size in sizes if size >= n)


def chunks(total: int) -> tuple[int, ...]:
    """How many tokens of a prompt to read at once on a card with ``total`` bytes: the choice, and what to try after."""
    first = next(n for least, n in CHUNKS if total >= least)
    return tuple(n for _, n in CHUNKS if n <= first)


def memory(device: torch.device) -> tuple[int, int]:
    """(free, in all) bytes of ``device`` for this process, which may have been given a share only
    (torch.cuda.set_per_process_memory_fraction). What the allocator keeps for later is given back first.
    """
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    share = int(total * torch.cuda.get_per_process_memory_fraction(device.index))
    return max(0, min(free, share - torch.cuda.memory_reserved(device))), min(total, share)


def peak_of(action: Callable[[], object], device: torch.device) -> int:
    """Bytes that the allocator took from ``device`` while ``action`` ran; 0 where it does not count them."""
    if device.type != "cuda":
        action()
        return 0
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    action()
    torch.cuda.synchronize(device)
    return max(0, torch.cuda.max_memory_reserved(device) - before)
