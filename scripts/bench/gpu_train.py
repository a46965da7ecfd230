"""Measure loading and training on a GPU, in seconds and peak memory, for random weights in the shapes of CodeGemma-7B.

    python -m scripts.bench.gpu_train [--tokens 512,1024,2048] [--folder /tmp/codegemma-7b-random]
    python -m scripts.bench.gpu_train --tiny --device cpu        only to see that it runs; its figures mean nothing

The weights (17 GB) are written once. Each format is loaded as in the engine, and the peak is shown as a multiple of the
memory that stays in use. Then QLoRA steps of each length are run, and their memory is shown beside what
``midfill train`` predicts. Prints a table and then one line of JSON. The exit status is 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from tests.tokenizers_made import describe
from transformers import AutoModelForCausalLM, GemmaConfig

from midfill.engine.local.model.load import load
from midfill.train.base import Lora, load_base, with_lora
from midfill.train.examples import Batch, Example
from midfill.train.memory import need
from midfill.train.steps import Stepper

from .gpu_model import CODEGEMMA_7B, TINY, finished, why_not

GOAL_LOADING, GOAL_SAID = 1.1, 1.0
NOT_ITS = ("model_type", "rope_theta")  # of the sizes, those that GemmaConfig knows by itself
N_STEPS = 4  # of each length; the first one is not timed


class Gauge:
    """Seconds, and bytes of the device, since it was made."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        self._before, self._started = self.present, time.perf_counter()

    @property
    def present(self) -> int:
        """Bytes that tensors use now."""
        return torch.cuda.memory_allocated(self._device) if self._device.type == "cuda" else 0

    @property
    def seconds(self) -> float:
        """Seconds until everything that was launched is done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - self._started

    @property
    def stays(self) -> int:
        """Bytes in use now, minus those in use before."""
        return self.present - self._before

    @property
    def peak(self) -> int:
        """The most bytes in use, minus those in use before."""
        return torch.cuda.max_memory_allocated(self._device) - self._before if self._device.type == "cuda" else 0

    @property
    def peak_in_all(self) -> int:
        """The most bytes that the allocator reserved."""
        return torch.cuda.max_memory_reserved(self._device) if self._device.type == "cuda" else 0


def write(folder: Path, sizes: dict[str, Any], device: torch.device) -> None:
    """Write a random model, as transformers saves it."""
    if (folder / "tokenizer.json").is_file():
        return
    with device:
        model = AutoModelForCausalLM.from_config(
            GemmaConfig(**{name: value for name, value in sizes.items() if name not in NOT_ITS}), dtype=torch.bfloat16
        )
    model.save_pretrained(folder, max_shard_size="5GB")
    (folder / "tokenizer.json").write_text(json.dumps(describe("codegemma")), encoding="utf-8")


def loading(folder: Path, device: torch.device, forms: list[str]) -> dict[str, float]:
    """Load each format as the engine does; return the figures."""
    figures: dict[str, float] = {}
    for form in forms:
        gauge = Gauge(device)
        loaded = load(folder, "random", device=str(device), dtype=form, progress=_silent)
        figures |= {f"load_{form}_s": gauge.seconds, f"load_{form}_gb": gauge.stays / 1e9}
        figures[f"load_{form}_peak_share"] = gauge.peak / max(1, gauge.stays)
        del loaded
    return figures


def training(folder: Path, device: torch.device, lengths: list[int], vocabulary: int) -> dict[str, float]:
    """Take steps of each length on a base in four bits (on a CPU: in floats), with checkpointing; return the
    figures."""
    quantise = device.type == "cuda"
    gauge = Gauge(device)
    base = load_base(folder, "random", str(device), _silent, quantise=quantise)
    figures = {"base_s": gauge.seconds, "base_gb": gauge.stays / 1e9}
    model = with_lora(base, Lora(), "random", 1, checkpointing=True)
    stepper = Stepper(model, base.device, rate=1e-4, n_steps=100)
    for n in lengths:
        gauge, seconds = Gauge(device), []
        for step in range(N_STEPS):
            started = gauge.seconds
            stepper.step([batch(n, step, vocabulary)])
            seconds.append(gauge.seconds - started)
        said = need(folder, base.device, n, quantised=quantise, checkpointing=True).total
        figures |= {f"train_{n}_s": min(seconds[1:]), f"train_{n}_gb": gauge.peak_in_all / 1e9}
        figures[f"train_{n}_said_gb"] = said / 1e9
    return figures


def batch(n_tokens: int, seed: int, vocabulary: int) -> Batch:
    """Return two examples that nearly fill ``n_tokens``, as real ones do."""
    chance = random.Random(seed)  # noqa: S311
    each = n_tokens // 2 - 1 - seed
    return Batch.of([Example(tuple(chance.choices(range(vocabulary), k=each)), each * 3 // 4, "line") for _ in "ab"])


def goals(figures: dict[str, float], forms: list[str], lengths: list[int]) -> dict[str, bool]:
    """Return which goals are reached."""
    reached = {
        f"{form}: loading peaks at {GOAL_LOADING} x what stays": figures[f"load_{form}_peak_share"] <= GOAL_LOADING
        for form in forms
    }
    for n in lengths:
        fits = figures[f"train_{n}_gb"] <= GOAL_SAID * figures[f"train_{n}_said_gb"]
        reached[f"{n} tokens: no more memory than was said"] = fits
    return reached


def _silent(stage: str, fraction: float) -> None:
    """Show no progress."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tokens", default="512,1024,2048", help="lengths of a training step")
    parser.add_argument("--formats", default="bfloat16,int8,int4")
    parser.add_argument("--folder", type=Path, help="folder for the weights (default: a temporary one)")
    parser.add_argument("--tiny", action="store_true", help="a model of two small layers, and no goals")
    options = parser.parse_args()
    if (problem := why_not(options)) is not None:
        print(problem, file=sys.stderr)
        return 2
    device = torch.device(options.device)
    sizes = TINY if options.tiny else CODEGEMMA_7B
    forms = options.formats.split(",") if device.type == "cuda" else ["float32"]
    lengths = [int(n) for n in options.tokens.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "model"
        write(folder, sizes, device)
        figures = loading(folder, device, forms)
        figures |= training(folder, device, lengths, sizes["vocab_size"] - 300)
    return finished(
        "gpu_train", device, figures, {} if options.tiny else goals(figures, forms, lengths), tiny=options.tiny
    )


if __name__ == "__main__":
    sys.exit(main())
