"""What the GPU benches share: a model with CodeGemma-7B's shapes and random weights, set up as in the engine."""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from midfill.engine.local.forward.cuda_graphs import StaticDecoder
from midfill.engine.local.forward.cuda_setup import static_decoder
from midfill.engine.local.forward.memory_plan import GIB
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.lora.adapter import Adapter
from midfill.engine.local.model import linear_cuda
from midfill.engine.local.model.decoder import Decoder
from midfill.engine.local.model.formats import Float, Format
from midfill.engine.local.model.read import Architecture, architecture, read_decoder
from midfill.engine.local.sequence.kv_cache import KVSlots, Rotate
from midfill.engine.local.store.checkpoint import Checkpoint
from midfill.engine.local.store.safetensors_reader import Progress
from midfill.engine.local.thread import N_SLOTS

CODEGEMMA_7B: dict[str, Any] = {
    "model_type": "gemma", "vocab_size": 256_000, "hidden_size": 3072, "intermediate_size": 24_576,
    "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256,
    "max_position_embeddings": 8192, "rope_theta": 10_000.0, "rms_norm_eps": 1e-6,
}  # fmt: skip
TINY = CODEGEMMA_7B | {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 16,
}  # fmt: skip


class RandomCheckpoint(Checkpoint):
    """Weights made on the device, one tensor at a time."""

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
    speed: float  # bytes read and written per second by copying
    weights_peak: float  # peak memory during loading, as a multiple of the weights' size
    adapter: Adapter | None = None  # used for the steps

    @property
    def decoder(self) -> Decoder:
        """The model."""
        assert isinstance(self.runner.model, Decoder)
        return self.runner.model

    def sync(self) -> float:
        """Return the time when everything that was launched is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def seconds(self, action: Callable[[], object]) -> float:
        """Return how long ``action`` takes, including its kernels."""
        start = self.sync()
        action()
        return self.sync() - start

    def prompt(self, n: int, seed: int = 0) -> list[int]:
        """Return ``n`` tokens."""
        return random.Random(seed).choices(range(self.vocabulary), k=n)  # noqa: S311


def build(options: argparse.Namespace) -> Bench:
    """Return the model on its device, decoding as the engine does on a GPU."""
    device, wanted = torch.device(options.device), architecture(TINY if options.tiny else CODEGEMMA_7B)
    assert wanted is not None
    torch.manual_seed(0)
    graphs = device.type == "cuda"
    speed = bandwidth(device, tiny=options.tiny)
    if graphs and options.pretend_memory:
        share = options.pretend_memory * GIB / torch.cuda.mem_get_info(device)[1]
        torch.cuda.set_per_process_memory_fraction(min(1.0, share), device.index or 0)
    dtype = torch.bfloat16 if graphs else torch.float32
    form: Format = Float(dtype, device)
    if options.dtype in ("int8", "int4"):
        if graphs:
            linear_cuda.check(options.dtype, device)
        form = linear_cuda.CudaQuantised(options.dtype, device, dtype)
    elif graphs:
        form = Float(getattr(torch, options.dtype), device)
    if graphs:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    decoder, _ = read_decoder(wanted, RandomCheckpoint(wanted, device, form.dtype), form, lambda *_: None)
    weights_peak = torch.cuda.max_memory_allocated(device) / torch.cuda.memory_allocated(device) if graphs else 1.0
    runner = Runner(decoder)
    free = None if graphs else int((options.pretend_memory or 4) * GIB) - weight_bytes(decoder)
    static = static_decoder(
        runner, options.context, wanted.max_positions, N_SLOTS, free=free, graphs=graphs, fused=not options.eager
    )
    runner.static = static
    slots, rotate = KVSlots(slots=static.slots), runner.find_rotation()
    return Bench(runner, static, slots, rotate, wanted.vocabulary, device, speed, weights_peak)


def weight_bytes(decoder: Decoder) -> int:
    """Return the bytes of weights that a token reads: all except an embedding that is not also the head."""
    return sum(linear.n_bytes for linear in decoder.linears)


def bandwidth(device: torch.device, *, tiny: bool) -> float:
    """Return the bytes read and written per second by copying, at its best. It is measured by the device's own clock,
    and over enough bytes that starting and stopping do not matter."""
    is_cuda = device.type == "cuda"
    n_bytes = 1 << 22 if tiny else min(8 * GIB, torch.cuda.mem_get_info(device)[0] // 3) if is_cuda else GIB
    source = torch.empty(n_bytes, dtype=torch.uint8, device=device).zero_()
    target = torch.empty_like(source)
    times: list[float] = []
    for _ in range(12):
        if is_cuda:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            start.record()
            target.copy_(source)
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1e3)
        else:
            began = time.perf_counter()
            target.copy_(source)
            times.append(time.perf_counter() - began)
    del source, target
    if is_cuda:
        torch.cuda.empty_cache()
    return 2 * n_bytes / min(times)


def memory_gb(bench: Bench) -> dict[str, float]:
    """Return what the device holds: the maximum since the last call of reset_peak."""
    if bench.device.type != "cuda":
        return {}
    return {
        "memory_gb": torch.cuda.max_memory_allocated(bench.device) / 1e9,
        "reserved_gb": torch.cuda.max_memory_reserved(bench.device) / 1e9,
    }


def arguments(description: str) -> argparse.ArgumentParser:
    """Return the options of the benches of decoding."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32", "int8", "int4"))
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--eager", action="store_true", help="without Triton's kernels")
    parser.add_argument("--pretend-memory", type=float, metavar="GB", help="use only this much of the GPU's memory")
    parser.add_argument("--tiny", action="store_true", help="a model of two small layers, and no goals")
    return parser


def why_not(options: argparse.Namespace) -> str | None:
    """Return why nothing can be measured here; None if it can."""
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        return "no CUDA device here (this torch may be the CPU build); try: --tiny --device cpu"
    return None


def finished(
    name: str, device: torch.device, figures: dict[str, float], goals: dict[str, bool], *, tiny: bool, **about: Any
) -> int:
    """Print the table, the goals and the line of JSON that bench ``name`` ends with; return the exit status."""
    for figure, value in figures.items():
        print(f"{figure:>24} {value:12.3f}")
    for goal, is_reached in goals.items():
        print(f"{'reached' if is_reached else 'MISSED':>24} {goal}")
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    about = {"bench": name, "shapes": "tiny" if tiny else "codegemma-7b", "device": card, **about}
    about |= {"torch": torch.__version__, "goals": goals}
    print(json.dumps(about | {key: round(value, 4) for key, value in figures.items()}))
    return int(not all(goals.values()))
