"""The engine as a web service: which clients are let in, which requests are sound, and the answers."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from midfill.engine.base import AdapterMissingError, BadRequestError, Delta, EngineError, GenerateRequest
from midfill.engine.http import HttpEngine
from midfill.serve import reading
from midfill.serve.app import EngineApi
from midfill.types import EngineStatus, MidfillError
from tests.serve.made import STATS, TOKEN, FakeResident


@pytest.fixture
def resident() -> FakeResident:
    return FakeResident()


@pytest.fixture
def service(resident: FakeResident) -> EngineApi:
    return EngineApi(resident, TOKEN, lambda: None)


@pytest.fixture
async def client(service: EngineApi) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(service.app())
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://midfill", headers=headers) as client:
        yield client


ROUTES = [
    ("GET", "/health"), ("GET", "/v1/models"), ("POST", "/v1/completions"), ("POST", "/v1/load_lora_adapter"),
    ("POST", "/v1/unload_lora_adapter"), ("POST", "/midfill/check_adapter"), ("POST", "/midfill/render"),
    ("GET", "/midfill/events"), ("GET", "/midfill/status"),
    ("GET", "/midfill/stats"), ("POST", "/midfill/shutdown"), ("GET", "/not/there"), ("OPTIONS", "/v1/completions"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": f"Bearer {TOKEN}x"}, 401),
        ({"Authorization": TOKEN}, 401),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:80"}, 403),
        ({"Host": ""}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
    ],
)
async def test_who_is_let_in(
    client: httpx.AsyncClient, resident: FakeResident, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await client.request(method, path, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]
    assert "access-control-allow-origin" not in answer.headers
    assert resident.asked == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9257", "[::1]", "[::1]:9257", "midfill"])
async def test_hosts_of_this_machine(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/health", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
async def test_only_json_is_read(client: httpx.AsyncClient, kind: str) -> None:
    """A web page can send the other types without a preflight request."""
    answer = await client.post("/v1/completions", content=b'{"prompt": [1]}', headers={"Content-Type": kind})
    assert answer.status_code == 415


async def test_the_health_of_an_engine_that_loads(client: httpx.AsyncClient, resident: FakeResident) -> None:
    resident.info = None
    assert (await client.get("/health")).status_code == 503


_LISTS: list[Any] = ["x", 1, [], ["x"]]
_NO_SUFFIXES: list[Any] = [
    [], [1], [1, 2, 3], [0, 2], [2, 1], [1, 4], [-1, 2], [1.0, 2], [True, 2], ["1", 2], "12", {}, 1,
]  # fmt: skip
BAD_BODIES: dict[str, list[Any]] = {
    "the body is not JSON": [b"", b"{", b"[" * 100_000, b"\xff"],
    "the body is not an object": [b"[]", b"1"],
    "prompt must be a list of token ids": [
        {}, {"prompt": []}, {"prompt": "text"}, {"prompt": [True]}, {"prompt": [1.0]}, {"prompt": [[1]]},
    ],
    "prompt is too long": [{"prompt": [0] * 200_001}],
    "max_tokens must be": [{"prompt": [1], "max_tokens": n} for n in (0, 5000, True, "9", 1.5)],
    "temperature must be": [b'{"prompt": [1], "temperature": NaN}', {"prompt": [1], "temperature": -1}],
    "top_p must be": [{"prompt": [1], "top_p": 2}],
    "n must be": [{"prompt": [1], "n": n} for n in (0, 9, -1, True, 1.5, "2", [2])],
    "several candidates are streamed": [{"prompt": [1], "n": 2}, {"prompt": [1], "n": 2, "stream": False}],
    "logprobs must be": [{"prompt": [1], "logprobs": n} for n in (-1, 6, "1", 1.5, [1])],
    "seed must be": [{"prompt": [1], "seed": seed} for seed in ("1", 1.5, True, 1 << 64, -(1 << 64))],
    "model must be": [{"prompt": [1], "model": model} for model in (7, ["lora"], {"x": 1})],
    "midfill must be an object": [{"prompt": [1], "midfill": own} for own in _LISTS],
    "suffix must be two positions": [{"prompt": [1, 2, 3], "midfill": {"suffix": suffix}} for suffix in _NO_SUFFIXES],
    "forced_prefix must be": [
        {"prompt": [1], "midfill": {"forced_prefix": text}} for text in (*_LISTS[1:], "x" * 8193)
    ],
    "window a text": [{"prompt": [1], "midfill": {"window": window}} for window in _LISTS[1:]],
    "must be true or false": [
        {"prompt": [1], "midfill": {key: value}}
        for key in ("speculate", "background", "bias_only", "prefill_only", "ignore_eos")
        for value in (*_LISTS[:3], "no")
    ],
    "given must be": [{"prompt": [1], "midfill": {"given": value}} for value in (3, "x", ["x"], [1.5], [1] * 1025)],
    "bias_advantages must": [
        {"prompt": [1], "midfill": {"bias_names": ["a", "b"], "bias_advantages": value}}
        for value in (3, [1.0], [1.0, 2.0, 3.0], ["1", "2"], [1.0, True], [1.0, 1e9], [math.nan, 1.0], [-math.inf, 1.0])
    ],
    "prefill_only": [{"prompt": [1], "midfill": {"prefill_only": value}} for value in (*_LISTS[:3], "no")],
    "within_s must be": [{"prompt": [1], "midfill": {"within_s": value}} for value in ("1", -1, True, 1e9)],
    "stop must be": [{"prompt": [1], "stop": stop} for stop in (3, [3], ["x"] * 17)],
}  # fmt: skip


@pytest.mark.parametrize("message", BAD_BODIES)
async def test_bad_bodies(client: httpx.AsyncClient, resident: FakeResident, message: str) -> None:
    for body in BAD_BODIES[message]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await client.post("/v1/completions", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400
        assert message in answer.json()["error"]["message"]
    assert resident.asked == []


async def test_a_body_without_end_is_not_read(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BODY", 1000)
    n_sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal n_sent
        while True:
            n_sent += 1
            yield b" " * 400

    answer = await client.post("/v1/completions", content=endless(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (413, "the body is too large")
    assert n_sent < 10


async def test_the_request_as_the_engine_gets_it(client: httpx.AsyncClient, resident: FakeResident) -> None:
    body = {"prompt": [1, 2], "max_tokens": 9, "stop": "x", "model": "lora", "temperature": 1, "top_p": 0.5, "seed": 4}
    await client.post("/v1/completions", json=body | {"request_id": "r" * 99})
    assert resident.asked == [GenerateRequest((1, 2), 9, ("x",), "lora", 1.0, 0.5, 4, "r" * 64)]
    for base in (None, "", "m"):
        await client.post("/v1/completions", json={"prompt": [1], "model": base})
        assert resident.asked[-1].adapter is None


async def test_the_extension_as_the_engine_gets_it(client: httpx.AsyncClient, resident: FakeResident) -> None:
    own = {
        "suffix": [1, 3],
        "forced_prefix": "re",
        "speculate": False,
        "window": "w" * 99,
        "background": True,
        "new": 1,
    }
    for midfill, expected in (
        (own, {"suffix": (1, 3), "forced_prefix": "re", "speculate": False, "window": "w" * 64, "background": True}),
        ({"prefill_only": True, "background": True}, {"prefill_only": True, "background": True}),
        ({"within_s": 2}, {"within_s": 2.0}),
        ({"suffix": [3, 3], "forced_prefix": "x" * 256}, {"suffix": (3, 3), "forced_prefix": "x" * 256}),
        (dict.fromkeys(own), {}),
        ({}, {}),
        (None, {}),
    ):
        await client.post("/v1/completions", json={"prompt": [1, 2, 3], "midfill": midfill})
        assert resident.asked[-1] == GenerateRequest((1, 2, 3), 16, **expected)


@pytest.mark.parametrize(
    ("given", "expected"), [(0, True), (1, True), (5, True), (True, True), (False, False), (None, False)]
)
async def test_whether_log_probabilities_are_wanted(
    client: httpx.AsyncClient, resident: FakeResident, given: Any, expected: bool
) -> None:
    """OpenAI's number says how many alternatives; none of them is told, the token's own always is."""
    resident.logprobs = (-0.5, -1.25)
    answer = (await client.post("/v1/completions", json={"prompt": [1], "logprobs": given})).json()
    assert resident.asked[-1].logprobs is expected
    (choice,) = answer["choices"]
    assert choice["logprobs"] == (
        {"token_logprobs": [-0.5, -1.25, -0.5, -1.25], "text_offset": []} if expected else None
    )


async def test_a_whole_answer(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/v1/completions", json={"prompt": [1]})).json()
    assert answer["choices"] == [{"index": 0, "text": "ab", "finish_reason": "stop", "logprobs": None}]
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 1},
    }
    assert answer["usage"] == usage


async def test_a_stream(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/completions", json={"prompt": [1], "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    choices = [json.loads(event)["choices"][0] for event in events[:-1]]
    assert [(choice["text"], choice["finish_reason"]) for choice in choices] == [("a", None), ("b", "stop")]


def engine_over(service: EngineApi) -> HttpEngine:
    """Return the client that front ends use, connected to the service itself."""
    engine = HttpEngine("http://midfill", token=TOKEN)
    transport = httpx.ASGITransport(service.app())
    engine._client = httpx.AsyncClient(transport=transport, base_url="http://midfill", headers=engine._client.headers)
    return engine


async def test_the_client_reads_what_the_service_writes(service: EngineApi) -> None:
    deltas = [delta async for delta in engine_over(service).stream(GenerateRequest((1, 2)))]
    assert deltas == [Delta("a", None, STATS), Delta("b", "stop", STATS)]


@pytest.mark.parametrize(
    "request_",
    [
        GenerateRequest((1, 2)),
        GenerateRequest((1, 2, 3), 9, ("x", "y"), "lora", 0.5, 0.25, 7, "r", 1, True, (1, 2), "be", False, "w", True),
        GenerateRequest((0,), seed=-3, n=8, temperature=2.0, top_p=0.0, suffix=(1, 1)),
    ],
)
async def test_a_request_there_and_its_answer_back(
    service: EngineApi, resident: FakeResident, request_: GenerateRequest
) -> None:
    resident.logprobs = (-0.5, -1.25)
    told = resident.logprobs if request_.logprobs else ()
    deltas = [delta async for delta in engine_over(service).stream(request_)]
    assert resident.asked == [request_]
    others = [Delta(f"a{index}", "length", STATS, index, told) for index in range(1, request_.n)]
    assert deltas == [*others, Delta("a", None, STATS, 0, told), Delta("b", "stop", STATS, 0, told)]


async def test_an_adapter_that_made_room_is_told_apart(service: EngineApi, resident: FakeResident) -> None:
    resident.error = AdapterMissingError("adapter 'x' is not loaded", "load it first")
    with pytest.raises(AdapterMissingError, match="'x' is not loaded"):
        _ = [delta async for delta in engine_over(service).stream(GenerateRequest((1, 2)))]
    answer = await engine_over(service).client.post("/v1/completions", json={"prompt": [1]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "adapter_missing")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (BadRequestError("ids outside the vocabulary", "render the prompt for this model"), 400),
        (EngineError("the engine is not ready", "wait"), 503),
        (AdapterMissingError("adapter 'x' is not loaded", "load it first"), 404),
    ],
)
async def test_what_cannot_be_answered_has_its_own_status(
    client: httpx.AsyncClient, resident: FakeResident, refusal: EngineError, status: int, stream: bool
) -> None:
    """Even if the answer would be streamed: no stream has begun."""
    resident.refusal = refusal
    answer = await client.post("/v1/completions", json={"prompt": [1], "stream": stream})
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, refusal.message)
    assert resident.asked == []


@pytest.mark.parametrize("site", ["none", "same-origin"])
async def test_a_request_of_no_page_may_say_so(client: httpx.AsyncClient, site: str) -> None:
    assert (await client.get("/health", headers={"Sec-Fetch-Site": site})).status_code == 200


@pytest.mark.parametrize("stream", ["true", "false"])
async def test_lone_surrogates_come_back(client: httpx.AsyncClient, stream: str) -> None:
    """In every field that is echoed. UTF-8 has no lone surrogates, so they come as JSON's escapes."""
    bad = chr(92) + "ud83d"
    for body, status in (
        (f'{{"prompt": [1], "request_id": "{bad}", "model": "{bad}", "stop": ["{bad}"], "stream": {stream}}}', 200),
        (f'{{"prompt": [1], "midfill": {{"window": "{bad}", "forced_prefix": "{bad}"}}, "stream": {stream}}}', 200),
        (f'{{"prompt": "{bad}", "stream": {stream}}}', 400),
    ):
        headers = {"Content-Type": "application/json"}
        answer = await client.post("/v1/completions", content=body.encode(), headers=headers)
        assert answer.status_code == status, body
        assert "request_id" not in body or f'"id":"{bad}"' in answer.text.replace('": "', '":"')
    answer = await client.post(
        "/v1/load_lora_adapter", content=f'{{"lora_name": "x", "lora_path": "/{bad}"}}'.encode(),
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert answer.status_code in (200, 400)


async def test_an_error_in_the_stream_reaches_the_client(service: EngineApi, resident: FakeResident) -> None:
    resident.error = EngineError("out of memory", "a shorter prompt")
    stream = engine_over(service).stream(GenerateRequest((1, 2)))
    assert (await anext(stream)).text == "a"
    with pytest.raises(EngineError) as caught:
        await anext(stream)
    assert (caught.value.message, caught.value.remedy) == ("out of memory", "a shorter prompt")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_ends_its_generation(
    service: EngineApi, resident: FakeResident, stream: bool
) -> None:
    resident.waits = True
    body = json.dumps({"prompt": [1], "stream": stream}).encode()
    gone = asyncio.Event()
    received = [{"type": "http.request", "body": body}]

    async def receive() -> dict[str, Any]:
        if received:
            return received.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None: ...

    headers = {"authorization": f"Bearer {TOKEN}", "host": "midfill", "content-type": "application/json"}
    scope = {
        "type": "http", "method": "POST", "path": "/v1/completions", "query_string": b"", "http_version": "1.1",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "asgi": {"spec_version": "2.3"},
    }  # fmt: skip
    running = asyncio.ensure_future(service.app()(scope, receive, send))
    await resident.began.wait()
    assert (resident.n_open, service.clients.n_requests) == (1, 1)
    gone.set()
    await asyncio.wait_for(resident.ended.wait(), 5)
    await asyncio.wait([running])
    assert (resident.n_open, service.clients.n_requests) == (0, 0)
    assert service.clients.idle_s() >= 0


async def test_adapters(client: httpx.AsyncClient, resident: FakeResident, tmp_path: Path) -> None:
    answer = await client.post("/v1/load_lora_adapter", json={"lora_name": "x", "lora_path": str(tmp_path)})
    assert answer.json() == {"name": "x", "folder": str(tmp_path)}
    for name in ("..", "a/b", "", ".x", "x" * 65, 7):
        answer = await client.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(tmp_path)})
        assert answer.status_code == 400
    several = [str(tmp_path / name) for name in "abcde"]
    answer = await client.post("/v1/load_lora_adapter", json={"lora_name": "x+y", "lora_path": several[:2]})
    assert answer.json() == {"name": "x+y", "folder": " + ".join(several[:2])}
    for paths in ([], several, [several[0], "not/absolute"], [several]):
        answer = await client.post("/v1/load_lora_adapter", json={"lora_name": "x", "lora_path": paths})
        assert answer.status_code == 400
    resident.error = MidfillError("it does not fit", "train it again")
    answer = await client.post("/v1/load_lora_adapter", json={"lora_name": "x", "lora_path": str(tmp_path)})
    assert (answer.status_code, answer.json()["error"]["remedy"]) == (400, "train it again")
    answer = await client.post("/midfill/check_adapter", json={"lora_path": str(tmp_path)})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "it does not fit")
    resident.error = None
    assert (await client.post("/midfill/check_adapter", json={"lora_path": str(tmp_path)})).status_code == 200
    for body in ({}, {"lora_path": 7}, {"lora_path": ""}, {"lora_path": "not/absolute"}, {"lora_path": "/\0"}):
        for route, more in (("/midfill/check_adapter", {}), ("/v1/load_lora_adapter", {"lora_name": "x"})):
            assert (await client.post(route, json={**body, **more})).status_code == 400
    assert [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == ["m", "lora"]
    assert (await client.post("/v1/unload_lora_adapter", json={"lora_name": "x"})).status_code == 200


async def test_who_leaves_takes_nothing_new(client: httpx.AsyncClient, service: EngineApi) -> None:
    assert (await client.post("/midfill/shutdown", json={})).status_code == 200
    assert (await client.get("/midfill/status")).json()["draining"] is True
    answer = await client.post("/v1/completions", json={"prompt": [1]})
    assert (answer.status_code, answer.json()["error"]["message"]) == (503, "the engine is shutting down")


@pytest.mark.parametrize(("value", "there"), [("1", True), ("0", False), (None, False)])
async def test_debug_routes_only_when_asked_for(
    resident: FakeResident, monkeypatch: pytest.MonkeyPatch, value: str | None, there: bool
) -> None:
    monkeypatch.delenv("MIDFILL_DEBUG_METHODS", raising=False)
    if value is not None:
        monkeypatch.setenv("MIDFILL_DEBUG_METHODS", value)
    transport = httpx.ASGITransport(EngineApi(resident, TOKEN, lambda: None).app())
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://midfill", headers=headers) as client:
        answer = await client.post("/midfill/debug/block", json={"seconds": 0.5})
    assert (answer.status_code, resident.blocked_s) == ((200, 0.5) if there else (404, 0.0))


async def test_events_follow_the_status(service: EngineApi, resident: FakeResident) -> None:
    """A watcher keeps the engine running; the last event says that the engine leaves."""
    engine = engine_over(service)

    async def change() -> None:
        while not service.clients.n_watching:
            await asyncio.sleep(0.01)
        assert service.clients.idle_s() == 0.0
        await asyncio.sleep(0.15)
        resident.status = EngineStatus("error", "broken")
        await asyncio.sleep(0.15)
        service.draining = True

    changing = asyncio.ensure_future(change())
    answer = await engine.client.get("/midfill/events")
    await changing
    states = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line.startswith("data: ")]
    assert [state["status"]["state"] for state in states] == ["ready", "error", "error"]
    assert [state["draining"] for state in states] == [False, False, True]
    assert service.clients.n_watching == 0
