"""Runners with steps of fixed shape, graphs for machines that have none, and adapters to run on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from midfill.engine.local.forward import cuda_graphs as cuda
from midfill.engine.local.forward.cuda_graphs import StaticDecoder
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.sequence.kv_cache import Slot
from tests.engine.made import save_tiny
from tests.engine.test_adapters import save_adapter

PLENTY = 1 << 40


def decoder(runner: Runner) -> StaticDecoder:
    assert runner.static is not None
    return runner.static


def slot_of(runner: Runner) -> Slot:
    slot = decoder(runner).slots[0]
    slot.truncate(0)
    return slot


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that returns a base, or adapters of it by seed."""
    base = save_tiny("qwen2", tmp_path_factory.mktemp("base") / "base")

    def make(seed: int | None = None, **settings: Any) -> Path:
        if seed is None:
            return base
        folder = tmp_path_factory.mktemp("adapter") / "adapter"
        with torch.inference_mode(False):
            save_adapter(
                AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder, seed,
                **{"r": 4, "target_modules": "all-linear", **settings},
            )  # fmt: skip
        return folder

    return make


class Pretended:
    """Graphs for machines that have none: replaying one computes the step again."""

    def __init__(self) -> None:
        self.steps: dict[cuda.GraphKey, Callable[[], object]] = {}
        self.replayed: list[cuda.GraphKey] = []
        self.n_dropped = 0

    def __len__(self) -> int:
        return len(self.steps)

    def __contains__(self, key: cuda.GraphKey) -> bool:
        return key in self.steps

    def capture(self, key: cuda.GraphKey, compute: Callable[[], object]) -> None:
        compute()
        self.steps[key] = compute

    def replay(self, key: cuda.GraphKey) -> None:
        self.replayed.append(key)
        self.steps[key]()

    def drop(self) -> None:
        self.n_dropped += bool(self.steps)
        self.steps.clear()


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> list[Pretended]:
    """Pretended graphs; those of each decoder, without and with an adapter, in the order in which they were made."""
    made_: list[Pretended] = []

    def make(*_: Any) -> Pretended:
        made_.append(Pretended())
        return made_[-1]

    monkeypatch.setattr(cuda, "Graphs", make)
    monkeypatch.setattr(cuda, "Streams", lambda device: SimpleNamespace(plain=None, adapted=None))
    return made_
