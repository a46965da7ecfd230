"""The compiled forward pass gives the same as torch, and the same for a row alone and among others."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from midfill import paths
from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.lora.adapter import Adapter, read_adapter
from midfill.engine.local.model.int8_kernels import best
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.types import MidfillError
from tests.engine.made import load_foreign, load_tiny, save_tiny

numba = pytest.importorskip("numba")

from midfill.engine.local.forward.compiled import attention, cache, compiled  # noqa: E402
from midfill.engine.local.forward.compiled.product import CompiledKernel  # noqa: E402
from midfill.engine.local.forward.compiled.team import Team  # noqa: E402
from midfill.engine.local.forward.compiled.tiles import COLUMNS  # noqa: E402

needs_compiled = pytest.mark.skipif(best() is not CompiledKernel, reason="this CPU has other products")
KINDS = ("llama", "qwen2")  # without and with biases


def tiny(kind: str, folder: Path) -> Runner:
    runner = Runner(load_tiny(save_tiny(kind, folder), "int8").model)
    assert runner.compiled is not None
    return runner


def through_torch(runner: Runner, batch: list[Rows], adapter: Adapter | None = None) -> list[torch.Tensor]:
    compiled, runner.compiled = runner.compiled, None
    assert compiled is not None
    try:
        return runner.forward(batch, adapter)
    finally:
        runner.compiled = compiled


def prompt(slot: Slot, ids: list[int], n_logits: int = 1) -> Rows:
    slot.begin(ids, None, None)
    return Rows(slot, ids, range(len(ids)), n_logits)


def near(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Compare with a tolerance: keys are rounded to eight bits of mantissa, activations to eleven or more, and sums are
    in another order."""
    return float((found - expected).norm()) < 0.01 * float(expected.norm())


@needs_compiled
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 5, 16, 17, 40, 100])
def test_it_is_the_pass_through_torch(kind: str, n: int, tmp_path: Path) -> None:
    runner, ids = tiny(kind, tmp_path / "m"), [5 + i * 7 % 80 for i in range(n)]
    with torch.inference_mode():
        (found,) = runner.forward([prompt(Slot(), ids, n)])
        (expected,) = through_torch(runner, [prompt(Slot(), ids, n)])
    assert found.shape == expected.shape
    assert near(found, expected)


@needs_compiled
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_the_same_bit_for_bit_alone_and_among_others(kind: str, tmp_path: Path) -> None:
    runner, ids = tiny(kind, tmp_path / "m"), [5 + i * 7 % 80 for i in range(60)]
    with torch.inference_mode():
        slot = Slot()
        runner.forward([prompt(slot, ids[:40])])
        alone = []
        for at in range(40, 57):
            slot.ids.append(ids[at])
            slot.known.append(0)
            alone.append(runner.forward([Rows(slot, ids[at : at + 1], range(at, at + 1))])[0])
        for n in range(1, 18):
            slot.truncate(40)
            slot.ids += ids[40 : 40 + n]
            slot.known += bytes(n)
            (together,) = runner.forward([Rows(slot, ids[40 : 40 + n], range(40, 40 + n), n)])
            assert torch.equal(together, torch.cat(alone[:n]))


@needs_compiled
def test_two_sequences_in_one_step_are_two_steps(tmp_path: Path) -> None:
    runner = tiny("qwen2", tmp_path / "m")
    texts = [[5 + i * 7 % 80 for i in range(23)], [9 + i * 5 % 80 for i in range(31)]]
    with torch.inference_mode():
        apart = [runner.forward([prompt(Slot(), ids, 3)])[0] for ids in texts]
        together = runner.forward([prompt(Slot(), ids, 3) for ids in texts])
    assert all(torch.equal(mine, expected) for mine, expected in zip(together, apart, strict=True))


@needs_compiled
def test_a_gap_in_a_sequence_is_filled(tmp_path: Path) -> None:
    """As after a keystroke: the cache holds the tokens before the gap and those after it."""
    runner, ids = tiny("llama", tmp_path / "m"), [5 + i * 7 % 80 for i in range(50)]
    with torch.inference_mode():
        slot = Slot()
        (whole,) = runner.forward([prompt(slot, ids, 50)])
        rows = [20, 21, 22, 48, 49]
        (again,) = runner.forward([Rows(slot, [ids[at] for at in rows], rows, 5)])
    assert near(again, whole[rows])


@needs_compiled
@pytest.mark.parametrize("rank", [4, 24])  # of a stack with zeros, and of blocks
def test_an_adapter_is_added(rank: int, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    from tests.engine.test_adapters import save_adapter

    model = load_tiny(save_tiny("qwen2", tmp_path / "m"), "int8")
    save_adapter(
        AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32), tmp_path / "a", r=rank
    )  # fmt: skip
    runner, ids = Runner(model.model), [5 + i * 7 % 80 for i in range(30)]
    adapter = read_adapter("a", tmp_path / "a", model.model, model.base_names)
    with torch.inference_mode():
        (without,) = runner.forward([prompt(Slot(), ids, 30)])
        (found,) = runner.forward([prompt(Slot(), ids, 30)], adapter)
        (expected,) = through_torch(runner, [prompt(Slot(), ids, 30)], adapter)
        (again,) = runner.forward([prompt(Slot(), ids, 30)])
    assert near(found, expected)
    assert not near(found, without)
    assert torch.equal(again, without)


@needs_compiled
def test_a_long_step_is_stopped_between_layers(tmp_path: Path) -> None:
    from midfill.engine.local.forward.runner import Cancelled

    runner, slot, asked = tiny("llama", tmp_path / "m"), Slot(), []

    def nobody_waits() -> bool:
        asked.append(1)
        return len(asked) == 3

    with torch.inference_mode(), pytest.raises(Cancelled):
        runner.forward([prompt(slot, list(range(5, 45)))], None, nobody_waits)
    assert not any(slot.known)


@pytest.mark.parametrize("n_queries", [1, 2, 3, 5, 7, 8, 13, 24])
@pytest.mark.parametrize("length", [1, 7, 8, 16, 33, 200])
def test_scores_and_their_mixture_are_those_of_floats(n_queries: int, length: int) -> None:
    dim = 64
    q = torch.randn(n_queries, dim)
    keys, values = torch.randn(length, dim).bfloat16(), torch.randn(length, dim).bfloat16()
    scores = np.empty((n_queries, -(-length // COLUMNS) * COLUMNS), np.float32)
    attention._score(q.numpy(), keys.data_ptr(), length, np.empty((dim, COLUMNS), np.float32), scores)
    torch.testing.assert_close(torch.from_numpy(scores[:, :length]), q @ keys.float().T, rtol=1e-4, atol=1e-4)
    for row in scores:
        attention._softmax(row[:length])
        row[length:] = 0
    out = np.empty((n_queries, dim), np.float32)
    attention._mix(scores, values.data_ptr(), length, np.empty((2 * COLUMNS, dim), np.float32), out)
    expected = (q @ keys.float().T).softmax(-1) @ values.float()
    torch.testing.assert_close(torch.from_numpy(out), expected, rtol=1e-4, atol=1e-5)


def test_numbers_are_rounded_to_bfloat16_as_torch_does() -> None:
    for value in torch.cat([torch.randn(200) * 1e3, torch.tensor([0.0, -0.0, 1.0, 1.00390625, 1.01171875])]):
        bits = int(compiled.bfloat(np.float32(value)))
        assert bits == int(value.bfloat16().view(torch.int16)) & 0xFFFF
        assert float(compiled.of_bfloat(np.uint16(bits))) == float(value.bfloat16())


def test_powers_of_e_over_the_range() -> None:
    for x in np.linspace(-80, 80, 321, dtype=np.float32):
        assert compiled.exp(x) == pytest.approx(float(np.exp(np.float64(x))), rel=1e-6 + 2e-7 * abs(float(x)))
    assert 0 <= compiled.exp(np.float32(-1e30)) < 1e-30


@needs_compiled
def test_an_adapter_of_the_head_is_added(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    from midfill.engine.local.lora.files import WEIGHTS_FILE
    from tests.engine.test_adapters import save_adapter

    model = load_tiny(save_tiny("llama", tmp_path / "m"), "int8")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "m", dtype=torch.float32)
    save_adapter(base, tmp_path / "a", target_modules=["lm_head", "q_proj"])
    file = tmp_path / "a" / WEIGHTS_FILE  # as with save_embedding_layers=False
    save_file({name: value for name, value in load_file(file).items() if "lora_" in name}, file)
    runner, ids = Runner(model.model), [5 + i * 7 % 80 for i in range(30)]
    adapter = read_adapter("a", tmp_path / "a", model.model, model.base_names)
    assert "lm_head" in adapter.pairs
    with torch.inference_mode():
        (found,) = runner.forward([prompt(Slot(), ids, 30)], adapter)
        (expected,) = Runner(load_foreign(tmp_path / "m", "int8")).forward([prompt(Slot(), ids, 30)], adapter)
        (without,) = runner.forward([prompt(Slot(), ids, 30)])
    assert near(found, expected)
    assert not near(found, without)


@needs_compiled
def test_a_model_with_a_window_is_left_to_torch(tmp_path: Path) -> None:
    runner = Runner(load_tiny(save_tiny("mistral", tmp_path / "m"), "int8").model)
    assert runner.compiled is None
    assert {layer.window for layer in runner.model.layers} == {16}  # type: ignore[union-attr]


def test_every_thread_of_a_team_works_and_an_error_is_told() -> None:
    team, seen = Team(), set[tuple[int, int]]()

    def work(thread: int, fails: int) -> None:
        seen.add((thread, threading.get_ident()))
        if thread == fails:
            raise ValueError("of a thread")

    team.run(work, -1, threads=3)
    assert {thread for thread, _ in seen} == {0, 1, 2}
    assert len({ident for _, ident in seen}) == 3
    for fails in (2, 0):
        with pytest.raises(ValueError, match="of a thread"):
            team.run(work, fails, threads=3)
    team.run(work, -1, threads=2)


def test_a_team_waits_for_none_that_waits_for_ever() -> None:
    team, over = Team(), threading.Event()

    def work(thread: int, fails: bool) -> None:
        if thread == 0 and fails:
            raise MemoryError
        if fails:
            over.wait(60)
        done.append(thread)

    done: list[int] = []
    with pytest.raises(MemoryError):
        team.run(work, True, threads=2)
    team.run(work, False, threads=2)
    assert sorted(done) == [0, 1]
    over.set()


def test_code_that_cannot_be_kept_is_used_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    class Full:
        def compile(self, _types: Any) -> None:
            raise OSError(28, "No space left on device")

        def __call__(self, thread: int) -> None:
            calls.append(thread)

    Team().run(Full(), threads=1)
    assert calls == [0]
    assert "No space left" in caplog.text


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """numba's configuration, with a cache of midfill's own."""
    monkeypatch.setenv("MIDFILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)
    return numba.config


def test_compiled_code_is_kept_by_what_it_is_made_of(kept: Any) -> None:
    every = paths.cache_dir() / "kernels"
    for name, age_s in (("of-last-year", 4e7), ("of-yesterday", 1e5)):
        (every / name).mkdir(parents=True, mode=0o700)
        os.utime(every / name, (time.time() - age_s,) * 2)
    for folder in (paths.cache_dir(), every):
        folder.chmod(0o700)
    cache.choose()
    mine = Path(kept.CACHE_DIR)
    assert mine.parent == every
    assert mine.stat().st_mode & 0o077 == 0
    assert {folder.name for folder in every.iterdir()} == {mine.name, "of-yesterday"}
    (mine / "code").touch()
    cache.choose()
    assert (mine / "code").exists()


@pytest.mark.parametrize("open_folder", [".", "kernels"])
def test_code_is_not_read_where_others_may_write(open_folder: str, kept: Any) -> None:
    (paths.cache_dir() / "kernels").mkdir(parents=True, mode=0o700)
    (paths.cache_dir() / open_folder).chmod(0o777)
    cache.choose()
    assert Path(kept.CACHE_DIR).parent == paths.runtime_dir() / "kernels"


def test_nor_in_a_folder_of_its_own_that_is_open(kept: Any) -> None:
    cache.choose()
    Path(kept.CACHE_DIR).chmod(0o777)
    with pytest.raises(MidfillError, match="open to other users"):
        cache.choose()
