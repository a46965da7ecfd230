"""Adapters while the engine serves: it loads them, notices when their files change, and drops them to make room."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import statistics
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from midfill.engine.base import AdapterMissingError, GenerateRequest
from midfill.engine.local import engine as engine_module
from midfill.engine.local.engine import LocalEngine
from midfill.engine.local.lora import loader as adapter_loader
from midfill.engine.local.lora.adapter import read_adapter
from midfill.engine.local.lora.files import CONFIG_FILE, WEIGHTS_FILE
from midfill.types import MidfillError
from tests.engine.made import save_tiny
from tests.engine.test_adapters import save_adapter
from tests.engine.test_engine import asked, running, stats_of, whole


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("qwen2", tmp_path_factory.mktemp("models") / "tiny-qwen")


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = [tmp_path_factory.mktemp(f"adapter{seed}") for seed in range(3)]
    for seed, folder in enumerate(folders):
        save_adapter(AutoModelForCausalLM.from_pretrained(base), folder, seed)
    return folders


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_loader, "LOOK_EVERY_S", 0.05)


@pytest.fixture
async def engine(base: Path) -> AsyncIterator[LocalEngine]:
    async with running(str(base), dtype="float32", max_adapters=2) as engine:
        yield engine


def names(engine: LocalEngine) -> list[str]:
    return [entry["name"] for entry in engine.adapters()]


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not what():
            await asyncio.sleep(0.01)


async def text(engine: LocalEngine, adapter: str | None) -> str:
    return (await whole(engine, asked(adapter=adapter)))[0]


def digest(engine: LocalEngine) -> str:
    (entry,) = engine.adapters()
    return str(entry["digest"])


def copy_over(source: Path, target: Path) -> None:
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        shutil.copyfile(source / name, target / name)


def rename_over(source: Path, target: Path) -> None:
    shutil.copytree(source, target.with_name("new"))
    target.rename(target.with_name("old"))
    target.with_name("new").rename(target)


@pytest.mark.parametrize("replace", [copy_over, rename_over])
async def test_replaced_files_are_noticed(
    engine: LocalEngine, adapters: list[Path], tmp_path: Path, replace: Callable[[Path, Path], None]
) -> None:
    folder = Path(shutil.copytree(adapters[0], tmp_path / "mine"))
    await engine.load_adapter("mine", folder)
    first, before = await text(engine, "mine"), digest(engine)
    replace(adapters[1], folder)
    await until(lambda: digest(engine) != before)
    second, last = await whole(engine, asked(adapter="mine"))
    assert second != first
    assert stats_of(last).n_cached == 0
    await engine.load_adapter("other", adapters[1])
    assert await text(engine, "other") == second


async def test_a_running_request_keeps_the_old_files(engine: LocalEngine, adapters: list[Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(adapters[0], tmp_path / "mine"))
    await engine.load_adapter("mine", folder)
    request = asked(adapter="mine", max_tokens=600)
    expected, _ = await whole(engine, request)
    before, said = digest(engine), ""
    async with aclosing(engine.stream(request)) as stream:  # type: ignore[type-var]
        said += (await anext(stream)).text
        copy_over(adapters[1], folder)
        await until(lambda: digest(engine) != before)
        assert engine.figures()["n_active"] == 1
        async for delta in stream:
            said += delta.text
    assert said == expected
    assert (await whole(engine, request))[0] != expected


def _half_written(folder: Path) -> None:
    (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:-100])


def _another_base(folder: Path) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(config | {"base_model_name_or_path": "google/codegemma-7b"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_half_written, "not a valid safetensors file"),
        (_another_base, "trained on google/codegemma-7b"),
        (lambda folder: shutil.rmtree(folder), "adapter_config.json is missing"),
    ],
)
async def test_bad_files_are_reported_once_and_tried_again_when_they_change(
    engine: LocalEngine, adapters: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], message: str,
) -> None:  # fmt: skip
    folder = Path(shutil.copytree(adapters[0], tmp_path / "mine"))
    await engine.load_adapter("mine", folder)
    first, before = await text(engine, "mine"), digest(engine)
    n_read = itertools.count()

    def counted(*arguments: Any) -> Any:
        next(n_read)
        return read_adapter(*arguments)

    monkeypatch.setattr(engine_module, "read_adapter", counted)
    damage(folder)
    await until(lambda: engine.adapters()[0]["problem"])
    problem = engine.adapters()[0]["problem"]
    assert message in problem["message"]
    assert problem["message"].endswith("; the old version stays active")
    assert problem["remedy"]
    await asyncio.sleep(0.3)
    assert next(n_read) == 1
    assert len([record for record in caplog.records if "stays" in record.message]) == 1
    assert (await text(engine, "mine"), digest(engine)) == (first, before)
    with pytest.raises(MidfillError, match=message):
        await engine.load_adapter("mine", folder)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(adapters[1], folder)
    await until(lambda: digest(engine) != before)
    await until(lambda: engine.adapters()[0]["problem"] is None)


async def test_files_that_change_while_they_are_read_are_read_again(
    engine: LocalEngine, adapters: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine never uses the configuration of one adapter with the weights of another."""
    folder = Path(shutil.copytree(adapters[0], tmp_path / "mine"))
    n_read = itertools.count()

    def replaced_meanwhile(*arguments: Any) -> Any:
        adapter = read_adapter(*arguments)
        if next(n_read) == 0:
            copy_over(adapters[1], folder)
        return adapter

    monkeypatch.setattr(engine_module, "read_adapter", replaced_meanwhile)
    await engine.load_adapter("mine", folder)
    assert next(n_read) == 2
    with_mine = await text(engine, "mine")
    await engine.load_adapter("other", adapters[1])
    assert await text(engine, "other") == with_mine


async def test_reading_does_not_stop_generating(
    engine: LocalEngine, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()

    def slow(*arguments: Any) -> Any:
        assert may_go_on.wait(30)
        return read_adapter(*arguments)

    monkeypatch.setattr(engine_module, "read_adapter", slow)
    loading = asyncio.ensure_future(engine.load_adapter("a", adapters[0]))
    await whole(engine, asked())
    assert not loading.done()
    may_go_on.set()
    assert (await loading)["rank"] == 4


async def test_loaded_again_unchanged_nothing_is_read(
    engine: LocalEngine, adapters: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await engine.load_adapter("a", adapters[0])
    monkeypatch.setattr(engine_module, "read_adapter", None)
    assert await engine.load_adapter("a", adapters[0]) == first


async def test_a_sum_is_loaded_checked_and_follows_the_files_of_each(
    engine: LocalEngine, adapters: list[Path], tmp_path: Path
) -> None:
    team, mine = (Path(shutil.copytree(adapters[at], tmp_path / str(at))) for at in (0, 1))
    alone = [await engine.load_adapter(name, folder) for name, folder in (("team", team), ("mine", mine))]
    assert (await engine.check_adapter(team, mine))["rank"] == 8
    facts = await engine.load_adapter("team+mine", team, mine)
    assert facts["rank"] == sum(one["rank"] for one in alone)
    assert len({facts["digest"], *(one["digest"] for one in alone)}) == 3
    said = await text(engine, "team+mine")
    assert names(engine) == ["mine", "team+mine"]  # it counts as one of the two that there is room for
    assert said not in (await text(engine, "mine"), await text(engine, None))
    copy_over(adapters[2], mine)
    await until(lambda: engine.adapters()[-1]["digest"] != facts["digest"])
    assert await text(engine, "team+mine") != said
    with pytest.raises(MidfillError, match="is missing"):
        await engine.load_adapter("team+gone", team, tmp_path / "gone")
    _another_base(mine)
    await until(lambda: engine.adapters()[-1]["problem"])
    assert engine.adapters()[-1]["problem"]["message"].endswith("; the old version stays active")


async def test_checked_is_not_resident(engine: LocalEngine, adapters: list[Path], tmp_path: Path) -> None:
    facts = await engine.check_adapter(adapters[0])
    assert (facts["rank"], facts["alpha"]) == (4, 16)
    with pytest.raises(MidfillError, match="is missing"):
        await engine.check_adapter(tmp_path)
    assert names(engine) == []


async def test_the_one_used_longest_ago_makes_room(engine: LocalEngine, adapters: list[Path]) -> None:
    with_a = None
    for name, folder in zip("ab", adapters, strict=False):
        await engine.load_adapter(name, folder)
        with_a = with_a or await text(engine, name)
    await text(engine, "a")
    await engine.load_adapter("c", adapters[2])
    assert names(engine) == ["a", "c"]
    with pytest.raises(AdapterMissingError, match="'b' is not loaded"):
        await text(engine, "b")
    await engine.load_adapter("b", adapters[1])
    assert names(engine) == ["c", "b"]
    await engine.load_adapter("a", adapters[0])
    again, last = await whole(engine, asked(adapter="a"))
    assert again == with_a
    assert stats_of(last).n_cached == 19  # what it had read is still there


async def test_one_in_use_does_not_make_room_before_it_is_done(engine: LocalEngine, adapters: list[Path]) -> None:
    for name, folder in zip("ab", adapters, strict=False):
        await engine.load_adapter(name, folder)
    async with aclosing(engine.stream(asked(adapter="a", max_tokens=900))) as first:  # type: ignore[type-var]
        await anext(first)
        async with aclosing(engine.stream(asked(adapter="b", max_tokens=900))) as second:  # type: ignore[type-var]
            await anext(second)
            await engine.load_adapter("c", adapters[2])
            assert names(engine) == ["a", "b", "c"]
        await until(lambda: names(engine) == ["a", "c"])
        assert engine.figures()["n_active"] == 1


@pytest.mark.model
async def test_the_time_a_switch_takes(
    embedded_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Print the time of the first token after a switch to another resident adapter, and without a switch; and the time
    of loading one."""
    model = AutoModelForCausalLM.from_pretrained(embedded_folder, dtype=torch.bfloat16)
    for seed, name in enumerate("ab"):
        save_adapter(model, tmp_path / name, seed, r=16, base_model_name_or_path=str(embedded_folder))
        model = AutoModelForCausalLM.from_pretrained(embedded_folder, dtype=torch.bfloat16)
    del model
    times: dict[str, list[float]] = {"same": [], "another": [], "other_prompt": []}
    async with running("embedded") as engine:
        assert engine.thread.model is not None
        prompt = tuple(engine.thread.model.tokenizer.encode("def add(a, b):\n    return "))
        start = time.perf_counter()
        await engine.load_adapter("a", tmp_path / "a")
        load_s = time.perf_counter() - start
        await engine.load_adapter("b", tmp_path / "b")
        first = stats_of((await whole(engine, GenerateRequest(prompt, 1, adapter="b")))[1]).ttft_s
        await whole(engine, GenerateRequest(prompt, 1, adapter="a"))
        last = "a"
        for i in range(24):
            adapter = "ab"[(i // 2) % 2]
            ttft = stats_of((await whole(engine, GenerateRequest(prompt, 1, adapter=adapter)))[1]).ttft_s
            times["same" if adapter == last else "another"].append(ttft * 1000)
            last = adapter
    figures = {name: round(statistics.median(values), 1) for name, values in times.items() if values}
    with capsys.disabled():
        print("\n" + json.dumps({"switch_ttft_ms": figures, "first_use_ms": first * 1000, "load_s": load_s}))
    assert figures["another"] > 0
