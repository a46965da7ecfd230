"""Decoding on a GPU against its memory bandwidth, with CodeGemma-7B's shapes and random weights.

    python bench/gpu.py [--dtype bfloat16] [--context 2048] [--tokens 64]
    python bench/gpu.py --tiny --device cpu        does it run at all: no figure of it means anything

Nothing is downloaded: speed does not depend on what the weights say. A token needs every weight and every kept key and
value once, so the floor of a step is their bytes over the bandwidth, measured in the same run by copying. Prints a
table and last one line of JSON; exit status 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from midfill.engine.local.adapters import Adapter, LoraPair
from midfill.engine.local.attention import Rows
from midfill.engine.local.checkpoint import Checkpoint
from midfill.engine.local.cuda import StaticDecoder, static_decoder
from midfill.engine.local.decode import Generation, Sampling
from midfill.engine.local.forward.runner import Cancelled, Runner
from midfill.engine.local.kv_cache import KVSlots, Rotate, Slot
from midfill.engine.local.memory_plan import N_ROWS
from midfill.engine.local.model import linear_cuda
from midfill.engine.local.model.decoder import Decoder
from midfill.engine.local.model.formats import Float, Format
from midfill.engine.local.model.read import Architecture, architecture, read_decoder
from midfill.engine.local.static import bytes_per_token
from midfill.engine.local.weights import Progress

GOAL_SHARE, GOAL_KEYSTROKE_MS, GOAL_SWITCH_MS = 0.85, 15.0, 100.0
SUFFIX_SHARE = 0.25  # of a prompt, as fim.py has it
RANK = 16


CODEGEMMA_7B = {
    "model_type": "gemma", "vocab_size": 256_000, "hidden_size": 3072, "intermediate_size": 24_576,
    "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256,
    "max_position_embeddings": 8192, "rope_theta": 10_000.0, "rms_norm_eps": 1e-6,
}  # fmt: skip
TINY = CODEGEMMA_7B | {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 16,
}  # fmt: skip


class RandomCheckpoint(Checkpoint):
    """Weights made on the device, a tensor at a time."""

    def __init__(self, wanted: Architecture, device: torch.device, dtype: torch.dtype) -> None:
        self.shapes, self._device, self._dtype = wanted.shapes(), device, dtype

    def tensors(self, progress: Progress) -> Iterator[tuple[str, torch.Tensor]]:
        """See Checkpoint."""
        for name, shape in self.shapes.items():
            yield name, torch.randn(shape, device=self._device, dtype=self._dtype) * 0.02


@dataclass
class Bench:
    """A model that is ready, and how to measure on its device."""

    runner: Runner
    static: StaticDecoder
    slots: KVSlots
    rotate: Rotate | None
    vocabulary: int
    device: torch.device
    adapter: Adapter | None = None  # that steps are taken with

    @property
    def decoder(self) -> Decoder:
        """The model."""
        assert isinstance(self.runner.model, Decoder)
        return self.runner.model

    def sync(self) -> float:
        """The time when everything that was launched is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def seconds(self, action: Callable[[], object]) -> float:
        """How long ``action`` takes, its kernels included."""
        start = self.sync()
        action()
        return self.sync() - start

    def prompt(self, n: int, seed: int = 0) -> list[int]:
        """``n`` tokens."""
        return random.Random(seed).choices(range(self.vocabulary), k=n)  # noqa: S311


def build(options: argparse.Namespace) -> Bench:
    """The model on its device, decoding as the engine does on a GPU."""
    device, wanted = torch.device(options.device), architecture(TINY if options.tiny else CODEGEMMA_7B)
    assert wanted is not None
    torch.manual_seed(0)
    graphs = device.type == "cuda"
    dtype = torch.bfloat16 if graphs else torch.float32
    form: Format = Float(dtype, device)
    if options.dtype in ("int8", "int4"):
        if graphs:
            linear_cuda.check(options.dtype, device)
        form = linear_cuda.CudaQuantised(options.dtype, device, dtype)
    elif graphs:
        form = Float(getattr(torch, options.dtype), device)
    decoder, _ = read_decoder(wanted, RandomCheckpoint(wanted, device, form.dtype), form, lambda *_: None)
    runner = Runner(decoder)
    free = None if graphs else 1 << 32
    static = static_decoder(runner, options.context, wanted.max_positions, 2, free=free, graphs=graphs)
    runner.static = static
    return Bench(runner, static, KVSlots(slots=static.slots), runner.find_rotation(), wanted.vocabulary, device)


def weight_bytes(decoder: Decoder) -> int:
    """What a token reads of them: all but an embedding that is not the head as well."""
    return sum(linear.n_bytes for linear in decoder.linears)


def bandwidth(bench: Bench, n_bytes: int) -> float:
    """Bytes read and written a second by copying, at its best."""
    source = torch.empty(n_bytes, dtype=torch.uint8, device=bench.device).zero_()
    target = torch.empty_like(source)
    return 2 * n_bytes / min(bench.seconds(lambda: target.copy_(source)) for _ in range(12))


def capture(bench: Bench) -> dict[str, float]:
    """Every graph, as the engine captures them beside the first requests."""

    def all_of_them() -> None:
        while bench.static.pending:
            bench.static.capture_next()

    return {"graphs_s": bench.seconds(all_of_them), "n_graphs": bench.static.n_graphs}


def advance(bench: Bench, generation: Generation) -> list[int]:
    """One step as the engine takes it; the tokens it decided, on this side."""
    rows = generation.rows(bench.static.chunk)
    (logits,) = bench.runner.forward([rows], bench.adapter)
    return [token.id for token in generation.take(rows, logits)]


def read(bench: Bench, slot: Slot, ids: list[int], **kept: Any) -> Generation:
    """``ids`` read up to the first token of the answer."""
    slot.begin(ids, kept.get("suffix"), kept.get("rotate"))
    generation = Generation(slot, Sampling())
    while not advance(bench, generation):
        pass
    return generation


def prefill(bench: Bench, n: int, rounds: int) -> dict[str, float]:
    """Reading a prompt that shares nothing with the last."""
    slot, times = bench.slots.slots[0], []
    for seed in range(rounds + 1):
        slot.truncate(0)
        ids = bench.prompt(n, seed)
        times.append(bench.seconds(lambda ids=ids: read(bench, slot, ids)))  # type: ignore[misc]
    spent = statistics.median(times[1:])
    return {"prefill_ms": spent * 1e3, "prefill_tokens_s": n / spent}


def decode(bench: Bench, n_context: int, n_tokens: int, speed: float, name: str = "decode") -> dict[str, float]:
    """Tokens after a prompt, one by one, against the bytes they need."""
    slot = bench.slots.slots[0]
    slot.truncate(0)
    generation = read(bench, slot, bench.prompt(n_context))
    times = [bench.seconds(lambda: advance(bench, generation)) for _ in range(n_tokens)]
    spent = sum(times) / n_tokens
    floor = (weight_bytes(bench.decoder) + (n_context + n_tokens / 2) * bytes_per_token(slot)) / speed
    return {
        f"{name}_tokens_s": 1 / spent, f"{name}_ms": spent * 1e3, f"{name}_floor_ms": floor * 1e3,
        f"{name}_share": floor / spent, f"{name}_slowest_ms": max(times) * 1e3,
    }  # fmt: skip


def verify(bench: Bench, n_context: int, rounds: int) -> dict[str, float]:
    """A step of each number of rows: the last token and drafts."""
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
    """Milliseconds from a typed token to the first of the answer; the suffix is read again, or kept and moved."""
    slot, n_suffix = bench.slots.slots[0], int(n_context * SUFFIX_SHARE)
    slot.truncate(0)
    prefix, suffix = bench.prompt(n_context - n_suffix - rounds - 2), bench.prompt(n_suffix, 1)
    times = []
    for key in range(rounds + 2):
        prefix.append(key)
        bounds = (len(prefix), len(prefix) + n_suffix)
        ids = [*prefix, *suffix, 3]  # the last stands for the middle sentinel
        kept = {"suffix": bounds, "rotate": bench.rotate} if shift else {}
        times.append(bench.seconds(lambda ids=ids, kept=kept: read(bench, slot, ids, **kept)) * 1e3)  # type: ignore[misc]
    return times[2:]


def adapters(bench: Bench, n_context: int, n_tokens: int, speed: float, rounds: int) -> dict[str, float]:
    """Switching between two that are resident, and decoding with one. Every linear layer has low-rank weights."""
    both = [random_adapter(bench, f"random-{i}") for i in (1, 2)]
    bench.static.residents = lambda: both
    bench.adapter = both[0]
    read(bench, bench.slots.slots[0], bench.prompt(20))  # makes the buffers, and notes the graphs that are missing
    decode(bench, n_context, 2, speed)
    capture(bench)
    lora = bench.static.lora
    assert lora is not None
    times = [bench.seconds(lambda i=i: lora.switch_to(both[i % 2])) for i in range(1, rounds + 2)]  # type: ignore[misc]
    with_one = decode(bench, n_context, n_tokens, speed, "adapted")
    bench.adapter, bench.static.residents = None, tuple
    return {"switch_ms": max(times[1:]) * 1e3} | with_one


def random_adapter(bench: Bench, name: str) -> Adapter:
    """Of rank RANK on every linear layer of the decoder."""
    pairs, decoder = {}, bench.decoder
    for linear in (linear for layer in decoder.layers for linear in layer.linears):
        for path, n_out in zip(linear.paths, linear.sizes, strict=True):
            a = torch.randn(RANK, linear.in_features, device=bench.device) * 0.01
            b = torch.randn(n_out, RANK, device=bench.device) * 0.01
            pairs[path] = LoraPair(a, b, 2.0)
    adapter = Adapter(name, Path(), "", RANK, 2.0 * RANK, name, pairs)
    bench.runner.make_ready(adapter)
    return adapter.to(bench.device, decoder.kv_dtype)


def cancel(bench: Bench, n_context: int, rounds: int, *, while_reading: bool) -> list[float]:
    """Milliseconds from a cancel, at any moment of a step, until the slot is free and the device has nothing to do."""
    times = []
    for seed in range(rounds):
        for slot in bench.slots.slots:
            slot.truncate(0)
        slot, _ = bench.slots.take(bench.prompt(n_context if while_reading else 20, seed), None)
        generation = Generation(slot, Sampling())
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


def percentile(values: list[float], part: float) -> float:
    """The nearest-rank percentile."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)]


def measure(bench: Bench, options: argparse.Namespace) -> dict[str, float]:
    """Everything, one after the other."""
    context, rounds = options.context, options.rounds
    speed = bandwidth(bench, 1 << (22 if options.tiny else 30))
    figures = {"bandwidth_gb_s": speed / 1e9} | capture(bench)
    figures |= prefill(bench, context, max(2, rounds // 4))
    figures |= decode(bench, context, options.tokens, speed)
    figures |= verify(bench, context, rounds)
    for name, shift in (("keystroke_exact", False), ("keystroke_shift", True)):
        times = keystrokes(bench, context, rounds, shift=shift)
        figures |= {f"{name}_ms": statistics.median(times), f"{name}_p95_ms": percentile(times, 0.95)}
    for name, reading in (("cancel_decode", False), ("cancel_prefill", True)):
        figures[f"{name}_p95_ms"] = percentile(cancel(bench, context, rounds, while_reading=reading), 0.95)
    figures |= adapters(bench, context, options.tokens, speed, rounds)
    if bench.device.type == "cuda":
        figures["memory_gb"] = torch.cuda.max_memory_allocated(bench.device) / 1e9
        figures["reserved_gb"] = torch.cuda.max_memory_reserved(bench.device) / 1e9
    return figures


def goals(figures: dict[str, float], context: int, chunk: int) -> dict[str, bool]:
    """Which are reached."""
    one_chunk = figures["prefill_ms"] * min(1.0, chunk / context)
    return {
        f"decode at {GOAL_SHARE:.0%} of the bandwidth floor": figures["decode_share"] >= GOAL_SHARE,
        f"keystroke to first token within {GOAL_KEYSTROKE_MS:g} ms": figures["keystroke_exact_ms"] <= GOAL_KEYSTROKE_MS,
        "cancel within one step, decoding": figures["cancel_decode_p95_ms"] <= figures["decode_slowest_ms"],
        "cancel within one step, reading": figures["cancel_prefill_p95_ms"] <= one_chunk,
        f"adapter switch within {GOAL_SWITCH_MS:g} ms": figures["switch_ms"] <= GOAL_SWITCH_MS,
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32", "int8", "int4"))
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tiny", action="store_true", help="a model of two small layers, and no goals")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device here (this torch may be the CPU build); try: --tiny --device cpu", file=sys.stderr)
        return 2
    with torch.inference_mode():
        bench = build(options)
        figures = measure(bench, options)
    for name, value in figures.items():
        print(f"{name:>24} {value:12.3f}")
    reached = {} if options.tiny else goals(figures, options.context, bench.static.chunk)
    for goal, is_reached in reached.items():
        print(f"{'reached' if is_reached else 'MISSED':>24} {goal}")
    is_cuda = bench.device.type == "cuda"
    name = torch.cuda.get_device_name(bench.device) if is_cuda else "CPU"
    report = {
        "bench": "gpu", "shapes": "tiny" if options.tiny else "codegemma-7b", "device": name, "dtype": options.dtype,
        "context": options.context, "n_decoded": options.tokens, "torch": torch.__version__, "goals": reached,
        **{key: round(value, 4) for key, value in figures.items()},
    }  # fmt: skip
    print(json.dumps(report))
    return int(not all(reached.values()))


if __name__ == "__main__":
    sys.exit(main())
