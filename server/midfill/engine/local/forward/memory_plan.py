"""How a GPU's memory is divided besides the weights: slots, prompts being read, graphs, adapters.

Slots get their memory once, so all other needs must be known before. They are measured on the loaded model by
the steps that need most (``Demand``), and the slots get the rest. A card with too little memory for long pieces
of a prompt reads short ones.
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
# Padding rows write their keys and values to scratch positions past the capacity, one each.
SCRATCH = ROWWISE
# Attention reads whole buckets: the powers of two from here on, the usual prompt's length, and the capacity.
FIRST_BUCKET = 512
# A slot's capacity is a multiple of this, so that its rows stay aligned.
ALIGNMENT = 256
# Room for an answer and its drafts after a prompt that fills its budget.
ANSWER_TOKENS = 256
# More does not help a completion, and the largest buckets are slow to capture.
MAX_CAPACITY = 8192
# Tokens of a prompt read at once, by the least memory of the card: long pieces are faster, as each step reads all
# weights, but take memory in proportion to their length.
CHUNKS = ((14 * GIB, 1024), (10 * GIB, 512), (0, 256))
# With less free memory than this, slots are only as long as they must be: adapters and graphs need the rest more.
PLENTY = 4 * GIB
# The driver's memory for one graph of some 600 kernels; an estimate, as no allocator of ours sees it.
GRAPH_BYTES = 3 * MIB // 2
# The allocator's rounding, and what the device's other users take meanwhile.
MARGIN = 64 * MIB
# There must be room for this many adapters: the buffers that graphs read, and a resident one copied into them.
N_ADAPTERS = 2


@dataclass(frozen=True, slots=True)
class Demand:
    """What a model needs besides its weights, in bytes. ``token``: keys and values of one position in all layers;
    ``prefill``: the temporary peak while a chunk is read; ``step``: the same for a step of ROWWISE rows; ``adapter``:
    one of rank 16 on every linear layer; ``logits``: those of ROWWISE rows."""

    token: int
    prefill: int = 0
    step: int = 0
    adapter: int = 0
    logits: int = 0

    def reserve(self, n_slots: int, n_buckets: int) -> int:
        """Return the bytes of everything except the slots. Graphs with and without an
        adapter have separate memory pools."""
        n_graphs = 2 * n_slots * n_buckets * len(N_ROWS)
        graphs = 2 * self.step + self.logits + n_graphs * GRAPH_BYTES
        return self.prefill + N_ADAPTERS * self.adapter + graphs + MARGIN


@dataclass(frozen=True, slots=True)
class Plan:
    """The number of slots, and the tokens that each holds."""

    n_slots: int
    capacity: int


def plan(free: int, demand: Demand, context_tokens: int, max_context: int, n_slots: int) -> Plan:
    """Return as many slots for a prompt of ``context_tokens`` and its answer as ``free`` bytes allow, at most
    ``n_slots``; if there is plenty of memory, the rest makes them longer. Raises MidfillError if not even one fits."""
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
    """Return the positions that a prompt that fills its budget takes with its answer."""
    return rounded_up(min(context_tokens + ANSWER_TOKENS + ROWWISE, max_context), ALIGNMENT)


def rounded_up(n: int, step: int) -> int:
    """Return ``n``, or the next multiple of ``step``."""
    return -(-n // step) * step


def buckets(capacity: int, usual: int) -> tuple[int, ...]:
    """Return the lengths attention may read, ascending. ``usual`` is one, so that an answer to a prompt that fills its
    budget reads no more than that."""
    sizes, size = {capacity, min(usual, capacity)}, FIRST_BUCKET
    while size < capacity:
        sizes.add(size)
        size *= 2
    return tuple(sorted(sizes))


def smallest(sizes: Sequence[int], n: int) -> int:
    """Return the first of ``sizes`` (ascending) that holds ``n``."""
    return next(size for size in sizes if size >= n)


def chunks(total: int) -> tuple[int, ...]:
    """Return how many tokens of a prompt to read at once on a card with ``total`` bytes: the
    choice, then smaller ones to try."""
    first = next(n for least, n in CHUNKS if total >= least)
    return tuple(n for _, n in CHUNKS if n <= first)


def memory(device: torch.device) -> tuple[int, int]:
    """Return (free, total) bytes of ``device`` for this process, which may be limited to a share
    (torch.cuda.set_per_process_memory_fraction). Memory that the allocator keeps for later is given back first."""
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    share = int(total * torch.cuda.get_per_process_memory_fraction(device.index))
    return max(0, min(free, share - torch.cuda.memory_reserved(device))), min(total, share)


def peak_of(action: Callable[[], object], device: torch.device) -> int:
    """Return the bytes that the allocator took from ``device`` while ``action`` ran; 0 if it does not count them."""
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
