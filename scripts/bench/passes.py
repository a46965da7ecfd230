"""Measure a forward pass of the embedded model: its time and other costs, by number format and by adapter.

    python -m scripts.bench.passes [--rounds 10] [--context 700] [--formats int8,int4,bfloat16] [--ranks 4,16,64]

Adapters run unmerged on the weights of the first format. The output also says how long it takes to merge an adapter
into the float weights and to quantise and pack the result, and how well each format predicts real code. The variants
take turns within each round, so other load on the machine affects all of them alike. Compare the ratios, which are
relative to the first format. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.lora.adapter import Adapter, LoraPair
from midfill.engine.local.model import int8
from midfill.engine.local.model.formats import Stored
from midfill.engine.local.model.linear_int8 import Int8Linear
from midfill.engine.local.model.load import LoadedModel, load
from midfill.engine.local.sequence.generation import PREFILL_CHUNK, Generation, Sampling
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.engine.local.store import models
from midfill.engine.local.store.checkpoint import read_tensors
from midfill.engine.local.store.manifest import weight_files
from midfill.eval.about import measured

SIZES = (1, 2, 4, 8, 16, 64, 256)


def source() -> str:
    """Return real code that is on every machine."""
    return "\n".join(Path(module.__file__).read_text("utf-8") for module in (argparse, statistics) if module.__file__)


@dataclass(frozen=True, slots=True)
class Variant:
    """A model in a format, with or without an adapter, and a slot that has read its context."""

    loaded: LoadedModel
    runner: Runner
    slot: Slot
    adapter: Adapter | None = None

    @classmethod
    def prepare(cls, folder: Path, form: str, context: int) -> Variant:
        """Return a variant without an adapter, after ``context`` tokens of code."""
        loaded = load(folder, "embedded", device="cpu", dtype=form, progress=lambda stage, fraction: None)
        runner, slot = Runner(loaded.model), Slot()
        slot.begin((loaded.tokenizer.encode(source()) * 4)[:context], None, None)
        runner.forward([Generation(slot, Sampling()).rows(context)])
        return cls(loaded, runner, slot)

    def with_adapter(self, rank: int) -> Variant:
        """Return the same model with a random adapter on every linear layer except the head."""
        pairs = {}
        for linear in (linear for layer in self.loaded.model.layers for linear in layer.linears):
            for path, n_out in zip(linear.paths, linear.sizes, strict=True):
                a = torch.randn(rank, linear.in_features) * linear.in_features**-0.5
                pairs[path] = LoraPair(a, torch.randn(n_out, rank) * 0.01, 2.0)
        adapter = Adapter(f"rank{rank}", (), "", rank, 2.0 * rank, f"rank{rank}", pairs)
        self.runner.make_ready(adapter)
        return Variant(self.loaded, self.runner, self.slot, adapter)

    def pass_ms(self, n_tokens: int) -> float:
        """Return the milliseconds to evaluate ``n_tokens`` after what the slot holds."""
        slot = self.slot
        length, ids = len(slot.ids), slot.ids[:n_tokens]
        slot.ids += ids
        slot.known += bytes(len(ids))
        start = time.perf_counter()
        self.runner.forward([Rows(slot, ids, range(length, length + len(ids)))], self.adapter)
        spent = time.perf_counter() - start
        slot.truncate(length)
        return spent * 1000

    def judged(self, n_tokens: int = 1500) -> tuple[float, torch.Tensor]:
        """Return (nats per token, first choices) on real code."""
        ids, slot, found = self.loaded.tokenizer.encode(source())[:n_tokens], Slot(), []
        slot.begin(ids, None, None)
        for start in range(0, len(ids), PREFILL_CHUNK):
            some = ids[start : start + PREFILL_CHUNK]
            found += self.runner.forward([Rows(slot, some, range(start, start + len(some)), len(some))])
        logits = torch.cat(found)[:-1].float()
        return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]))), logits.argmax(dim=-1)


def merge_s(folder: Path, adapter: Adapter) -> dict[str, float]:
    """Return the seconds to read the base's float weights, to merge ``adapter`` into them, and to quantise and pack the
    sums."""
    spent = dict.fromkeys(("read", "merge", "quantise", "pack"), 0.0)
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        now = time.perf_counter()
        spent[name] += now - clock
        clock = now

    weights: dict[str, torch.Tensor] = {}
    for file in weight_files(folder):
        weights |= read_tensors(file)
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
    parser.add_argument("--context", type=int, default=700)
    parser.add_argument("--formats", default="int8,int4,bfloat16")
    parser.add_argument("--ranks", default="4,16,64", help="ranks of the adapters; an empty string for none")
    options = parser.parse_args()
    folder = models.prepare(models.resolve("embedded"), lambda stage, fraction: None)
    with torch.inference_mode():
        variants = {form: Variant.prepare(folder, form, options.context) for form in options.formats.split(",")}
        judged = {form: variant.judged() for form, variant in variants.items()}
        first = next(iter(variants))
        agreement = {form: float((at == judged[first][1]).float().mean()) for form, (_, at) in judged.items()}
        variants |= {
            f"rank {rank}": variants[first].with_adapter(int(rank)) for rank in options.ranks.split(",") if rank
        }
        times: dict[str, dict[int, list[float]]] = {name: {size: [] for size in SIZES} for name in variants}
        for turn in range(options.rounds + 1):
            for size in SIZES:
                for name, variant in variants.items():
                    spent = variant.pass_ms(size)
                    if turn:  # the first round warms up
                        times[name][size].append(spent)
        merging = {name: merge_s(folder, one.adapter) for name, one in variants.items() if one.adapter is not None}
    p50 = {name: {size: statistics.median(values) for size, values in rows.items()} for name, rows in times.items()}
    print(f"{'tokens':>10}" + "".join(f"{size:>16}" for size in SIZES))
    for name, row in p50.items():
        print(f"{name:>10}" + "".join(f"{row[size]:>8.1f} ms{row[size] / p50[first][size]:>5.2f}" for size in SIZES))
    losses = {form: loss for form, (loss, _) in judged.items()}
    for form, loss in losses.items():
        print(f"{form:>10}: {loss:.4f} nats a token, {agreement[form]:.3f} of the first choices as {first}")
    for name, seconds in merging.items():
        parts = ", ".join(f"{part} {value:.2f} s" for part, value in seconds.items())
        print(f"{name:>10}: merged before quantisation in {sum(seconds.values()):.2f} s ({parts})")
    about: dict[str, Any] = {"context": options.context, "rounds": options.rounds, "threads": torch.get_num_threads()}
    about |= {"wait_policy": os.environ.get("OMP_WAIT_POLICY", "")}
    about |= {"p50_ms": p50, "loss": losses, "agreement": agreement, "merge_s": merging}
    print(json.dumps(measured("passes", about)))


if __name__ == "__main__":
    main()
