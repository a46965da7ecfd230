"""Compare decoding on a GPU with its memory bandwidth, for random weights in the shapes of CodeGemma-7B.

    python -m scripts.bench.gpu [--dtype bfloat16] [--context 2048] [--tokens 64] [--eager]
    python -m scripts.bench.gpu --dtype int4 --pretend-memory 8    on a larger card, as if it had 8 GB
    python -m scripts.bench.gpu --tiny --device cpu                only to see that it runs; its figures mean nothing

Nothing is downloaded, because speed does not depend on the values of the weights. To decode a token, the GPU reads
each weight, each cached key and value, and the adapter's weights once. So a step takes at least their bytes divided by
the bandwidth, which the same run measures by copying. Prints a table and then one line of JSON. The exit status is 1 if
a goal is missed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from typing import Any

import torch

from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.fixed_shape import bytes_per_token
from midfill.engine.local.forward.memory_plan import N_ROWS
from midfill.engine.local.forward.runner import Cancelled
from midfill.engine.local.lora.adapter import Adapter, LoraPair
from midfill.engine.local.sequence.generation import Generation, Sampling
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.eval.figures import percentile

from .gpu_model import Bench, arguments, build, finished, memory_gb, weight_bytes, why_not

GOAL_SHARE, GOAL_KEYSTROKE_MS, GOAL_SWITCH_MS, GOAL_LOADING = 0.85, 15.0, 100.0, 1.1
SUFFIX_SHARE = 0.25  # of a prompt, as in fim.py
RANK = 16


def capture(bench: Bench) -> dict[str, float]:
    """Capture every graph, as the engine does beside the first requests."""

    def all_of_them() -> None:
        while bench.static.pending:
            bench.static.capture_next()

    return {"graphs_s": bench.seconds(all_of_them), "n_graphs": bench.static.n_graphs}


def advance(bench: Bench, generation: Generation) -> list[int]:
    """Take one step as the engine does; return the tokens it decided, on this side."""
    rows = generation.rows(bench.static.chunk)
    (logits,) = bench.runner.forward([rows], bench.adapter)
    return [token.id for token in generation.take(rows, logits)]


def read(bench: Bench, slot: Slot, ids: list[int], **kept: Any) -> Generation:
    """Read ``ids`` up to the first token of the answer."""
    slot.begin(ids, kept.get("suffix"), kept.get("rotate"))
    generation = Generation(slot, Sampling(), logprobs=True)  # as every editor asks
    while not advance(bench, generation):
        pass
    return generation


def prefill(bench: Bench, n: int, rounds: int) -> dict[str, float]:
    """Measure reading a prompt that shares nothing with the last one, and the memory it takes in addition."""
    slot, times, is_cuda = bench.slots.slots[0], [], bench.device.type == "cuda"
    before = torch.cuda.memory_allocated(bench.device) if is_cuda else 0
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(bench.device)
    for seed in range(rounds + 1):
        slot.truncate(0)
        ids = bench.prompt(n, seed)
        times.append(bench.seconds(lambda ids=ids: read(bench, slot, ids)))  # type: ignore[misc]
    spent = statistics.median(times[1:])
    peak = torch.cuda.max_memory_allocated(bench.device) - before if is_cuda else 0
    return {"prefill_ms": spent * 1e3, "prefill_tokens_s": n / spent, "prefill_peak_gb": peak / 1e9}


def decode(bench: Bench, n_context: int, n_tokens: int, name: str = "decode") -> dict[str, float]:
    """Measure tokens after a prompt, one by one, against the bytes they need."""
    slot = bench.slots.slots[0]
    slot.truncate(0)
    generation = read(bench, slot, bench.prompt(n_context))
    times = [bench.seconds(lambda: advance(bench, generation)) for _ in range(n_tokens)]
    spent = sum(times) / n_tokens
    n_bytes = weight_bytes(bench.decoder) + (n_context + n_tokens / 2) * bytes_per_token(slot)
    if bench.adapter is not None:  # its weights, without the zeros that a stack adds
        n_bytes += bench.adapter.parameters * bench.decoder.kv_dtype.itemsize
    floor = n_bytes / bench.speed
    return {
        f"{name}_tokens_s": 1 / spent, f"{name}_ms": spent * 1e3, f"{name}_floor_ms": floor * 1e3,
        f"{name}_share": floor / spent, f"{name}_slowest_ms": max(times) * 1e3,
    }  # fmt: skip


def verify(bench: Bench, n_context: int, rounds: int) -> dict[str, float]:
    """Measure a step of each number of rows: the last token and drafts."""
    slot, figures = bench.slots.slots[0], {}
    for n in N_ROWS:
        slot.truncate(n_context)
        ids = bench.prompt(n)
        slot.ids += ids
        slot.known += bytes(n)
        rows = Rows(slot, ids, range(n_context, n_context + n), n)
        times = [bench.seconds(lambda rows=rows: bench.runner.forward([rows])) for _ in range(rounds + 1)]  # type: ignore[misc]
        figures[f"rows_{n}_ms"] = statistics.median(times[1:]) * 1e3
    slot.truncate(n_context)
    return figures


def keystrokes(bench: Bench, n_context: int, rounds: int, *, shift: bool) -> list[float]:
    """Return the milliseconds from a typed token to the first of the answer; the suffix is read again, or kept and
    moved."""
    slot, n_suffix = bench.slots.slots[0], int(n_context * SUFFIX_SHARE)
    slot.truncate(0)
    prefix, suffix = bench.prompt(n_context - n_suffix - rounds - 2), bench.prompt(n_suffix, 1)
    times = []
    for key in range(rounds + 2):
        prefix.append(key)
        bounds = (len(prefix), len(prefix) + n_suffix)
        ids = [*prefix, *suffix, 3]  # the last id represents the middle sentinel
        kept = {"suffix": bounds, "rotate": bench.rotate} if shift else {}
        times.append(bench.seconds(lambda ids=ids, kept=kept: read(bench, slot, ids, **kept)) * 1e3)  # type: ignore[misc]
    return times[2:]


def adapters(bench: Bench, n_context: int, n_tokens: int, rounds: int) -> dict[str, float]:
    """Measure switching between two resident adapters, and decoding with one. Every linear layer has low-rank
    weights."""
    both = [random_adapter(bench, f"random-{i}") for i in (1, 2)]
    bench.static.residents = lambda: both
    bench.adapter = both[0]
    read(bench, bench.slots.slots[0], bench.prompt(20))  # makes the buffers, and notes the graphs that are missing
    decode(bench, n_context, 2)
    capture(bench)
    lora = bench.static.lora
    assert lora is not None
    times = [bench.seconds(lambda i=i: lora.switch_to(both[i % 2])) for i in range(1, rounds + 2)]  # type: ignore[misc]
    with_one = decode(bench, n_context, n_tokens, "adapted")
    bench.adapter, bench.static.residents = None, tuple
    return {"switch_ms": max(times[1:]) * 1e3} | with_one


def random_adapter(bench: Bench, name: str) -> Adapter:
    """Return an adapter of rank RANK on every linear layer of the decoder."""
    pairs, decoder = {}, bench.decoder
    for linear in (linear for layer in decoder.layers for linear in layer.linears):
        for path, n_out in zip(linear.paths, linear.sizes, strict=True):
            a = torch.randn(RANK, linear.in_features, device=bench.device) * 0.01
            b = torch.randn(n_out, RANK, device=bench.device) * 0.01
            pairs[path] = LoraPair(a, b, 2.0)
    adapter = Adapter(name, (), "", RANK, 2.0 * RANK, name, pairs)
    bench.runner.make_ready(adapter)
    return adapter.to(bench.device, decoder.kv_dtype)


def cancel(bench: Bench, n_context: int, rounds: int, *, while_reading: bool) -> list[float]:
    """Return the milliseconds from a cancel, at any moment of a step, until the slot is free and the device is idle."""
    times = []
    for seed in range(rounds):
        for slot in bench.slots.slots:
            slot.truncate(0)
        slot, _ = bench.slots.take(bench.prompt(n_context if while_reading else 20, seed), None)
        generation = Generation(slot, Sampling(), logprobs=True)  # as every editor asks
        flag, asked = threading.Event(), [0.0]

        def ask(flag: threading.Event = flag, asked: list[float] = asked) -> None:
            asked[0] = time.perf_counter()
            flag.set()

        for _ in range(0 if while_reading else 3):
            advance(bench, generation)
        timer = threading.Timer(random.Random(seed).uniform(0.001, 0.02), ask)  # noqa: S311
        timer.start()
        while not flag.is_set():
            rows = generation.rows(bench.static.chunk)
            try:
                (logits,) = bench.runner.forward([rows], bench.adapter, flag.is_set)
            except Cancelled:
                break
            generation.take(rows, logits)
            if len(slot.ids) + 2 > slot.capacity:
                slot.truncate(20)
                slot.known[19] = 0
        timer.join()
        bench.slots.release(slot)
        times.append((bench.sync() - asked[0]) * 1e3)
    return times


def measure(bench: Bench, options: argparse.Namespace) -> dict[str, float]:
    """Measure everything, one after the other."""
    context, rounds = options.context, options.rounds
    static = bench.static
    figures = {"bandwidth_gb_s": bench.speed / 1e9, "weights_peak_share": bench.weights_peak}
    figures |= {"n_slots": len(static.slots), "capacity": static.capacity, "chunk": static.chunk}
    figures |= {"fused": float(static.is_fused)} | capture(bench)
    figures |= prefill(bench, context, max(2, rounds // 4))
    figures |= decode(bench, context, options.tokens)
    figures |= verify(bench, context, rounds)
    for name, shift in (("keystroke_exact", False), ("keystroke_shift", True)):
        times = keystrokes(bench, context, rounds, shift=shift)
        figures |= {f"{name}_ms": statistics.median(times), f"{name}_p95_ms": percentile(times, 0.95) or 0.0}
    for name, reading in (("cancel_decode", False), ("cancel_prefill", True)):
        times = cancel(bench, context, rounds, while_reading=reading)
        figures[f"{name}_p95_ms"] = percentile(times, 0.95) or 0.0
    figures |= adapters(bench, context, options.tokens, rounds)
    return figures | memory_gb(bench)


def goals(figures: dict[str, float], context: int, chunk: int) -> dict[str, bool]:
    """Return which goals are reached."""
    one_chunk = figures["prefill_ms"] * min(1.0, chunk / context)
    return {
        f"decode at {GOAL_SHARE:.0%} of the bandwidth floor": figures["decode_share"] >= GOAL_SHARE,
        f"keystroke to first token within {GOAL_KEYSTROKE_MS:g} ms": figures["keystroke_exact_ms"] <= GOAL_KEYSTROKE_MS,
        "cancel within one step, decoding": figures["cancel_decode_p95_ms"] <= figures["decode_slowest_ms"],
        "cancel within one step, reading": figures["cancel_prefill_p95_ms"] <= one_chunk,
        f"adapter switch within {GOAL_SWITCH_MS:g} ms": figures["switch_ms"] <= GOAL_SWITCH_MS,
        f"weights peak at {GOAL_LOADING} x what they take": figures["weights_peak_share"] <= GOAL_LOADING,
    }


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__.split("\n", 1)[0] if __doc__ else "").parse_args()
    if (problem := why_not(options)) is not None:
        print(problem, file=sys.stderr)
        return 2
    with torch.inference_mode():
        bench = build(options)
        figures = measure(bench, options)
    reached = {} if options.tiny else goals(figures, options.context, bench.static.chunk)
    about = {"dtype": options.dtype, "context": options.context, "n_decoded": options.tokens}
    return finished(
        "gpu", bench.device, figures, reached, tiny=options.tiny, pretended_gb=options.pretend_memory, **about
    )


if __name__ == "__main__":
    sys.exit(main())
