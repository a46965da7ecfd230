"""On a GPU: ``midfill train`` with a base in bfloat16, and in four bits with gradient checkpointing (QLoRA)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from midfill.commands.training import watch
from midfill.engine.local.lora.files import describe
from midfill.train.base import Lora, load_base, with_lora
from midfill.train.job import Job
from tests.engine.made import save_tiny
from tests.train.made import project
from tests.train.test_memory import check_formats


@pytest.mark.parametrize("quantise", [False, True])
def test_training(tmp_path: Path, quantise: bool) -> None:
    if quantise:
        pytest.importorskip("bitsandbytes")
    base = save_tiny("gemma", tmp_path / "base", tokenizer="codegemma")
    repo = project(tmp_path / "repo", 24)
    job = Job(
        name="mine", roots=(str(repo),), held_out=(), folder=str(tmp_path / "run"), model=str(base), device="cuda",
        n_steps=30, n_tokens=1024, rate=1e-2, quantise=quantise, checkpointing=quantise,
    )  # fmt: skip
    trained = watch(job, Console(quiet=True))
    assert describe(trained).rank == 4
    loss = json.loads((trained / "midfill.json").read_text())["loss"]
    assert loss["held_out_after"] < loss["held_out_before"]


def test_a_base_in_four_bits_stays_in_bfloat16(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    loaded = load_base(save_tiny("gemma", tmp_path / "base"), "base", "cuda", lambda *_: None, quantise=True)
    check_formats(with_lora(loaded, Lora(dropout=0.0), "", 1, checkpointing=True).train(), loaded.device)
