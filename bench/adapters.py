"""What an adapter costs beside int8 weights: run unmerged, or merged into the base before it is quantised.

    python bench/adapters.py [--rounds 10] [--context 300] [--ranks 4,16,64]

Unmerged, a step also computes two narrow products a layer, and a switch costs nothing. Merged, a step costs what the
base's does, and a switch adds the product of the adapter's matrices to the base's weights, quantises and packs them
again. The variants take turns within each round; compare the ratios. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import torch

from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.lora.adapter import Adapter, LoraPair
from midfill.engine.local.model import int8
from midfill.engine.local.model.formats import Stored
from midfill.engine.local.model.linear_int8 import Int8Linear
from midfill.engine.local.model.load import LoadedModel, load
from midfill.engine.local.sequence.generation import Generation, Sampling
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.engine.local.store import models
from midfill.engine.local.store.manifest import weight_files
from midfill.engine.local.store.safetensors_reader import read_safetensors

SIZES = (1, 8, 64)


def random_adapter(loaded: LoadedModel, rank: int) -> Adapter:
    """One for every linear layer but the head's."""
    pairs = {}
    for linear in (linear for layer in loaded.model.layers for linear in layer.linears):
        for path, n_out in zip(linear.paths, linear.sizes, strict=True):
            a = torch.randn(rank, linear.in_features) * linear.in_features**-0.5
            pairs[path] = LoraPair(a, torch.randn(n_out, rank) * 0.01, 2.0)
    return Adapter(f"rank{rank}", Path(), "", rank, 2.0 * rank, f"rank{rank}", pairs)


def read_context(runner: Runner, loaded: LoadedModel, n: int) -> Slot:
    """A slot that has read ``n`` tokens of code."""
    slot = Slot()
    slot.begin((loaded.tokenizer.encode(Path(argparse.__file__).read_text(encoding="utf-8")))[:n], None, None)
    runner.forward([Generation(slot, Sampling()).rows(n)])
    return slot


def step_ms(runner: Runner, slot: Slot, n: int, adapter: Adapter | None) -> float:
    """One forward pass over ``n`` tokens after what the slot holds."""
    length, ids = len(slot.ids), slot.ids[:n]
    slot.ids += ids
    slot.known += bytes(n)
    start = time.perf_counter()
    runner.forward([Rows(slot, ids, range(length, length + n))], adapter)
    spent = time.perf_counter() - start
    slot.truncate(length)
    return spent * 1000


def merge_s(folder: Path, adapter: Adapter) -> dict[str, float]:
    """Seconds to read the base's float weights, to merge ``adapter`` into them, and to quantise and pack the sums."""
    spent = dict.fromkeys(("read", "merge", "quantise", "pack"), 0.0)
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        spent[name] += now - clock
        clock = now

    weights: dict[str, torch.Tensor] = {}
    for file in weight_files(folder):
        weights |= read_safetensors(file)
    lap("read")
    for path, pair in adapter.pairs.items():
        merged = weights.pop(f"{path}.weight").float().addmm_(pair.b, pair.a, alpha=pair.scale)
        lap("merge")
        values, scale = int8.quantise(merged)
        lap("quantise")
        Int8Linear([""], [Stored(values, scale)], [None])
        lap("pack")
    return spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--context", type=int, default=300)
    parser.add_argument("--ranks", default="4,16,64")
    options = parser.parse_args()
    folder = models.prepare(models.resolve("embedded"), lambda stage, fraction: None)
    loaded = load(folder, "embedded", device="cpu", dtype="int8", progress=lambda stage, fraction: None)
    runner = Runner(loaded.model)
    variants: dict[str, Adapter | None] = {"base": None}
    for rank in map(int, options.ranks.split(",")):
        adapter = random_adapter(loaded, rank)
        runner.make_ready(adapter)
        variants[f"rank {rank}"] = adapter
    times: dict[str, dict[int, list[float]]] = {name: {size: [] for size in SIZES} for name in variants}
    with torch.inference_mode():
        slot = read_context(runner, loaded, options.context)
        for turn in range(options.rounds + 1):
            for size in SIZES:
                for name, adapter in variants.items():
                    spent = step_ms(runner, slot, size, adapter)
                    if turn:  # the first round warms up
                        times[name][size].append(spent)
        merged = {name: merge_s(folder, adapter) for name, adapter in variants.items() if adapter is not None}
    p50 = {name: {size: statistics.median(values) for size, values in rows.items()} for name, rows in times.items()}
    print(f"{'unmerged':>10}" + "".join(f"{f'{size} tokens':>12}" for size in SIZES) + f"{'1 token / base':>16}")
    for name, row in p50.items():
        ratio = row[1] / p50["base"][1]
        print(f"{name:>10}" + "".join(f"{row[size]:>9.1f} ms" for size in SIZES) + f"{ratio:>16.2f}")
    for name, seconds in merged.items():
        parts = ", ".join(f"{part} {value:.2f} s" for part, value in seconds.items())
        print(f"{name:>10}: merged before quantisation in {sum(seconds.values()):.2f} s ({parts})")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()  # noqa: S607
    report = {
        "bench": "adapters", "context": options.context, "rounds": options.rounds, "p50_ms": p50, "merge_s": merged,
        "cores": os.cpu_count(), "threads": torch.get_num_threads(), "load_average": os.getloadavg()[0],
        "torch": torch.__version__, "commit": commit,
    }  # fmt: skip
    print(json.dumps(report))


if __name__ == "__main__":
    main()
