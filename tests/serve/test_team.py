"""An engine for several users: which ones are let in, how much each may ask, and what editors without our extension
send."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from midfill import cli, fim
from midfill.engine.base import GenerateRequest
from midfill.fim import FimRenderer
from midfill.serve.team import tokens
from midfill.serve.team.app import TeamService, Terms
from midfill.serve.team.limits import RateLimiter, TooMany
from midfill.serve.team.listen import Listen, TeamServer
from midfill.serve.team.text import TextPrompts
from midfill.serve.team.tokens import Tokens
from midfill.types import MidfillError, ModelInfo
from tests.serve.made import FakeResident, certified, listening
from tests.support import Clock
from tests.tokenizers_made import describe, make

OPEN = Terms(is_open=True, takes_text=True, adapter="none")
CLOSED = Terms(is_open=False, takes_text=False)
IDS = {"prompt": [1, 2, 3], "max_tokens": 8}


@pytest.fixture
def engine(tmp_path: Path) -> FakeResident:
    resident = FakeResident()
    (tmp_path / "tokenizer.json").write_text(json.dumps(describe("qwen2.5-coder")), encoding="utf-8")
    tokenizer_file = str(tmp_path / "tokenizer.json")
    resident.info = ModelInfo("base", tokenizer_file, "qwen2.5-coder", 512, 2048, "cpu", "float32")
    return resident


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def client(service: TeamService, token: str = "", **headers: str) -> httpx.AsyncClient:
    sent = {**({"Authorization": f"Bearer {token}"} if token else {}), **headers}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(service.app()), base_url="http://127.0.0.1:1", headers=sent
    )  # fmt: skip


# ---- tokens --------------------------------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_not_kept(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["token", "--tokens", str(file), "add", "ada"]) == 0
    token = capsys.readouterr().out.splitlines()[0]
    assert token not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    assert Tokens(file).name_of(token) == "ada"
    assert cli.main(["token", "--tokens", str(file), "add", "ada"]) == 1
    assert cli.main(["token", "--tokens", str(file), "list"]) == 0
    assert "ada" in (listed := capsys.readouterr().out)
    assert token not in listed
    assert cli.main(["token", "--tokens", str(file), "revoke", "ada"]) == 0
    assert cli.main(["token", "--tokens", str(file), "revoke", "ada"]) == 1
    assert Tokens(file).name_of(token) is None


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a\nb", "-", "x" * 65, "ä"])
def test_names_that_are_none(name: str, file: Path) -> None:
    with pytest.raises(MidfillError, match="is not a valid name"):
        tokens.add(name, file)


@pytest.mark.parametrize(("content", "mode", "message"), [("{", 0o600, "damaged"), ("[1]", 0o600, "damaged"),
                                                          ("[]", 0o644, "open to others")])  # fmt: skip
def test_a_file_that_is_not_trusted(content: str, mode: int, message: str, file: Path) -> None:
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(MidfillError, match=message):
        Tokens(file)


async def test_who_is_let_in(engine: FakeResident, file: Path) -> None:
    ada = tokens.add("ada", file)
    service = TeamService(engine, Tokens(file), CLOSED)
    for token, status in ((ada, 200), ("", 401), ("wrong", 401), (ada[:-1], 401), (ada + "x", 401)):
        async with client(service, token) as asking:
            for answer in (await asking.post("/v1/completions", json=IDS), await asking.get("/v1/models"),
                           await asking.get("/metrics"), await asking.get("/midfill/status")):  # fmt: skip
                assert answer.status_code == status
            assert (await asking.get("/health")).status_code == 200
    tokens.revoke("ada", file)
    async with client(service, ada) as asking:
        assert (await asking.post("/v1/completions", json=IDS)).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"},
     {"Content-Type": "text/plain"}],
)  # fmt: skip
async def test_web_pages_are_not_let_in(headers: dict[str, str], engine: FakeResident, file: Path) -> None:
    async with client(TeamService(engine, Tokens(file), OPEN), **headers) as asking:
        answer = await asking.post("/v1/completions", content=json.dumps(IDS))
        assert answer.status_code in (403, 415)
    assert not engine.asked


async def test_no_route_changes_anything(engine: FakeResident, file: Path) -> None:
    token = tokens.add("ada", file)
    async with client(TeamService(engine, Tokens(file), CLOSED), token) as asking:
        for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/midfill/shutdown", "/midfill/stats",
                     "/midfill/debug/block", "/infill"):  # fmt: skip
            assert (await asking.post(path, json={})).status_code == 404


# ---- listening -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listen", "has_tokens", "refusal"),
    [
        (Listen("127.0.0.1", 0), False, ""),
        (Listen("::1", 0), False, ""),
        (Listen("localhost", 0), True, ""),
        (Listen("0.0.0.0", 0), False, "could use the engine"),
        (Listen("10.0.0.1", 0), False, "could use the engine"),
        (Listen("host.example", 0), True, "without encryption"),
        (Listen("0.0.0.0", 0), True, "without encryption"),
        (Listen("0.0.0.0", 0, behind_proxy=True), True, ""),
        (Listen("0.0.0.0", 0, behind_proxy=True), False, "could use the engine"),
        (Listen("127.0.0.1", 0, behind_proxy=True), False, "could use the engine"),  # the proxy lets the world in
        (Listen("0.0.0.0", 0, Path("c"), Path("k")), True, ""),
        (Listen("0.0.0.0", 0, Path("c"), Path("k")), False, "could use the engine"),
        (Listen("0.0.0.0", 0, Path("c")), True, "TLS needs both"),
        (Listen("127.0.0.1", 0, None, Path("k")), True, "TLS needs both"),
    ],
)
def test_where_it_refuses_to_listen(listen: Listen, has_tokens: bool, refusal: str) -> None:
    if not refusal:
        listen.check(has_tokens=has_tokens)
        return
    with pytest.raises(MidfillError, match=refusal) as caught:
        listen.check(has_tokens=has_tokens)
    assert caught.value.remedy


def test_the_command_refuses_before_it_loads_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--http", "0.0.0.0:0"]) == 1
    assert "midfill token add" in capsys.readouterr().err


def test_certificates_that_are_none(tmp_path: Path) -> None:
    certificate, key = certified(tmp_path)
    with pytest.raises(MidfillError, match="cannot be used"):
        TeamServer(Listen("127.0.0.1", 0, key, certificate))


async def test_a_client_that_goes_stops_its_request(engine: FakeResident, file: Path) -> None:
    engine.waits = True
    async with listening(engine, Listen("127.0.0.1", 0, tokens=file)) as server:
        async with httpx.AsyncClient() as asking:
            body = {**IDS, "stream": True}
            async with asking.stream("POST", f"{server.address}/completions", json=body) as answer:
                async for _ in answer.aiter_lines():
                    break
        await asyncio.wait_for(engine.ended.wait(), 10)
        service = server.service
        assert service is not None
        while service.metrics.n_running:
            await asyncio.sleep(0.01)
        assert service.metrics.requests["local", "cancelled"] == 1
        assert service.metrics.tokens["dropped"] == 1


async def test_what_runs_is_finished_and_nothing_new_is_taken(engine: FakeResident, file: Path) -> None:
    service = TeamService(engine, Tokens(file), OPEN)
    service.draining = True
    async with client(service) as asking:
        assert (await asking.get("/health")).status_code == 503
        answer = await asking.post("/v1/completions", json=IDS)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


# ---- shares --------------------------------------------------------------------------------------------------------


def test_a_rate_for_each_person() -> None:
    clock = Clock()
    limits = RateLimiter(per_minute=60, at_once=100, clock=clock)
    for _ in range(15):  # a burst of a quarter of a minute
        limits.begin("ada")()
    with pytest.raises(TooMany) as caught:
        limits.begin("ada")
    assert 0 < caught.value.wait_s <= 1
    limits.begin("bob")()
    clock.now += caught.value.wait_s + 0.01
    limits.begin("ada")()
    with pytest.raises(TooMany):
        limits.begin("ada")


def test_so_many_at_once() -> None:
    limits = RateLimiter(per_minute=6000, at_once=2, clock=Clock())
    ends = [limits.begin("ada") for _ in range(2)]
    with pytest.raises(TooMany):
        limits.begin("ada")
    limits.begin("bob")
    ends[0]()
    limits.begin("ada")


async def test_too_many_are_told_when_to_come_back(engine: FakeResident, file: Path) -> None:
    service = TeamService(engine, Tokens(file), OPEN, RateLimiter(per_minute=4))
    async with client(service) as asking:
        answers = [await asking.post("/v1/completions", json=IDS) for _ in range(2)]
        figures = (await asking.get("/metrics")).text
    assert [answer.status_code for answer in answers] == [200, 429]
    assert int(answers[1].headers["retry-after"]) >= 1
    assert 'midfill_requests_total{user="local",outcome="limited"} 1' in figures
    assert 'midfill_requests_total{user="local",outcome="finished"} 1' in figures
    assert "midfill_requests_running 0" in figures
    assert 'midfill_first_token_seconds_bucket{le="0.1"} 1' in figures


async def test_a_person_has_one_turn_whatever_windows(engine: FakeResident, file: Path) -> None:
    token = tokens.add("ada", file)
    async with client(TeamService(engine, Tokens(file), CLOSED), token) as asking:
        for window in ("1", "2"):
            await asking.post("/v1/completions", json={**IDS, "midfill": {"window": window}})
    assert [(request.window, request.person) for request in engine.asked] == [("ada", "ada")] * 2


# ---- text ----------------------------------------------------------------------------------------------------------

TOKENIZER = make("qwen2.5-coder")
# As Zed's open_ai_compatible_api sends it with prompt_format "qwen" or "code_gemma": one text, stops of every model.
ZED_STOPS = [
    "<|endoftext|>", "<|file_separator|>", "<|fim_pad|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
    "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<PRE>", "<SUF>", "<MID>", "[PREFIX]", "[SUFFIX]", "[MIDDLE]",
    "<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", "<｜fim▁begin｜>",
]  # fmt: skip
ZED = {
    "model": "qwen2.5-coder", "prompt": "<|fim_prefix|>def f(x):\n    return <|fim_suffix|>\n\n<|fim_middle|>",
    "max_tokens": 64, "temperature": 0.2, "stop": ZED_STOPS, "stream": False,
}  # fmt: skip
# As llama.vscode asks llama.cpp.
LLAMA_VSCODE = {
    "id_slot": 0, "input_prefix": "import os\n\n\ndef f(x):\n", "input_suffix": "\n\nprint(f(1))\n",
    "prompt": "    return ",
    "input_extra": [{"text": "LIMIT = 3\n", "filename": "other.py", "time": 1}], "n_predict": 128, "top_k": 40,
    "top_p": 0.99, "stream": False, "samplers": ["top_k", "top_p", "infill"], "cache_prompt": True,
    "t_max_prompt_ms": 500, "t_max_predict_ms": 1000, "response_fields": ["content", "timings/prompt_n"],
}  # fmt: skip


def spelled(request: GenerateRequest) -> str:
    return TOKENIZER.decode(request.prompt)


async def test_what_zed_sends(engine: FakeResident, file: Path) -> None:
    async with client(TeamService(engine, Tokens(file), OPEN)) as asking:
        answer = await asking.post("/v1/completions", json=ZED)
    assert answer.json()["choices"][0]["text"] == "ab"
    (request,) = engine.asked
    assert spelled(request) == ZED["prompt"]
    assert sum(token in TOKENIZER.control_ids for token in request.prompt) == 3
    assert (request.adapter, request.max_tokens, request.stop) == (None, 64, ())


async def test_what_llama_vscode_sends(engine: FakeResident, file: Path) -> None:
    async with client(TeamService(engine, Tokens(file), OPEN)) as asking:
        answer = await asking.post("/infill", json=LLAMA_VSCODE)
    assert answer.json()["content"] == "ab"
    text = spelled(engine.asked[0])
    assert "LIMIT = 3" in text
    assert text.endswith("    return <|fim_suffix|>\n\nprint(f(1))\n<|fim_middle|>")


@pytest.mark.parametrize(
    "body", [{"input_prefix": 1}, {"input_extra": "x"}, {"prompt": [1]}, {"input_suffix": "x" * 2_000_001}]
)
async def test_infill_that_is_none(body: dict[str, Any], engine: FakeResident, file: Path) -> None:
    async with client(TeamService(engine, Tokens(file), OPEN)) as asking:
        assert (await asking.post("/infill", json=body)).status_code == 400


async def test_text_is_read_on_this_route_only(engine: FakeResident, file: Path) -> None:
    """A team's clients send ids: code that spells a sentinel stays code."""
    token = tokens.add("ada", file)
    async with client(TeamService(engine, Tokens(file), CLOSED), token) as asking:
        assert (await asking.post("/v1/completions", json=ZED)).status_code == 400
    assert not engine.asked


def test_a_template_with_a_start_has_it_once() -> None:
    tokenizer = make("codegemma")
    prompts = TextPrompts(FimRenderer(fim.detect(tokenizer), tokenizer), 512)
    text = "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>"
    start = FimRenderer(fim.detect(tokenizer), tokenizer).start_ids
    assert len(start) == 1
    for sent in (text, tokenizer.decode(start) + text):
        ids = prompts.ids(sent)
        assert ids[:1] == start
        assert ids.count(start[0]) == 1


def test_stops_that_are_of_use_are_kept() -> None:
    prompts = TextPrompts(FimRenderer(fim.detect(TOKENIZER), TOKENIZER), 512)
    body = prompts.translated({"prompt": "x", "stop": ["\n\n", *ZED_STOPS, "def "]})
    assert body["stop"] == ["\n\n", "def "]
