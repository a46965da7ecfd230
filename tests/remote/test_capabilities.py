"""The table of what an engine elsewhere can do: midfill makes it by asking the engine, and refuses some engines
meanwhile."""

from __future__ import annotations

import re

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from midfill.remote.capabilities import Capabilities
from midfill.types import MidfillError
from tests.remote.conftest import Connect
from tests.remote.mocks import BASE, Mock, other_tokenizer, running
from tests.tokenizers_made import make


def row(capabilities: Capabilities, name: str) -> str:
    return dict(capabilities.rows())[name]


@pytest.mark.parametrize(
    ("mock", "expected"),
    [
        (
            Mock("vllm", {"": "x", "mine@0123456789ab": "y"}, priority=True),
            {"kind": "vLLM 0.32.0", "model": f"{BASE}, 4,096 tokens", "adapters": "mine@0123456789ab",
             "token ids": "taken", "tokenizer": "its ids are ours (it tokenises a fixed string as we do)",
             "ids returned": "yes", "log probabilities": "yes", "priority": "yes", "cancel": "frees its slot in"},
        ),
        (Mock("vllm"), {"priority": "no", "adapters": "none listed", "several candidates": "yes, a request each"}),
        (Mock("vllm", tokenize_route=False), {"tokenizer": "ours (the ids that it returns spell its text)"}),
        (Mock("vllm", metrics=False), {"cancel": "unknown: the engine shows no count"}),
        (Mock("vllm", swallows=True, pace_s=0.02), {"cancel": "this proxy swallows cancels"}),
        (
            Mock("sglang", priority=True),
            {"kind": "SGLang 0.32.0", "tokenizer": "ours (the ids that it returns", "ids returned": "yes",
             "priority": "yes", "several candidates": "no: one is asked for", "cancel": "frees its slot in"},
        ),
        (
            Mock("llama.cpp", {"mine": "x"}),
            {"kind": "llama.cpp b9000", "adapters": "mine", "tokenizer": "its ids are ours", "ids returned": "yes",
             "priority": "no", "cancel": "frees its slot in"},
        ),
        (
            Mock("text"),
            {"kind": "text only", "token ids": "not taken: sentinels are sent as text", "tokenizer": "not compared",
             "ids returned": "no", "cancel": "unknown"},
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Mock) else "",
)  # fmt: skip
async def test_the_table(mock: Mock, expected: dict[str, str], connected: Connect) -> None:
    async with running(mock), connected(mock, cancel=True) as remote:
        capabilities = remote.table[mock.host]
    for name, part in expected.items():
        assert part in row(capabilities, name)
    assert mock.n_running == 0


async def test_a_closed_stream_stops_the_engine(connected: Connect) -> None:
    mock = Mock("vllm", pace_s=0.002)
    async with running(mock), connected(mock, cancel=True) as remote:
        cancel = remote.table[mock.host].cancel
        assert cancel.freed_s is not None
        assert mock.n_decoded < 200  # of 512


@pytest.mark.parametrize("kind", ["vllm", "sglang", "llama.cpp"])
@pytest.mark.parametrize("tokenize_route", [True, False])
async def test_another_tokenizer_is_refused(kind: str, tokenize_route: bool, connected: Connect) -> None:
    mock = Mock(kind, tokenizer=other_tokenizer(), tokenize_route=tokenize_route)
    async with running(mock):
        with pytest.raises(MidfillError, match="has a different tokenizer than this machine's for") as caught:
            async with connected(mock):
                pass
    assert "set model to" in caught.value.remedy


async def test_other_control_tokens_are_refused(connected: Connect) -> None:
    """Text has the same ids in both; what the sentinels are decides."""
    mock = Mock("vllm", tokenizer=make("starcoder2"))
    async with running(mock):
        with pytest.raises(MidfillError, match="has a different tokenizer than this machine's for"):
            async with connected(mock):
                pass


def always(response: Response) -> Mock:
    return Mock(fault=lambda _n: response)


@pytest.mark.parametrize(
    ("mock", "message", "remedy"),
    [
        (Mock(key="secret"), r"127.0.0.1:\d+ refuses the key \(HTTP 401\)", "set MIDFILL_ENGINE_KEY"),
        (always(JSONResponse({}, 500)), "failed (HTTP 500)", "the engine's log"),
        (always(JSONResponse({}, 429, {"Retry-After": "7"})), "is busy (HTTP 429)", "asks it again in 7 s"),
        (always(RedirectResponse("http://127.0.0.1:1/v1", 307)), "redirects, which midfill", "it redirects to"),
        (always(PlainTextResponse("<html>")), "broke off", "ask again"),
        (always(PlainTextResponse("data: <html>\n\n")), "not an answer", "address"),
        (Mock(cut_after=1), "broke off its answer", "ask again"),
    ],
)  # fmt: skip
async def test_one_line_with_its_remedy(mock: Mock, message: str, remedy: str, connected: Connect) -> None:
    async with running(mock):
        with pytest.raises(MidfillError) as caught:
            async with connected(mock):
                pass
    assert re.search(message if "\\" in message else re.escape(message), caught.value.message)
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)


async def test_a_dead_host(connected: Connect) -> None:
    mock = Mock()
    async with running(mock):
        pass
    with pytest.raises(MidfillError, match=r"does not answer \(ConnectError\)") as caught:
        async with connected(mock):
            pass
    assert caught.value.remedy == "check engine, or start it there"


async def test_one_of_two_is_dead(connected: Connect) -> None:
    dead, alive = Mock(), Mock()
    async with running(dead):
        pass
    async with running(alive), connected(dead, alive) as remote:
        assert list(remote.table) == [alive.host]
        assert "does not answer" in remote.problems[dead.host].message


async def test_the_key_goes_with_every_request(connected: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_ENGINE_KEY", "secret")
    mock = Mock(key="secret")
    async with running(mock), connected(mock, cancel=True) as remote:
        assert remote.table[mock.host].same_ids
    assert {headers["authorization"] for headers in mock.headers} == {"Bearer secret"}


async def test_one_model_under_several_names(connected: Connect) -> None:
    mock = Mock(aliases={"coder": BASE})
    async with running(mock), connected(mock) as remote:
        assert remote.table[mock.host].base == BASE


async def test_several_models(connected: Connect) -> None:
    mock = Mock(aliases={"chat": "other/root"})
    async with running(mock):
        with pytest.raises(MidfillError, match="serves several models: Qwen/made-coder, chat") as caught:
            async with connected(mock):
                pass
    assert caught.value.remedy == "set model to one of them"
