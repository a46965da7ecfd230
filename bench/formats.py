"""How long a forward pass of the embedded model takes in each number format, and what each says of real code.

    python bench/formats.py [--rounds 10] [--context 700]

The formats take turns within each round, so that whatever else the machine does meets all of them; compare the ratios.
Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time

import torch

from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.model.load import LoadedModel, load
from midfill.engine.local.sequence.generation import PREFILL_CHUNK, Generation, Sampling
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.engine.local.store import models

FORMATS = ("int8", "int4", "bfloat16")
SIZES = (1, 2, 4, 8, 16, 64, 256)


def prepare(form: str, context: int) -> tuple[LoadedModel, Runner, Slot]:
    """A model of that format with ``context`` tokens in its slot."""
    folder = models.prepare(models.resolve("embedded"), lambda stage, fraction: None)
    loaded = load(folder, "embedded", device="cpu", dtype=form, progress=lambda stage, fraction: None)
    runner = Runner(loaded.model)
    slot = Slot()
    slot.begin((loaded.tokenizer.encode(source()) * 4)[:context], None, None)
    with torch.inference_mode():
        runner.forward([Generation(slot, Sampling()).rows(context)])
    return loaded, runner, slot


def source() -> str:
    """Real code that is on every machine."""
    return "\n".join(open(module.__file__).read() for module in (argparse, statistics) if module.__file__)  # noqa: PTH123


def forward_s(runner: Runner, slot: Slot, n_tokens: int) -> float:
    """Seconds to evaluate ``n_tokens`` after what the slot holds."""
    length, ids = len(slot.ids), slot.ids[:n_tokens]
    slot.ids += ids
    slot.known += bytes(n_tokens)
    start = time.perf_counter()
    with torch.inference_mode():
        runner.forward([Rows(slot, ids, range(length, length + n_tokens))])
    spent = time.perf_counter() - start
    slot.truncate(length)
    return spent


def judge(loaded: LoadedModel, n_tokens: int = 1500) -> tuple[float, torch.Tensor]:
    """(loss in nats a token, first choices) on real code."""
    ids = loaded.tokenizer.encode(source())[:n_tokens]
    runner, slot, found = Runner(loaded.model), Slot(), []
    slot.begin(ids, None, None)
    with torch.inference_mode():
        for start in range(0, len(ids), PREFILL_CHUNK):
            some = ids[start : start + PREFILL_CHUNK]
            found += runner.forward([Rows(slot, some, range(start, start + len(some)), len(some))])
    logits = torch.cat(found)[:-1].float()
    return float(torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]))), logits.argmax(dim=-1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--context", type=int, default=700)
    options = parser.parse_args()
    ready = {form: prepare(form, options.context) for form in FORMATS}
    times: dict[str, dict[int, list[float]]] = {form: {size: [] for size in SIZES} for form in FORMATS}
    for _ in range(options.rounds):
        for size in SIZES:
            for form, (_, runner, slot) in ready.items():
                times[form][size].append(forward_s(runner, slot, size) * 1000)
    p50 = {form: {size: statistics.median(values) for size, values in rows.items()} for form, rows in times.items()}
    print(f"{'tokens':>8}" + "".join(f"{form:>12}" for form in FORMATS) + f"{'ratio':>8}")
    for size in SIZES:
        values = [p50[form][size] for form in FORMATS]
        print(f"{size:>8}" + "".join(f"{value:>9.1f} ms" for value in values) + f"{values[-1] / values[0]:>8.2f}")
    judged = {form: judge(loaded) for form, (loaded, _, _) in ready.items()}
    agreement = float((judged["int8"][1] == judged["bfloat16"][1]).float().mean())
    for form, (loss, _) in judged.items():
        print(f"{form}: {loss:.4f} nats a token")
    print(f"first choices that agree: {agreement:.3f}")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()  # noqa: S607
    report = {
        "bench": "formats", "context": options.context, "rounds": options.rounds, "p50_ms": p50,
        "loss": {form: loss for form, (loss, _) in judged.items()}, "agreement": agreement,
        "cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0], "wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
        "torch": torch.__version__, "commit": commit,
    }  # fmt: skip
    print(json.dumps(report))


if __name__ == "__main__":
    main()
