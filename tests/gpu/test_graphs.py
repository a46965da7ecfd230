"""On a GPU: steps by graphs give the same as steps without, while adapters change and slots move."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM

from midfill.engine.local.engine import LocalEngine
from midfill.engine.local.forward import attention
from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.cuda_graphs import StaticDecoder
from midfill.engine.local.forward.cuda_setup import static_decoder
from midfill.engine.local.forward.runner import Cancelled, Runner
from midfill.engine.local.lora.adapter import ResidentAdapters, read_adapter
from midfill.engine.local.model import load
from midfill.engine.local.model.load import LoadedModel
from midfill.engine.local.sequence.generation import Generation, Sampling
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.engine.local.sequence.prompt_lookup import Drafter
from tests.engine.made import save_tiny
from tests.engine.test_adapters import save_adapter, with_adapter
from tests.engine.test_decode import GREEDY, answer, prompt, run
from tests.engine.test_engine import asked, whole

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _inference() -> object:
    with torch.inference_mode():
        yield


def on_gpu(folder: Path, dtype: str = "float32") -> LoadedModel:
    return load.load(folder, folder.name, device="cuda", dtype=dtype, progress=lambda stage, fraction: None)


def both_ways(loaded: LoadedModel) -> tuple[Runner, Runner]:
    """Return (without graphs, with all of them)."""
    plain, graphed = Runner(loaded.model), Runner(loaded.model)
    graphed.static = static_decoder(graphed, 600, loaded.max_context, 2)
    capture_all(graphed)
    return plain, graphed


def capture_all(runner: Runner) -> StaticDecoder:
    assert runner.static is not None
    while runner.static.pending:
        runner.static.capture_next()
    assert runner.static.n_graphs
    return runner.static


@pytest.fixture(params=["llama", "qwen2", "gemma"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return save_tiny(request.param, tmp_path / request.param)


def test_the_same_tokens_with_graphs(folder: Path) -> None:
    plain, graphed = both_ways(on_gpu(folder))
    assert graphed.static is not None
    for length in (1, 40, 505):
        ids = prompt(length, seed=length)
        for slot in graphed.static.slots:
            slot.truncate(0)
            assert answer(graphed, slot, ids) == answer(plain, Slot(), ids)


def logits_by(runner: Runner, slot: Slot) -> list[torch.Tensor]:
    """Return the logits of a step of each number of rows after a prompt of 60."""
    answer(runner, slot, prompt(60), n=1)
    found = []
    for n in range(1, 18):
        slot.truncate(60)
        slot.ids += prompt(n, seed=n)
        slot.known += bytes(n)
        (logits,) = runner.forward([Rows(slot, prompt(n, seed=n), range(60, 60 + n), n)])
        found.append(logits.float())
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_logits_for_every_number_of_rows(folder: Path, dtype: str) -> None:
    """In bfloat16 a graph is at most twice as far from float32 as the way without graphs is, so a wrong mask on one row
    shows."""
    plain, graphed = both_ways(on_gpu(folder, dtype))
    assert graphed.static is not None
    exact = logits_by(Runner(on_gpu(folder).model), Slot())
    usual, found = logits_by(plain, Slot()), logits_by(graphed, graphed.static.slots[1])
    for n, (one, other, wanted) in enumerate(zip(found, usual, exact, strict=True), 1):
        if dtype == "float32":
            assert float((one - wanted).norm() / wanted.norm()) < 1e-3, n
            continue
        errors, allowed = ((logits - wanted).norm(dim=-1) for logits in (one, other))
        assert bool((errors <= 2 * torch.maximum(allowed, allowed.mean())).all()), (n, errors, allowed)


def test_drafts_and_turns_between_slots(folder: Path) -> None:
    plain, graphed = both_ways(on_gpu(folder))
    assert graphed.static is not None
    slots = graphed.static.slots
    wanted = [answer(plain, Slot(), prompt(30, seed), n=30) for seed in range(len(slots))]
    generations = []
    for seed, slot in enumerate(slots):
        slot.truncate(0)
        slot.begin(prompt(30, seed), None, None)
        hints = prompt(30, seed)[-3:] + wanted[seed][:20]
        generations.append(Generation(slot, Sampling(), drafter=Drafter([hints])))
    while any(len(slot.ids) < 60 for slot in slots):
        for generation in generations:
            rows = generation.rows(256, 8)
            (logits,) = graphed.forward([rows])
            generation.take(rows, logits)
    assert [slot.ids[30:60] for slot in slots] == wanted


def test_adapters_switch_without_another_capture(tmp_path: Path) -> None:
    folder = save_tiny("qwen2", tmp_path / "base")
    loaded = on_gpu(folder)
    plain, graphed = both_ways(loaded)
    residents = ResidentAdapters(loaded.model)
    graphed.static.residents = lambda: residents.adapters.values()  # type: ignore[union-attr]
    for seed in (1, 2):
        target = tmp_path / f"a{seed}"
        with torch.inference_mode(False):
            save_adapter(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), target, seed, r=4 * seed)
        residents.add(read_adapter(f"a{seed}", target, loaded.model, loaded.base_names))
    static = graphed.static
    assert static is not None

    def say(name: str | None) -> None:
        adapter = residents.adapters[name] if name else None
        static.slots[0].truncate(0)
        mine = answer(graphed, static.slots[0], prompt(20), adapter=adapter)
        assert mine == answer(plain, Slot(), prompt(20), adapter=adapter)

    for name in ("a1", "a2"):
        say(name)
        capture_all(graphed)
    n_graphs, started = static.n_graphs, time.perf_counter()
    turns: tuple[str | None, ...] = ("a2", "a1", None, "a2", None, "a1")
    for turn in turns:
        say(turn)
    assert static.n_graphs == n_graphs
    assert time.perf_counter() - started < 5


def test_suffix_shift_through_graphs(folder: Path) -> None:
    plain, graphed = both_ways(on_gpu(folder))
    assert graphed.static is not None
    rotate, ids = plain.find_rotation(), prompt(80)
    assert rotate is not None
    said = []
    graphed.static.slots[0].truncate(0)
    for runner, slot in ((plain, Slot()), (graphed, graphed.static.slots[0])):
        slot.begin(ids, (40, 75), rotate)
        run(runner, Generation(slot, GREEDY), 3)
        slot.begin([*ids[:40], 7, *ids[40:]], (41, 76), rotate)
        said.append(run(runner, Generation(slot, GREEDY), 10))
    assert said[0] == said[1]


def test_long_prompts_without_a_mask() -> None:
    torch.manual_seed(0)
    q, keys, values = (torch.randn(1, 4, n, 64, device="cuda", dtype=torch.bfloat16) for n in (100, 300, 300))
    for end in (100, 300):
        mask = attention._mask(end - 100, 100, 0, end, None, q.device)
        some = keys[:, :, :end], values[:, :, :end]
        wanted = scaled_dot_product_attention(q, *some, attn_mask=mask)
        torch.testing.assert_close(attention.causal(q, *some, None), wanted, atol=2e-2, rtol=2e-2)


def test_a_prompt_that_is_read_stops_soon(folder: Path) -> None:
    runner = Runner(on_gpu(folder).model)
    slot, flag = Slot(), threading.Event()
    slot.begin(prompt(1500), None, None)
    flag.set()
    with pytest.raises(Cancelled):
        runner.forward([Generation(slot, GREEDY).rows(1024)], None, flag.is_set)
    assert not any(slot.known)


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_quantised_weights(form: str, folder: Path) -> None:
    if form == "int4":
        pytest.importorskip("bitsandbytes")
    exact, quantised = on_gpu(folder), on_gpu(folder, form)
    assert quantised.number_format == form
    ids = torch.randint(5, 90, (1, 24), device="cuda")
    a, b = with_adapter(exact, None, ids).float(), with_adapter(quantised, None, ids).float()
    assert float((a - b).norm() / a.norm()) < (0.15 if form == "int8" else 0.5)
    _, graphed = both_ways(quantised)
    assert graphed.static is not None
    assert len(answer(graphed, graphed.static.slots[0], prompt(20))) == 12


def test_the_engine_on_a_gpu(tmp_path: Path) -> None:
    """Completions while graphs are captured, and the same after."""
    folder = save_tiny("qwen2", tmp_path / "tiny")

    async def through() -> None:
        engine = LocalEngine(str(folder), device="cuda", dtype="float32")
        engine.start()
        while engine.status.state == "starting":
            await asyncio.sleep(0.01)
        assert engine.status.state == "ready", engine.status
        early = [(await whole(engine, asked(seed))) for seed in range(3)]
        static = engine.thread.runner.static
        assert static is not None
        while static.pending:
            await asyncio.sleep(0.05)
        assert [(await whole(engine, asked(seed)))[0] for seed in range(3)] == [text for text, _ in early]
        several = await asyncio.gather(*(whole(engine, asked(seed, window=f"w{seed}")) for seed in range(3)))
        assert [text for text, _ in several] == [text for text, _ in early]
        await engine.aclose()
        await asyncio.to_thread(engine.thread.join)

    with torch.inference_mode(False):
        asyncio.run(through())


def test_what_only_our_engine_does_is_the_same_on_both_devices(tmp_path: Path) -> None:
    """Scores of a given answer, text that does not end, and names that are likely to different degrees."""
    folder = save_tiny("qwen2", tmp_path / "tiny")
    given = tuple((7 * i + 3) % 300 for i in range(24))
    requests = [
        asked(1, length=30, max_tokens=len(given), logprobs=True, given=given),
        asked(2, logprobs=True, ignore_eos=True),
        asked(3, logprobs=True, bias_names=("return", "range"), bias_only=True, bias_advantages=(1.0, 4.0)),
    ]

    async def answers(device: str) -> list[tuple[str, list[float]]]:
        engine = LocalEngine(str(folder), device=device, dtype="float32")
        engine.start()
        while engine.status.state == "starting":
            await asyncio.sleep(0.01)
        assert engine.status.state == "ready", engine.status
        found = []
        for request in requests:
            deltas = [delta async for delta in engine.stream(request)]
            found.append(("".join(one.text for one in deltas), [value for one in deltas for value in one.logprobs]))
        await engine.aclose()
        await asyncio.to_thread(engine.thread.join)
        return found

    with torch.inference_mode(False):
        on_cpu, on_gpu_ = asyncio.run(answers("cpu")), asyncio.run(answers("cuda"))
    for (text, values), (other, others) in zip(on_cpu, on_gpu_, strict=True):
        assert other == text
        assert others == pytest.approx(values, abs=1e-3)


def test_bench_gpu_runs_in_small() -> None:
    command = [sys.executable, "-m", "scripts.bench.gpu", "--tiny", "--tokens", "4", "--rounds", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
