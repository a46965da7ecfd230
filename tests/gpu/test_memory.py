"""On a GPU: the memory taken is the memory planned, and only the graphs grow with the number of graphs."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from midfill.engine.local.forward import memory_plan
from midfill.engine.local.forward.cuda_graphs import StaticDecoder
from midfill.engine.local.forward.cuda_setup import measure, static_decoder
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.model import load
from midfill.engine.local.model.load import LoadedModel
from midfill.engine.local.sequence.generation import Generation, Sampling
from midfill.engine.local.sequence.kv_cache import Slot
from tests.engine.made import save_tiny
from tests.engine.test_decode import prompt
from tests.engine.test_triton_kernels import PLAIN

ROOT = Path(__file__).parents[2]
GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _inference() -> object:
    with torch.inference_mode():
        yield


def large(tmp_path: Path, dtype: str = "bfloat16") -> LoadedModel:
    """A model of about 200 MB, so that the memory of a step is more than the allocator's rounding."""
    folder = save_tiny("llama", tmp_path / "large", hidden_size=1024, intermediate_size=8192, num_hidden_layers=4)
    return load.load(folder, "large", device="cuda", dtype=dtype, progress=lambda *_: None)


def test_weights_are_on_the_device_once_while_they_are_loaded(tmp_path: Path) -> None:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loaded = large(tmp_path)
    assert torch.cuda.max_memory_allocated() - before <= 1.1 * (torch.cuda.memory_allocated() - before)
    assert loaded.device == GPU


def test_a_prompt_takes_no_more_than_was_measured(tmp_path: Path) -> None:
    runner = Runner(large(tmp_path).model)
    _, _, demand = measure(runner, 1500, 512)
    assert demand.prefill > 0
    slot = Slot()
    slot.begin(prompt(1500), None, None)
    generation = Generation(slot, Sampling())
    runner.forward([generation.rows(16)])  # the slot's own memory

    def read() -> None:
        while generation.n_pending > 1:
            runner.forward([generation.rows(512)])

    assert memory_plan.peak_of(read, GPU) <= demand.prefill + memory_plan.MARGIN


def test_a_share_of_the_card_is_what_is_planned_for(tmp_path: Path) -> None:
    loaded = large(tmp_path)
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(4 * memory_plan.GIB / total)
    try:
        static = static_decoder(Runner(loaded.model), 600, loaded.max_context, 4)
        assert static.chunk == 256
        while static.pending:
            static.capture_next()
        assert torch.cuda.memory_reserved() <= 4 * memory_plan.GIB
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_graphs_are_dropped_whole_and_captured_anew(tmp_path: Path) -> None:
    """Three generations, one after the other, leave no memory behind."""
    loaded = large(tmp_path)
    left = []
    for _ in range(3):
        static: StaticDecoder = static_decoder(Runner(loaded.model), 600, loaded.max_context, 2)
        while static.pending:
            static.capture_next()
        assert static.n_graphs
        static.close()
        del static
        gc.collect()
        torch.cuda.empty_cache()
        left.append(torch.cuda.memory_reserved())
    assert left[2] - left[0] < 64 * memory_plan.MIB


@pytest.mark.parametrize("checks", ["check_triton_kernels.py", "check_fused.py"])
def test_kernels_by_triton(checks: str) -> None:
    """Compiled, in bfloat16: the checks that run in an interpreter elsewhere."""
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", str(ROOT / "tests" / "engine" / checks), "-q", *PLAIN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
