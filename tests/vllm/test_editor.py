"""A whole editor session through real vLLM: ``midfill lsp --stdio`` with the setting ``engine``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lsp.client import Client, at
from tests.lsp.conftest import private_environment
from tests.vllm.conftest import KEY, Vllm
from tests.vllm.conftest import start as start_vllm

pytestmark = pytest.mark.vllm

ANSWER_S = 120.0  # a busy machine is no failure
ENDLESS = "PRIMES = [2, 3, 5, 7, 11, "  # goes on for as many tokens as are asked for
Start = Callable[..., Client]


@pytest.fixture
def start(tmp_path: Path, embedded_folder: Path) -> Iterator[Start]:
    clients: list[Client] = []

    def launch(*engines: Vllm, key: str = KEY, **settings: Any) -> Client:
        environment = private_environment(tmp_path)
        del environment["MIDFILL_SCRIPT"]
        values = {
            "engine": [engine.url for engine in engines], "model": str(embedded_folder), "adapter": "none",
            "ahead": False, "engine_deadline_s": 60, "first_answer_s": 60, "max_tokens": 256, "max_debounce_s": 0.0,
            **settings,
        }  # fmt: skip
        folder = Path(environment["MIDFILL_CONFIG_DIR"])
        folder.mkdir()
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        (folder / "config.toml").write_text("\n".join(lines), encoding="utf-8")
        client = Client({**environment, "MIDFILL_ENGINE_KEY": key}, tmp_path)
        clients.append(client)
        client.initialize()
        return client

    yield launch
    for client in clients:
        client.kill()


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + ANSWER_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def connected(client: Client, folder: Path) -> None:
    """Wait until it is ready and has tried, as it does once a day, whether closing a stream frees the slot."""
    until(lambda: client.result("midfill/status")["state"] in ("ready", "error"))
    status = client.result("midfill/status")
    assert status["state"] == "ready", status
    tried = folder / "STATE" / "cancels.json"
    until(tried.is_file)
    ((_at, freed_s),) = json.loads(tried.read_text(encoding="utf-8")).values()
    assert freed_s >= 0, "vLLM went on after its stream was closed"


def test_a_suggestion(start: Start, vllm: Vllm, tmp_path: Path) -> None:
    client = start(vllm)
    connected(client, tmp_path)
    text = "def add(a, b):\n    return "
    uri = client.open(text)
    asked = client.request("textDocument/inlineCompletion", at(uri, 1, 11, context={"triggerKind": 1}))
    items = client.response(asked, ANSWER_S)["result"]["items"]
    assert items[0]["insertText"].startswith("a + b")
    assert "vLLM at 127.0.0.1" in client.result("midfill/status")["device"]


def test_the_same_session_goes_on_when_one_of_two_dies(
    start: Start, vllm: Vllm, python: Path, embedded_folder: Path, adapters: Path, tmp_path: Path
) -> None:
    """Each file has its replica; of eight some have the dead one."""
    second = start_vllm(python, embedded_folder, adapters, tmp_path / "second.log")
    try:
        client = start(second, vllm)
        until(lambda: client.result("midfill/status")["state"] == "ready")
        for number in range(9):
            uri = client.open("def add(a, b):\n    return ", uri=f"file:///w/{number}.py")
            asked = client.request("textDocument/inlineCompletion", at(uri, 1, 11, context={"triggerKind": 1}))
            items = client.response(asked, ANSWER_S)["result"]["items"]
            assert items[0]["insertText"].startswith("a + b")
            second.kill()
    finally:
        second.kill()


@pytest.mark.parametrize("how", ["cancelled", "edited"])
def test_what_nobody_waits_for_leaves_vllm(how: str, start: Start, vllm: Vllm, tmp_path: Path) -> None:
    client = start(vllm)
    connected(client, tmp_path)
    uri = client.open(ENDLESS)
    until(lambda: not vllm.running())
    n_finished = vllm.finished()
    asked = client.request("textDocument/inlineCompletion", at(uri, 0, len(ENDLESS), context={"triggerKind": 1}))
    until(vllm.running)
    if how == "cancelled":
        client.notify("$/cancelRequest", {"id": asked})
    else:
        change = {"textDocument": {"uri": uri, "version": 2}, "contentChanges": [{"text": "import os\n"}]}
        client.notify("textDocument/didChange", change)
    assert client.answers(asked) == []  # it was not over before
    until(lambda: not vllm.running())
    assert vllm.finished() == n_finished  # given up, not answered to its end
    answer = client.response(asked, ANSWER_S)
    if how == "cancelled":
        assert answer["error"]["code"] == -32800
    else:
        assert not (answer.get("result") or {"items": []})["items"]


@pytest.mark.parametrize(
    ("key", "settings", "message", "remedy"),
    [
        ("wrong", {}, "refuses the key (HTTP 401)", "set MIDFILL_ENGINE_KEY or engine_key_file to a valid key"),
        (KEY, {"adapter": "gone"}, "has no adapter 'gone'; using the base model", "midfill adapters publish"),
    ],
)
def test_what_is_wrong_is_one_line_in_the_status(
    key: str, settings: dict[str, Any], message: str, remedy: str, start: Start, vllm: Vllm
) -> None:
    client = start(vllm, key=key, **settings)
    until(lambda: client.result("midfill/status")["state"] == "error")
    status = client.result("midfill/status")
    assert message in status["message"]
    assert remedy in status["remedy"]
    assert "\n" not in status["message"] + status["remedy"]
