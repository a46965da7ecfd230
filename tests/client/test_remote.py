"""The whole language server with engines elsewhere. If something is wrong with an engine, the user does not wait for
it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import JSONResponse

from midfill.commands import doctor
from midfill.config import Config
from midfill.lsp import notice
from midfill.remote import published
from midfill.serve.team.listen import Listen
from midfill.types import ModelInfo
from tests.client.made import in_a_thread
from tests.lsp.client import Client, at
from tests.lsp.conftest import private_environment
from tests.remote.made import Resident
from tests.remote.mocks import BASE, Mock
from tests.serve.made import listening
from tests.tokenizers_made import describe, make

Start = Callable[..., Client]
TYPED_S = 2.0  # an automatic request is answered at once; a busy machine is no failure


@pytest.fixture
def start(tmp_path: Path, model: str) -> Iterator[Start]:
    clients: list[Client] = []

    def launch(*mocks: Mock, env: dict[str, str] | None = None, options: Any = None, **settings: Any) -> Client:
        environment = private_environment(tmp_path)
        del environment["MIDFILL_SCRIPT"]
        values = {"engine": [mock.url for mock in mocks], "model": model, "max_debounce_s": 0.0, **settings}
        folder = Path(environment["MIDFILL_CONFIG_DIR"])
        folder.mkdir(exist_ok=True)
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        (folder / "config.toml").write_text("\n".join(lines), encoding="utf-8")
        client = Client({**environment, **(env or {})}, tmp_path)
        clients.append(client)
        client.initialize(**({"initializationOptions": options} if options else {}))
        return client

    yield launch
    for client in clients:
        client.kill()


def suggested(client: Client, trigger: int = 1, text: str = "total = ", language: str = "python") -> list[str]:
    uri = client.open(text, uri=f"file:///w/{time.monotonic_ns()}.py", language=language)
    params = at(uri, 0, len(text), context={"triggerKind": trigger})
    answer = client.result("textDocument/inlineCompletion", params)
    return [item["insertText"] for item in (answer or {"items": []})["items"]]


def status(client: Client) -> dict[str, str]:
    found: dict[str, str] = client.result("midfill/status")
    return found


def wait_for_state(client: Client, state: str) -> dict[str, str]:
    deadline = time.monotonic() + 30
    while (now := status(client))["state"] != state:
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return now


@pytest.mark.parametrize("kind", ["vllm", "sglang", "llama.cpp", "text"])
def test_the_same_session_against_each_engine(kind: str, start: Start) -> None:
    mock = Mock(kind, {"": "add(1, 2)"})
    with in_a_thread(mock):
        client = start(mock)
        assert suggested(client) == ["add(1, 2)"]
        now = wait_for_state(client, "ready")
        assert mock.host in now["device"]
        assert suggested(client, 2, "other = ") == ["add(1, 2)"]


def test_a_begun_word_is_in_the_prompt(start: Start) -> None:
    """A foreign engine cannot be forced to begin with it, so without healing the word would be written twice."""
    mock = Mock("vllm", {"": "ue(1)"})
    with in_a_thread(mock):
        client = start(mock)
        assert suggested(client, text="total = val") == ["ue(1)"]
        prompts = [mock.tokenizer.decode(one["prompt"]) for one in mock.asked]
        (prompt,) = [prompt for prompt in prompts if "total" in prompt]  # others are the connection's own
        assert "total = val<|fim_suffix|>" in prompt


def test_an_adapter_for_each_language(start: Start) -> None:
    mock = Mock("vllm", {"": "base", "py@0123456789ab": "py_adapter", "go@0123456789ab": "go_adapter"})
    with in_a_thread(mock):
        client = start(mock, adapter="py@0123456789ab", adapters=["go=go@0123456789ab", "rust=none"])
        found = [suggested(client, language=language) for language in ("python", "go", "rust")]
        assert found == [["py_adapter"], ["go_adapter"], ["base"]]


def test_one_of_a_pair_is_gone(start: Start) -> None:
    mocks = Mock(says={"": "one"}), Mock(says={"": "two"})
    with in_a_thread(mocks[1]):
        with in_a_thread(mocks[0]):
            client = start(*mocks)
            assert {*suggested(client, text="a = "), *suggested(client, text="bc = ")} <= {"one", "two"}
        for n in range(6):
            assert suggested(client, text=f"name{n} = ") == ["two"]
        assert status(client)["state"] in ("ready", "generating")


@pytest.mark.parametrize(
    ("mock", "message", "remedy"),
    [
        (Mock(key="right"), "refuses the key (HTTP 401)", "set MIDFILL_ENGINE_KEY or engine_key_file to a valid key"),
        (Mock(fault=lambda _n: JSONResponse({}, 500)), "failed (HTTP 500)", "see the engine's log"),
        (Mock(root="x", says={"": "x"}, tokenize_route=False, cut_after=1), "broke off", "ask again"),
        (None, "does not answer (ConnectError)", "check engine, or start it there"),
    ],
)
def test_what_is_wrong_is_one_line_and_typing_does_not_wait(
    mock: Mock | None, message: str, remedy: str, start: Start
) -> None:
    with in_a_thread(mock) if mock is not None else contextlib.nullcontext():
        client = start(mock or Mock(port=9), env={"MIDFILL_ENGINE_KEY": "wrong"})
        now = wait_for_state(client, "error")
        assert message in now["message"]
        assert remedy in now["remedy"]
        before = time.monotonic()
        assert suggested(client, 2) == []
        assert suggested(client, 1) == []
        assert time.monotonic() - before < TYPED_S


def test_a_missing_adapter_is_told_and_the_base_answers(start: Start) -> None:
    mock = Mock(says={"": "base"})
    with in_a_thread(mock):
        client = start(mock, adapter="gone@0123456789ab")
        assert suggested(client) == ["base"]
        now = wait_for_state(client, "error")
        assert "has no adapter 'gone@0123456789ab'; using the base model" in now["message"]
        assert "midfill adapters publish" in now["remedy"]


def test_an_adapter_that_goes_and_comes(start: Start) -> None:
    mock = Mock(says={"": "base", "mine@0123456789ab": "adapted"})
    with in_a_thread(mock):
        client = start(mock, adapter="mine@0123456789ab")
        assert suggested(client) == ["adapted"]
        del mock.says["mine@0123456789ab"]
        assert suggested(client, text="other = ") == []
        _until(lambda: suggested(client, text="third = ") == ["base"])
        assert "using the base model" in wait_for_state(client, "error")["message"]
        mock.says["mine@0123456789ab"] = "adapted"
        _until(lambda: suggested(client, text="fourth = ") == ["adapted"])
        wait_for_state(client, "ready")


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_it_is_connected_when_the_engine_comes(start: Start) -> None:
    mock = Mock(says={"": "late"})
    with in_a_thread(mock):
        pass  # its port is known now
    client = start(mock)
    wait_for_state(client, "error")
    with in_a_thread(mock):
        wait_for_state(client, "ready")
        assert suggested(client) == ["late"]


def test_neither_an_editor_nor_a_workspace_says_where_code_goes(start: Start, tmp_path: Path) -> None:
    mock, other = Mock(says={"": "right"}), Mock(says={"": "wrong"})
    (tmp_path / ".midfill.toml").write_text(f'engine = "{other.url}"\n')
    with in_a_thread(mock, other):
        client = start(mock, options={"engine": other.url, "engineKeyFile": "/etc/passwd", "maxTokens": 9})
        assert suggested(client) == ["right"]
        assert other.requests == []


def test_where_code_goes_is_said_once_per_workspace() -> None:
    config = Config(engine=("https://ai.example/v1", "https://ai.example/b/v1", "http://127.0.0.1:1/v1"))
    said = [notice.untold(config, folders) for folders in (("file:///a",), ("file:///a",), ("file:///b",), ())]
    assert said == [said[0], "", said[0], said[0]]
    assert said[0] == "code leaves this machine for ai.example"
    assert notice.untold(Config(engine=("http://localhost:8000/v1",)), ("file:///a",)) == ""
    assert notice.untold(Config(), ("file:///a",)) == ""
    assert notice.untold(Config(engine=("https://other.example",)), ("file:///a",)).endswith("other.example")


def test_the_doctor(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    from midfill import paths

    file = paths.config_file()
    file.parent.mkdir(parents=True)
    mock = Mock("vllm", {"": "x", "mine@0123456789ab": "y"})
    swallowing = Mock("sglang", swallows=True, pace_s=0.02)
    with in_a_thread(mock, swallowing):
        file.write_text(f'engine = ["{mock.url}", "{swallowing.url}"]\nmodel = "{model}"\n')
        assert doctor.run(as_json=False, engine=True) == 0
    out = capsys.readouterr().out
    assert "vLLM 0.32.0" in out
    assert "mine@0123456789ab" in out
    assert "frees its slot in" in out
    assert "warning    cancel" in out
    assert "swallows cancels" in out
    assert doctor.run(as_json=False, engine=True) == 1
    assert "does not answer" in capsys.readouterr().out
    file.write_text('engine = "https://ai.example/v1"\n')
    assert any(finding.says == "code leaves this machine for ai.example" for finding in doctor._engine())


@pytest.mark.parametrize(("heals", "prompt"), [(True, "total =<|fim_suffix|>"), (False, "total = val<|fim_suffix|>")])
def test_our_own_engine_elsewhere(heals: bool, prompt: str, start: Start, tmp_path: Path) -> None:
    """It can be forced to begin with the begun word, so the prompt leaves the word to the middle."""
    served = tmp_path / "served"
    served.mkdir()
    (served / "tokenizer.json").write_text(json.dumps(describe("qwen2.5-coder")), encoding="utf-8")
    engine, up, over = Resident(), threading.Event(), threading.Event()
    engine.info = ModelInfo("made", str(served / "tokenizer.json"), "qwen2.5-coder", 512, 2048, "cpu", "float32")
    address: list[str] = []

    async def serve() -> None:
        async with listening(engine, Listen("127.0.0.1", 0, tokens=tmp_path / "none.json")) as server:
            address.append(server.address)
            up.set()
            while not over.is_set():
                await asyncio.sleep(0.02)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(20)
    try:
        client = start(engine=address, token_healing=heals)
        assert suggested(client, text="total = val") == ["a + b"]
        tokenizer = make("qwen2.5-coder")
        # The last one may be the connection's own: whether closing a stream frees its slot.
        (asked,) = [one for one in engine.asked if "total" in tokenizer.decode(one.prompt)]
        assert prompt in tokenizer.decode(asked.prompt)
        assert asked.forced_prefix == (" val" if heals else "")
    finally:
        over.set()
        thread.join(20)


def test_an_adapter_is_replaced_while_it_serves(start: Start, tmp_path: Path) -> None:
    """Even where a suggestion is in the cache: that one came from the old adapter."""
    folder, made = tmp_path / "shared", tmp_path / "made"
    made.mkdir()
    (made / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": BASE, "r": 4}))

    def next_one(content: bytes) -> str:
        (made / "adapter_model.safetensors").write_bytes(content)
        return published.publish("mine", made, folder).current

    mock = Mock("vllm", {"": "base", next_one(b"1"): "one"})
    with in_a_thread(mock):
        client = start(mock, adapter="mine", engine_adapters=str(folder))
        uri = client.open("total = ")
        params = at(uri, 0, 8, context={"triggerKind": 1})

        def shown() -> list[str]:
            return [item["insertText"] for item in client.result("textDocument/inlineCompletion", params)["items"]]

        assert shown() == ["one"]
        mock.says[next_one(b"2")] = "two"
        deadline = time.monotonic() + 30
        while shown() != ["two"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize("swallows", [True, False])
def test_a_proxy_that_swallows_cancels_is_told(swallows: bool, start: Start) -> None:
    """midfill finds that out once, in the background; the next window knows it."""
    mock = Mock(says={"": "x"}, swallows=swallows, pace_s=0.02)
    with in_a_thread(mock):
        for _ in range(2):
            client = start(mock)
            assert suggested(client) == ["x"]
            wait_for_state(client, "ready")
            deadline = time.monotonic() + (30 if swallows else 6)
            while "swallows cancels" not in (message := status(client)["message"]) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert ("swallows cancels" in message) == swallows
            client.kill()
        probed = [body for body in mock.requests if body["request_id"] == "midfill-probe-cancel"]
        assert len(probed) == 1
