"""The request for each kind of engine, and the middle that midfill makes of the answer."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing
from typing import Any

import pytest
from starlette.responses import JSONResponse

from midfill import fim
from midfill.engine.base import AdapterMissingError, EngineError, GenerateRequest
from midfill.fim import FimRenderer
from midfill.remote.client import _Stops
from midfill.remote.vocabulary import Decoded, InlineVocabulary
from tests.remote.conftest import Connect, text_of
from tests.remote.made import REQUEST, TOKENIZER
from tests.remote.mocks import BASE, Mock, running


async def sent(connected: Connect, mock: Mock, request: GenerateRequest, **settings: Any) -> dict[str, Any]:
    async with running(mock), connected(mock, **settings) as remote:
        await text_of(remote, request)
    return mock.asked[-1] if mock.kind in ("vllm", "sglang") else mock.requests[-1]


async def test_what_vllm_is_sent(connected: Connect) -> None:
    body = await sent(connected, Mock("vllm"), REQUEST)
    stops = body.pop("stop_token_ids")
    assert set(stops) == TOKENIZER.control_ids
    assert body == {
        "model": BASE, "prompt": list(REQUEST.prompt), "max_tokens": 32, "temperature": 0, "stream": True,
        "stream_options": {"include_usage": True}, "logprobs": 4, "return_token_ids": True, "request_id": "7-1",
        "return_tokens_as_token_ids": True,
    }  # fmt: skip


async def candidates(connected: Connect, mock: Mock, request: GenerateRequest) -> dict[int, str]:
    """Return the text of each candidate by its index; each has its end."""
    texts: dict[int, str] = {}
    ended: list[int] = []
    async with running(mock), connected(mock) as remote:
        async for delta in remote.engine.stream(request):
            texts[delta.index] = texts.get(delta.index, "") + delta.text
            ended += [delta.index] if delta.finish_reason else []
    assert sorted(ended) == sorted(texts)
    return texts


async def test_each_candidate_begins_with_another_of_the_likeliest_tokens(connected: Connect) -> None:
    """The end of the middle is among them, and is no candidate."""
    mock = Mock("vllm", {"": "a + b"}, others=("self.value", "import os", "def add"))
    assert await candidates(connected, mock, REQUEST) == {0: "a + b", 1: "self.value", 2: "import os"}
    prompts = [body["prompt"] for body in mock.asked]
    firsts = [TOKENIZER.encode(text)[0] for text in mock.others[:2]]
    assert prompts == [list(REQUEST.prompt), *([*REQUEST.prompt, first] for first in firsts)]
    assert [body["max_tokens"] for body in mock.asked] == [32, 31, 31]
    assert len({body["request_id"] for body in mock.asked}) == 3
    assert all("n" not in body for body in mock.asked)


async def test_one_candidate_is_one_request(connected: Connect) -> None:
    mock = Mock("vllm", {"": "a + b"}, others=("self.value",))
    assert await candidates(connected, mock, dataclasses.replace(REQUEST, n=1)) == {0: "a + b"}
    (body,) = mock.asked
    assert body["logprobs"] == 1
    assert "return_tokens_as_token_ids" not in body


async def test_a_further_candidate_that_fails_ends(connected: Connect) -> None:
    mock = Mock("vllm", {"": "a + b"}, others=("self.value",))
    firsts = {TOKENIZER.encode(text)[0] for text in mock.others}
    mock.fault = lambda _n: JSONResponse({}, 500) if mock.requests[-1]["prompt"][-1] in firsts else None
    (first,) = firsts
    assert await candidates(connected, mock, REQUEST) == {0: "a + b", 1: TOKENIZER.decode([first])}


async def test_the_first_ones_failure_is_the_answers(connected: Connect) -> None:
    mock = Mock("vllm", {"": "a + b"}, others=("self.value",))
    async with running(mock), connected(mock) as remote:
        mock.fault = lambda _n: JSONResponse({}, 500)
        with pytest.raises(EngineError, match="HTTP 500"):
            await text_of(remote, REQUEST)


async def test_closing_ends_every_candidate(connected: Connect) -> None:
    mock = Mock("vllm", {"": "a" * 400}, others=("self.value" * 40, "import os" * 40), pace_s=0.01)
    async with running(mock), connected(mock) as remote:
        seen = set()
        async with aclosing(remote.engine.stream(dataclasses.replace(REQUEST, max_tokens=400))) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                seen.add(delta.index)
                # The first token of a further candidate comes with the first answer, its request after that.
                if seen == {0, 1, 2} and mock.n_running == 3:
                    break
            assert mock.n_running == 3
        for _ in range(200):
            if not mock.n_running:
                break
            await asyncio.sleep(0.02)
        assert mock.n_running == 0


@pytest.mark.parametrize(
    ("has", "background", "expected"), [(True, False, 0), (True, True, 10), (False, False, None), (False, True, None)]
)
async def test_priority_only_where_the_scheduler_has_it(
    has: bool, background: bool, expected: int | None, connected: Connect
) -> None:
    body = await sent(connected, Mock("vllm", priority=has), dataclasses.replace(REQUEST, background=background))
    assert body.get("priority") == expected


async def test_a_team_has_its_own_prefix_cache(connected: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    none = await sent(connected, Mock("vllm"), REQUEST)
    red = await sent(connected, Mock("vllm"), REQUEST, engine_team="red")
    blue = await sent(connected, Mock("vllm"), REQUEST, engine_team="blue")
    monkeypatch.setenv("MIDFILL_ENGINE_KEY", "secret")
    keyed = await sent(connected, Mock("vllm", key="secret"), REQUEST)
    salts = [body.get("cache_salt") for body in (none, red, blue, keyed)]
    assert salts[0] is None
    assert len(set(salts)) == 4
    assert not any("secret" in str(salt) or "red" in str(salt) for salt in salts)


async def test_the_session_goes_in_a_header(connected: Connect) -> None:
    mock = Mock("vllm")
    await sent(connected, mock, REQUEST)
    assert mock.headers[-1]["x-session-id"] == "f00d"


@pytest.mark.parametrize(
    ("kind", "adapter", "called"),
    [("vllm", None, BASE), ("vllm", "mine", "mine"), ("sglang", None, BASE), ("sglang", "mine", f"{BASE}:mine")],
)
async def test_what_the_model_is_called(kind: str, adapter: str | None, called: str, connected: Connect) -> None:
    mock = Mock(kind, {"": "base", "mine": "adapted"})
    async with running(mock), connected(mock) as remote:
        text = await text_of(remote, dataclasses.replace(REQUEST, adapter=adapter))
    assert mock.asked[-1]["model"] == called
    assert text == ("base" if adapter is None else "adapted")


async def test_what_sglang_is_sent(connected: Connect) -> None:
    body = await sent(connected, Mock("sglang"), REQUEST)
    assert (body["rid"], body["return_token_ids"], body["temperature"]) == ("7-1", True, 0)
    assert set(body["stop_token_ids"]) == TOKENIZER.control_ids


async def test_what_llama_cpp_is_sent(connected: Connect) -> None:
    body = await sent(connected, Mock("llama.cpp"), REQUEST)
    assert body == {
        "prompt": list(REQUEST.prompt), "n_predict": 32, "temperature": 0, "stream": True, "cache_prompt": True,
        "return_tokens": True, "n_probs": 1,
    }  # fmt: skip


async def test_what_takes_text_is_sent_text(connected: Connect) -> None:
    body = await sent(connected, Mock("text"), REQUEST)
    assert body["prompt"] == "<|fim_prefix|>x = <|fim_suffix|>\ny<|fim_middle|>"
    assert len(body["stop"]) <= 4
    assert body.keys() == {"model", "prompt", "max_tokens", "temperature", "stream", "stop"}


@pytest.mark.parametrize("kind", ["vllm", "sglang", "llama.cpp", "text"])
@pytest.mark.parametrize(
    "answer",
    ["a + b", "größe = '名前'  # 🙂🙃\n", "e\u0301 \ufffd x", "if x:\n    pass\n", "", "\U0001f468\u200d\U0001f469"],
)
async def test_the_text_is_right(kind: str, answer: str, connected: Connect) -> None:
    """However the tokens divide its characters."""
    mock = Mock(kind, {"": answer})
    async with running(mock), connected(mock) as remote:
        deltas = [delta async for delta in remote.engine.stream(REQUEST)]
    assert "".join(delta.text for delta in deltas) == answer
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].stats is not None
    assert [delta.finish_reason for delta in deltas[:-1]] == [None] * (len(deltas) - 1)


@pytest.mark.parametrize("kind", ["vllm", "sglang", "llama.cpp"])
async def test_figures(kind: str, connected: Connect) -> None:
    mock = Mock(kind, {"": "a + b"})
    async with running(mock), connected(mock) as remote:
        deltas = [delta async for delta in remote.engine.stream(REQUEST)]
    n = len(TOKENIZER.encode("a + b"))
    assert [number for delta in deltas for number in delta.logprobs] == [-at / 1024 for at in range(1, n + 1)]
    stats = deltas[-1].stats
    assert stats is not None
    assert stats.stop_logprob == -(n + 1) / 1024  # of the token that ends it, which the post-processing asks for
    assert (stats.n_prompt, stats.n_decoded) == (len(REQUEST.prompt), n + 1)


async def test_a_limit_is_a_limit(connected: Connect) -> None:
    mock = Mock("vllm", {"": "a + b + c + d"})
    async with running(mock), connected(mock) as remote:
        deltas = [delta async for delta in remote.engine.stream(dataclasses.replace(REQUEST, max_tokens=2))]
    assert deltas[-1].finish_reason == "length"


async def test_a_beginning_stands_in_front_where_nothing_binds_to_it(connected: Connect) -> None:
    """A middle that the engine is asked to continue: it does not repeat the text so far."""
    body = await sent(connected, Mock("vllm"), dataclasses.replace(REQUEST, forced_prefix="a = 1\n"))
    assert body["prompt"] == [*REQUEST.prompt, *TOKENIZER.encode("a = 1\n")]


async def test_prompts_for_foreign_engines_are_not_healed(connected: Connect) -> None:
    mock = Mock("vllm")
    async with running(mock), connected(mock) as remote:
        assert not remote.binds


@pytest.mark.parametrize(
    ("kind", "message"),
    [("vllm", "has no adapter 'gone'"), ("sglang", "has no adapter 'gone'"), ("llama.cpp", "serves a single adapter"),
     ("text", "takes only text")],
)  # fmt: skip
async def test_a_missing_adapter(kind: str, message: str, connected: Connect) -> None:
    mock = Mock(kind)
    async with running(mock), connected(mock) as remote:
        with pytest.raises(AdapterMissingError, match=message) as caught:
            await text_of(remote, dataclasses.replace(REQUEST, adapter="gone"))
        assert await text_of(remote, REQUEST) == "a + b"  # the base answers on
    assert "adapter" in caught.value.remedy or "--lora" in caught.value.remedy


@pytest.mark.parametrize("kind", ["text", "vllm"])
@pytest.mark.parametrize("buffer", ["x = '<|fim_middle|>'", "# <|endoftext|>", "plain"])
async def test_a_buffer_that_spells_a_sentinel(kind: str, buffer: str, connected: Connect) -> None:
    """Where text is sent it is not sent at all; where ids are, it is text like any other."""
    prompt = (REQUEST.prompt[0], *TOKENIZER.encode(buffer), *REQUEST.prompt[-1:])
    mock = Mock(kind)
    async with running(mock), connected(mock) as remote:
        n = len(mock.requests)
        if kind == "text" and buffer != "plain":
            with pytest.raises(EngineError, match="spells a control token"):
                await text_of(remote, dataclasses.replace(REQUEST, prompt=prompt))
            assert len(mock.requests) == n
        else:
            assert await text_of(remote, dataclasses.replace(REQUEST, prompt=prompt)) == "a + b"


@pytest.mark.parametrize("pieces", [["a ", "+ b<|end", "oftext|>rest"], ["a + b", "<|endoftext|>", "rest"]])
async def test_text_ends_at_a_sentinel_that_is_spelled(pieces: list[str], connected: Connect) -> None:
    stops, text = _Stops(("<|endoftext|>",)), ""
    for piece in pieces:
        more, met = stops.push(piece, last=False)
        text += more
        if met:
            break
    assert text == "a + b"
    assert met


async def test_bytes_of_one_character_wait_for_each_other() -> None:
    decoded = Decoded(InlineVocabulary(FimRenderer(fim.detect(TOKENIZER), TOKENIZER)))
    ids = TOKENIZER.encode("🙂")
    assert len(ids) == 4
    assert [await decoded.push([token]) for token in ids] == ["", "", "", "🙂"]
    assert await decoded.push(ids[:2]) == ""
    assert await decoded.flush() == ""


async def test_closing_the_stream_stops_the_engine(connected: Connect) -> None:
    mock = Mock("vllm", {"": "x" * 400}, pace_s=0.005)
    async with running(mock), connected(mock) as remote:
        before = mock.n_decoded
        stream = remote.engine.stream(dataclasses.replace(REQUEST, max_tokens=500))
        assert (await anext(stream)).text
        await stream.aclose()  # type: ignore[attr-defined]
        for _ in range(200):
            if not mock.n_running:
                break
            await asyncio.sleep(0.01)
        assert mock.n_running == 0
        assert mock.n_decoded - before < 300


@pytest.mark.parametrize(
    ("adapter", "remedy"),
    [("gone", "publish it with midfill adapters publish"), ("gone@0123456789ab", "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1")],
)
async def test_what_helps_where_the_engine_lacks_an_adapter(adapter: str, remedy: str, connected: Connect) -> None:
    """One that is published is not found where vLLM does not look for it, which it does not by itself."""
    mock = Mock("vllm")
    async with running(mock), connected(mock) as remote:
        with pytest.raises(AdapterMissingError, match=f"has no adapter '{adapter}'") as caught:
            await text_of(remote, dataclasses.replace(REQUEST, adapter=adapter))
    assert remedy in caught.value.remedy
