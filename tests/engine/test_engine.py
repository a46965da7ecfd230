"""The resident engine: requests take turns, end where they should, and never disturb each other."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from midfill import fim
from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.engine.local import thread, worker
from midfill.engine.local.engine import LocalEngine
from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.runner import Cancelled
from midfill.engine.local.request import StopStrings
from midfill.engine.local.sequence.generation import Generation, OverflowedError, Token
from midfill.engine.local.sequence.kv_cache import KVSlots, Slot
from midfill.types import MidfillError, Stats
from tests.engine.made import VOCABULARY, load_modules, save_tiny
from tests.engine.test_adapters import save_adapter
from tests.support import at


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("qwen2", tmp_path_factory.mktemp("models") / "tiny-qwen")


@asynccontextmanager
async def running(spec: str, **settings: Any) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(spec, device="cpu", **settings)
    engine.start()
    while engine.status.state == "starting":
        await asyncio.sleep(0.01)
    try:
        yield engine
    finally:
        await engine.aclose()
        await asyncio.to_thread(engine.thread.join)


@pytest.fixture
async def engine(folder: Path) -> AsyncIterator[LocalEngine]:
    async with running(str(folder), dtype="float32") as engine:
        assert engine.status.state == "ready", engine.status
        yield engine


def asked(
    seed: int = 1, length: int = 20, max_tokens: int = 12, seed_: int | None = None, **settings: Any
) -> GenerateRequest:
    """Return a request. ``seed`` chooses the prompt; ``seed_`` is the request's own."""
    prompt = tuple((seed * 37 + i * i * 7) % 300 for i in range(length))
    return GenerateRequest(prompt, max_tokens, seed=seed_, **settings)


async def whole(engine: LocalEngine, request: GenerateRequest) -> tuple[str, Delta]:
    text, last = "", Delta("")
    async for last in engine.stream(request):
        text += last.text
    return text, last


def stats_of(delta: Delta) -> Stats:
    assert delta.stats is not None
    return delta.stats


async def test_ready(engine: LocalEngine, folder: Path) -> None:
    info = engine.info
    assert info is not None
    assert (info.name, info.template, info.dtype, info.device) == ("tiny-qwen", "qwen2.5-coder", "float32", "cpu")
    assert info.tokenizer_file == str(folder / "tokenizer.json")
    assert info.context_tokens <= info.max_context // 2


async def test_max_tokens_and_figures(engine: LocalEngine) -> None:
    text, last = await whole(engine, asked())
    assert last.finish_reason == "length"
    stats = stats_of(last)
    assert (stats.n_prompt, stats.n_cached, stats.n_decoded) == (20, 0, 12)
    assert stats.total_s >= stats.ttft_s >= stats.queue_s >= 0
    again, last = await whole(engine, asked())
    assert again == text
    assert stats_of(last).n_cached == 19
    await idle(engine)
    figures = engine.figures()
    assert figures["totals"] == {"n_length": 2, "n_requests": 2, "n_prompt": 40, "n_cached": 19, "n_decoded": 24}
    assert figures["n_active"] == figures["n_waiting"] == 0


async def test_stop_strings(engine: LocalEngine) -> None:
    text, _ = await whole(engine, asked())
    assert len(text) > 6
    for stop in (text[3:6], text[4], text[-1]):
        said, last = await whole(engine, asked(stop=("never said", stop)))
        assert (said, last.finish_reason) == (text[: text.index(stop)], "stop")


@pytest.mark.parametrize(
    ("stops", "pieces", "text", "met"),
    [
        ((), ["a", "b"], "ab", False),
        (("",), ["a"], "a", False),
        (("\n\n",), ["a\n", "b\n", "\nc"], "a\nb", True),
        (("\n\n",), ["a\n"], "a\n", False),  # half of it is text at the end
        (("xyz", "yq"), ["ax", "y", "q"], "ax", True),
        (("aab",), ["aaa", "b"], "a", True),
    ],
)
def test_stop_strings_hold_back(stops: tuple[str, ...], pieces: list[str], text: str, met: bool) -> None:
    subject, shown, ended = StopStrings(stops), "", False
    for piece in pieces:
        more, ended = subject.push(piece)
        shown += more
        if ended:
            break
    assert (shown + ("" if ended else subject.flush()), ended) == (text, met)


async def test_a_control_token_ends_it(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    request = asked(max_tokens=6)
    text, _ = await whole(engine, request)
    assert engine.thread.model is not None
    (said,) = [slot.ids[20:] for slot in engine.thread.slots.slots if slot.ids[:20] == list(request.prompt)]
    tokenizer = engine.thread.model.tokenizer
    monkeypatch.setattr(tokenizer, "control_ids", tokenizer.control_ids | {said[3]})
    cut, last = await whole(engine, request)
    assert (last.finish_reason, stats_of(last).n_decoded) == ("stop", said.index(said[3]))
    assert text.startswith(cut)
    assert cut == tokenizer.decode(said[: said.index(said[3])]).rstrip("\ufffd")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (GenerateRequest(()), "empty or holds ids outside the vocabulary"),
        (GenerateRequest((-1,)), "outside the vocabulary"),
        (GenerateRequest((VOCABULARY,)), "outside the vocabulary"),
        (GenerateRequest((10**30,)), "outside the vocabulary"),
        (GenerateRequest((1,), given=(1, VOCABULARY)), "outside the vocabulary"),
        (GenerateRequest((1,) * 2040, 9), "the prompt of 2040 tokens leaves no room for an answer"),
        (GenerateRequest((1,), adapter="x"), "adapter 'x' is not loaded"),
    ],
)
async def test_refused(engine: LocalEngine, request_: GenerateRequest, message: str) -> None:
    with pytest.raises(EngineError, match=message) as caught:
        await whole(engine, request_)
    assert caught.value.remedy
    await whole(engine, asked())


async def test_interleaved_is_as_alone(engine: LocalEngine) -> None:
    """More requests than slots, of different lengths, some of them sampled."""
    requests = [asked(seed, 5 + 97 * seed, 3 + seed * 5, seed_=seed, temperature=0.8 * (seed % 2)) for seed in range(6)]
    alone = [await whole(engine, request) for request in requests]
    together = await asyncio.gather(*(whole(engine, request) for request in requests))
    assert [text for text, _ in together] == [text for text, _ in alone]
    assert len({text for text, _ in alone}) == 6


@pytest.mark.parametrize("n_pieces", [0, 1, 3])
async def test_cancelled(engine: LocalEngine, n_pieces: int) -> None:
    """By closing the stream, before the first piece or later."""
    expected, _ = await whole(engine, asked(2, length=300))
    stream = engine.stream(asked(3, length=900, max_tokens=900))
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    if n_pieces == 0:
        first.cancel()
        await asyncio.wait([first])
    else:
        await first
        for _ in range(n_pieces - 1):
            await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]
    await idle(engine)
    last = engine.figures()["recent"][-1]
    assert last["finish_reason"] == "cancelled"
    assert 0 <= last["n_steps_after_cancel"] <= 1
    assert n_free(engine) == thread.N_SLOTS
    assert (await whole(engine, asked(2, length=300)))[0] == expected


def n_free(engine: LocalEngine) -> int:
    return sum(not slot.busy for slot in engine.thread.slots.slots)


async def idle(engine: LocalEngine) -> None:
    while (figures := engine.figures())["n_active"] or figures["n_waiting"] or engine.busy:
        await asyncio.sleep(0.005)


async def candidates(engine: LocalEngine, request: GenerateRequest) -> tuple[list[str], list[list[float]], list[Delta]]:
    """Return text, log probabilities and last delta of each candidate."""
    said = [""] * request.n
    logprobs: list[list[float]] = [[] for _ in said]
    last = [Delta("")] * request.n
    async for delta in engine.stream(request):
        said[delta.index] += delta.text
        logprobs[delta.index] += delta.logprobs
        last[delta.index] = delta
    return said, logprobs, last


async def test_candidates_differ_and_read_the_prompt_once(engine: LocalEngine) -> None:
    request = asked(length=400, n=3, logprobs=True)
    alone, _ = await whole(engine, asked(length=400))
    engine.thread.slots.slots[:] = KVSlots(thread.N_SLOTS).slots  # nothing is known any more
    said, logprobs, last = await candidates(engine, request)
    assert said[0] == alone
    assert len(set(said)) == 3
    assert [delta.finish_reason for delta in last] == ["length"] * 3
    assert [stats_of(delta).n_cached for delta in last] == [0, 399, 399]
    assert logprobs[0][0] > logprobs[1][0] > logprobs[2][0]
    for i in range(3):
        assert len(logprobs[i]) == stats_of(last[i]).n_decoded == 12


async def test_sampled_candidates_are_the_seeds(engine: LocalEngine) -> None:
    settings: dict[str, Any] = {"temperature": 1.0, "length": 40}
    said, _, _ = await candidates(engine, asked(n=3, seed_=5, **settings))
    assert said == [(await whole(engine, asked(seed_=5 + i, **settings)))[0] for i in range(3)]


@pytest.mark.parametrize("speculate", [True, False])
async def test_log_probabilities_are_the_models(engine: LocalEngine, speculate: bool) -> None:
    request = asked(length=30, logprobs=True, speculate=speculate)
    _, (logprobs,), _ = await candidates(engine, request)
    assert engine.thread.model is not None
    (slot,) = [slot for slot in engine.thread.slots.slots if slot.ids[:30] == list(request.prompt)]
    ids = slot.ids[: 30 + 12]
    with torch.inference_mode():
        wanted = load_modules(engine.thread.model.folder)(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = [float(wanted[at - 1, ids[at]]) for at in range(30, 42)]
    assert logprobs == pytest.approx(expected, abs=1e-3)
    assert all(not delta.logprobs for delta in [item async for item in engine.stream(asked(length=30))])


async def test_a_given_answer_is_scored_in_one_step(engine: LocalEngine) -> None:
    assert engine.thread.model is not None
    given = tuple((7 * i + 3) % 300 for i in range(24))
    request = asked(length=30, max_tokens=len(given), logprobs=True, given=given)
    with torch.inference_mode():
        wanted = load_modules(engine.thread.model.folder)(torch.tensor([[*request.prompt, *given]])).logits[0]
    expected = [float(wanted[29 + n].log_softmax(-1)[token]) for n, token in enumerate(given)]
    for _ in range(2):  # the second time, its prompt is known
        _, (logprobs,), last = await candidates(engine, request)
        assert logprobs == pytest.approx(expected, abs=1e-3)
        assert last[0].finish_reason == "length"
        assert stats_of(last[0]).n_accepted == len(given) - 1


async def test_control_tokens_that_do_not_end_it(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    request = asked(max_tokens=6)
    await whole(engine, request)
    assert engine.thread.model is not None
    (said,) = [slot.ids[20:] for slot in engine.thread.slots.slots if slot.ids[:20] == list(request.prompt)]
    tokenizer = engine.thread.model.tokenizer
    monkeypatch.setattr(tokenizer, "control_ids", tokenizer.control_ids | {said[3]})
    _, last = await whole(engine, dataclasses.replace(request, ignore_eos=True))
    assert (last.finish_reason, stats_of(last).n_decoded) == ("length", 6)
    (wrote,) = [slot.ids[20:] for slot in engine.thread.slots.slots if slot.ids[:20] == list(request.prompt)]
    line_end = tokenizer.encode("\n")
    assert wrote[:4] == [*said[:3], *line_end]  # where it would have ended, the line ends
    assert not tokenizer.control_ids & set(wrote)


async def test_the_beginning_is_said_but_not_told(engine: LocalEngine) -> None:
    """Token healing: the model's tokens spell the beginning in their own way, and the text comes without it."""
    tokenizer = engine.thread.model.tokenizer if engine.thread.model is not None else None
    assert tokenizer is not None
    prompt = tuple(tokenizer.encode("def add(a, b):\n    "))
    for forced_prefix in ("ret", "return a", "x"):
        said, last = await whole(engine, GenerateRequest(prompt, 12, forced_prefix=forced_prefix))
        slot = next(slot for slot in engine.thread.slots.slots if slot.ids[: len(prompt)] == list(prompt))
        spoken = tokenizer.decode(slot.ids[len(prompt) : len(prompt) + stats_of(last).n_decoded])
        assert spoken == forced_prefix + said


async def test_eight_windows_at_once_are_answered_as_alone(engine: LocalEngine, adapters: list[Path]) -> None:
    await engine.load_adapter("a", adapters[0])
    requests = [
        asked(seed, 30 + 67 * seed, 10 + seed, window=f"w{seed}", adapter="a" if seed % 3 == 2 else None)
        for seed in range(8)
    ]
    alone = [await whole(engine, request) for request in requests]
    together = await asyncio.gather(*(whole(engine, request) for request in requests))
    assert [text for text, _ in together] == [text for text, _ in alone]
    assert [delta.finish_reason for _, delta in together] == ["length"] * 8
    assert len({text for text, _ in alone}) == 8


async def test_background_gives_way_between_two_layers_and_is_finished_afterwards(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind, person = asked(2, 200, background=True, window="a"), asked(9, window="b")
    alone, expected = (await whole(engine, behind))[0], (await whole(engine, person))[0]
    engine.thread.slots.slots[:] = KVSlots(thread.N_SLOTS).slots
    forward, began, came = engine.thread.runner.forward, threading.Event(), threading.Event()
    evaluated: list[str] = []

    def told(batch: Sequence[Rows], adapter: Any, stop: Callable[[], bool]) -> list[torch.Tensor]:
        who = "behind" if batch[0].slot.ids[:20] == list(behind.prompt[:20]) else "person"
        began.set()
        assert came.wait(30)
        try:
            logits = forward(batch, adapter, stop)
        except Cancelled:
            evaluated.append(who + " given up")
            raise
        evaluated.append(who)
        return logits

    monkeypatch.setattr(engine.thread.runner, "forward", told)
    working = asyncio.ensure_future(whole(engine, behind))
    await asyncio.to_thread(began.wait, 30)
    answering = asyncio.ensure_future(whole(engine, person))
    await asyncio.sleep(0.05)
    came.set()
    assert (await answering)[0] == expected
    assert (await working)[0] == alone
    assert evaluated[0] == "behind given up"
    assert evaluated.count("behind given up") == 1
    assert evaluated.index("behind") > max(i for i, who in enumerate(evaluated) if who == "person")


async def test_much_background_keeps_nobody_waiting(engine: LocalEngine) -> None:
    """There is more background work than slots: none of it may hold a slot that a user's request needs."""
    behind = [asked(seed, 600, 20, background=True, window=f"w{seed}") for seed in range(6)]
    alone = [await whole(engine, request) for request in behind]
    expected, _ = await whole(engine, asked(9))
    engine.thread.slots.slots[:] = KVSlots(thread.N_SLOTS).slots
    working = [asyncio.ensure_future(whole(engine, request)) for request in behind]
    while not engine.figures()["n_active"]:
        await asyncio.sleep(0.001)
    persons = [asyncio.ensure_future(whole(engine, asked(9, window=f"p{n}"))) for n in range(5)]
    assert [(await person)[0] for person in persons] == [expected] * 5
    assert not all(work.done() for work in working)
    assert [(await work)[0] for work in working] == [text for text, _ in alone]
    assert n_free(engine) == thread.N_SLOTS


async def test_a_person_is_not_refused_because_of_background(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "MAX_WAITING", 2)
    blocked = asyncio.ensure_future(engine.block(0.3))
    await asyncio.sleep(0.05)
    behind = [asyncio.ensure_future(whole(engine, asked(seed, background=True))) for seed in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(EngineError, match="too many requests are waiting"):
        await whole(engine, asked(9, background=True))
    assert (await whole(engine, asked(9)))[1].finish_reason == "length"
    await asyncio.gather(blocked, *behind)


async def test_what_comes_too_late_is_given_up_and_what_was_read_stays(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = engine.thread.scheduler
    monkeypatch.setattr(scheduler, "chunk", 64)
    monkeypatch.setattr(scheduler, "late", lambda now: [job for job in scheduler.running if job.n_steps == 2])
    with pytest.raises(EngineError, match="in time"):
        await whole(engine, asked(3, length=900, within_s=60.0))
    monkeypatch.undo()
    assert engine.figures()["totals"] == {"n_late": 1, "n_requests": 1, "n_prompt": 900, "n_cached": 0, "n_decoded": 0}
    assert n_free(engine) == thread.N_SLOTS
    _, last = await whole(engine, asked(3, length=900))
    assert stats_of(last).n_cached >= 128


async def test_the_newest_of_a_person_gets_the_slot_of_one_that_was_not_begun(engine: LocalEngine) -> None:
    """More windows than slots: the last to ask is the first or the second to be answered, and all are."""
    order: list[int] = []

    async def ask(seed: int) -> None:
        await whole(engine, asked(seed, length=900, max_tokens=2, window=f"w{seed}"))
        order.append(seed)

    asking = [asyncio.create_task(ask(seed)) for seed in range(4)]
    while len(engine.thread.scheduler.running) < 4:
        await asyncio.sleep(0)
    asking.append(asyncio.create_task(ask(9)))
    await asyncio.gather(*asking)
    assert 9 in order[:2]
    assert sorted(order) == [0, 1, 2, 3, 9]


async def test_too_many_are_refused_and_the_cancelled_do_not_count(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "MAX_WAITING", 2)
    blocked = asyncio.ensure_future(engine.block(0.3))
    await asyncio.sleep(0.05)
    waiting = [asyncio.ensure_future(whole(engine, asked(seed))) for seed in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(EngineError, match="too many requests are waiting"):
        await whole(engine, asked(9))
    waiting[0].cancel()
    await blocked
    assert (await waiting[1])[1].finish_reason == "length"
    await idle(engine)
    assert engine.figures()["totals"]["n_cancelled"] == 1
    await whole(engine, asked(9))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("broken"), r"the generation failed \(RuntimeError\)"),
        (torch.OutOfMemoryError("none left"), "the device ran out of memory"),
    ],
)
async def test_one_broken_request_does_not_end_the_worker(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    expected, _ = await whole(engine, asked())
    forward = engine.thread.runner.forward

    def sometimes(batch: Any, *rest: Any) -> list[torch.Tensor]:
        if any(299 in rows.ids for rows in batch):
            raise error
        return forward(batch, *rest)

    monkeypatch.setattr(engine.thread.runner, "forward", sometimes)
    bad = GenerateRequest((1, 2, 299), 8)
    results = await asyncio.gather(whole(engine, asked()), whole(engine, bad), return_exceptions=True)
    assert isinstance(results[1], EngineError)
    with pytest.raises(EngineError, match=message):
        raise results[1]
    assert not isinstance(results[0], BaseException)
    assert results[0][0] == expected
    assert n_free(engine) == thread.N_SLOTS
    assert engine.figures()["totals"]["n_error"] == 1


async def test_numbers_that_overflowed_end_one_request_and_leave_nothing(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = await whole(engine, asked())
    take, forgotten = Generation.take, list[list[int]]()

    def sometimes(self: Generation, rows: Rows, logits: torch.Tensor) -> list[Token]:
        if 299 in rows.ids:
            raise OverflowedError
        return take(self, rows, logits)

    def forget(self: Slot) -> None:
        forgotten.append(list(self.ids))
        self.truncate(0)

    monkeypatch.setattr(Generation, "take", sometimes)
    monkeypatch.setattr(Slot, "forget", forget)
    with pytest.raises(EngineError, match="overflowed") as caught:
        await whole(engine, GenerateRequest((1, 2, 299), 8))
    assert "bfloat16" in caught.value.remedy
    assert forgotten == [[1, 2, 299]]
    assert (await whole(engine, asked()))[0] == expected


@pytest.fixture(scope="module")
def adapters(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    from transformers import AutoModelForCausalLM

    folders = [tmp_path_factory.mktemp(f"adapter{i}") for i in range(2)]
    for seed, target in enumerate(folders):
        save_adapter(AutoModelForCausalLM.from_pretrained(folder), target, seed)
    return folders


async def test_adapters_without_a_restart(engine: LocalEngine, adapters: list[Path], tmp_path: Path) -> None:
    """Each request names its adapter; the cache of one adapter is never used with another."""
    plain, _ = await whole(engine, asked())
    assert (await engine.load_adapter("a", adapters[0]))["rank"] == 4
    with_a, last = await whole(engine, asked(adapter="a"))
    assert stats_of(last).n_cached == 0
    assert (await whole(engine, asked()))[0] == plain != with_a
    assert stats_of((await whole(engine, asked(adapter="a")))[1]).n_cached == 19
    await engine.load_adapter("a", adapters[1])
    replaced, last = await whole(engine, asked(adapter="a"))
    assert stats_of(last).n_cached == 0
    assert replaced not in (plain, with_a)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(MidfillError, match="not a LoRA adapter"):
        await engine.load_adapter("a", tmp_path)
    assert (await whole(engine, asked(adapter="a")))[0] == replaced
    assert [adapter["name"] for adapter in engine.adapters()] == ["a"]
    await engine.unload_adapter("a")
    with pytest.raises(EngineError, match="is not loaded"):
        await whole(engine, asked(adapter="a"))
    assert (await whole(engine, asked()))[0] == plain


async def test_an_adapter_replaced_under_a_request(engine: LocalEngine, adapters: list[Path]) -> None:
    """The request ends with the adapter that it began with, and its keys and values are not used for the new one."""
    await engine.load_adapter("a", adapters[0])
    request = asked(adapter="a", max_tokens=60)
    expected, _ = await whole(engine, request)
    said = ""
    async with aclosing(engine.stream(request)) as stream:  # type: ignore[type-var]
        said += (await anext(stream)).text
        await engine.load_adapter("a", adapters[1])
        async for delta in stream:
            said += delta.text
    assert said == expected
    after, last = await whole(engine, request)
    assert stats_of(last).n_cached == 0
    await engine.unload_adapter("a")
    await engine.load_adapter("b", adapters[1])
    assert (await whole(engine, asked(adapter="b", max_tokens=60)))[0] == after != expected


async def test_closing_answers_everyone(folder: Path) -> None:
    async with running(str(folder), dtype="float32") as engine:
        requests = [asyncio.ensure_future(whole(engine, asked(seed, max_tokens=1000))) for seed in range(6)]
        while not engine.figures()["n_active"]:
            await asyncio.sleep(0.005)
        await engine.aclose()
        for result in await asyncio.gather(*requests, return_exceptions=True):
            assert isinstance(result, EngineError)
            assert "shutting down" in result.message
        for late in (whole(engine, asked()), engine.load_adapter("x", folder)):
            with pytest.raises(EngineError, match="shutting down"):
                await late


async def test_a_model_that_cannot_be_loaded(folder: Path, tmp_path: Path) -> None:
    async with running(str(tmp_path)) as engine:
        assert engine.status.state == "error"
        assert "config.json" in engine.status.message
        assert engine.status.remedy
        with pytest.raises(EngineError, match="not ready"):
            await whole(engine, asked())
        with pytest.raises(EngineError, match=r"shutting down|no model"):
            await engine.load_adapter("x", folder)


async def test_a_model_without_fim_tokens_says_so(tmp_path: Path) -> None:
    async with running(str(save_tiny("llama", tmp_path / "plain", tokenizer="prefix")), dtype="float32") as engine:
        assert engine.status.state == "ready"
        assert "no FIM tokens" in engine.status.message
        assert engine.info is not None
        assert engine.info.template is None


async def test_a_template_that_does_not_fit_is_an_error(folder: Path) -> None:
    async with running(str(folder), template="codestral") as engine:
        assert engine.status.state == "error"
        assert "[SUFFIX]" in engine.status.message


@pytest.mark.model
async def test_cancelled_on_the_embedded_model(embedded_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running("embedded") as engine:
        assert engine.status.state == "ready", engine.status
        assert engine.thread.model is not None
        tokenizer = engine.thread.model.tokenizer
        renderer = fim.FimRenderer(fim.detect(tokenizer), tokenizer)
        code = "".join(f"def add_{i}(a, b):\n    return a + b + {i}\n\n\n" for i in range(60))
        short = renderer.render(at("def add(a, b):\n    return ‸")).ids
        long = renderer.render(at(code + "def mul(a, b):\n    return ‸"), (), 900).ids
        text, _ = await whole(engine, GenerateRequest(short, 4))
        assert text.startswith("a + b")
        figures = {}
        for name, request, n_pieces in (
            ("mid-generation", GenerateRequest(short, 200), 3), ("mid-prefill", GenerateRequest(long, 8), 0),
        ):  # fmt: skip
            stream = engine.stream(request)
            first = asyncio.ensure_future(anext(stream))
            if n_pieces:
                await first
                for _ in range(n_pieces - 1):
                    await anext(stream)
            else:
                while not engine.figures()["n_active"]:
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0.05)  # inside a forward pass
                first.cancel()
                await asyncio.wait([first])
            await stream.aclose()  # type: ignore[attr-defined]
            await idle(engine)
            last = engine.figures()["recent"][-1]
            assert last["finish_reason"] == "cancelled"
            assert last["n_steps_after_cancel"] <= 1
            assert n_pieces or last["n_decoded"] == 0
            figures[name] = {key: last[key] for key in ("n_steps_after_cancel", "cancel_to_free_s", "n_decoded")}
        assert (await whole(engine, GenerateRequest(short, 4)))[0] == text
    with capsys.disabled():
        print("\n" + json.dumps({"cancel": figures}))


async def test_a_stale_suffix_is_read_again_when_nobody_asks(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After typing, with the suffix kept, the idle engine makes it exact; the next answer is the exact one."""
    monkeypatch.setattr(worker, "REFRESH_AFTER_S", 0.01)
    prefix, suffix, end = asked(1, 60).prompt, asked(2, 30).prompt, (7,)
    typed = (*prefix, 9, 8, *suffix, *end)
    exact, _ = await whole(engine, GenerateRequest(typed, 12))
    await whole(engine, GenerateRequest((*prefix, *suffix, *end), 4, suffix=(60, 90)))
    _, last = await whole(engine, GenerateRequest(typed, 12, suffix=(62, 92)))
    assert stats_of(last).n_cached == 90  # the suffix was kept
    while any(slot.age for slot in engine.thread.slots.slots):
        await asyncio.sleep(0.01)
    text, last = await whole(engine, GenerateRequest(typed, 12, suffix=(62, 92)))
    assert text == exact
    assert stats_of(last).n_cached == len(typed) - 1


async def test_with_one_slot_background_work_gives_it_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU with little memory has one slot. A background step stops while a user's request waits, so without this it
    would wait until the background work is done."""
    monkeypatch.setattr(thread, "N_SLOTS", 1)
    async with running(str(folder), dtype="float32") as engine:
        background = asyncio.create_task(whole(engine, asked(seed=2, max_tokens=1500, background=True)))
        while not engine.figures()["n_active"]:
            await asyncio.sleep(0.001)
        _, last = await asyncio.wait_for(whole(engine, asked(max_tokens=3)), 20)
        assert last.finish_reason == "length"
        _, ended = await asyncio.wait_for(background, 20)
        assert ended.finish_reason == "cancelled"
