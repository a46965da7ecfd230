"""What the status tells the user."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from .client import Client, at, frame
from .conftest import Launch

PROGRESS = {"capabilities": {"window": {"workDoneProgress": True}}}


def states(client: Client) -> list[str]:
    return [m["params"]["state"] for m in client.log if m.get("method") == "midfill/status"]


def test_states_follow_each_other(launch: Launch) -> None:
    client = launch(script={"chunks": ["a", "b"], "delay_s": 0.05, "ready_s": 0.3})
    client.initialize()
    client.ready()
    uri = client.open("x")
    client.call("textDocument/inlineCompletion", at(uri, 0, 1))
    time.sleep(0.1)
    seen = states(client)
    assert seen[0] == "starting"
    assert seen[-3:] == ["ready", "generating", "ready"]
    payloads = [m["params"] for m in client.log if m.get("method") == "midfill/status"]
    assert all(one != two for one, two in itertools.pairwise(payloads))
    known = {"state", "message", "remedy", "stage", "progress", "secondsLeft", "model", "adapter", "device"}
    assert set(payloads[0]) == known | {"eagerness", "lines", "on_battery", "snoozed_s"}
    far = [payload["progress"] for payload in payloads if payload["state"] == "starting" and payload["stage"]]
    assert far == sorted(far)
    assert all(0 <= fraction < 1 for fraction in far)


@pytest.mark.parametrize("answer", ["result", "error", "none"])
def test_work_done_progress(launch: Launch, answer: str) -> None:
    client = launch(script={"chunks": ["a"], "ready_s": 1.5})
    client.initialize(**PROGRESS)
    create = client.wait(lambda m: m.get("method") == "window/workDoneProgress/create")
    token = create["params"]["token"]
    if answer != "none":
        body = {"result": None} if answer == "result" else {"error": {"code": 1, "message": "no"}}
        client.send_bytes(frame({"jsonrpc": "2.0", "id": create["id"], **body}))
    client.ready()
    time.sleep(0.1)
    sent = [m["params"] for m in client.log if m.get("method") == "$/progress"]
    kinds = [params["value"]["kind"] for params in sent if params["token"] == token]
    if answer == "result":
        assert kinds[0] == "begin"
        assert "report" in kinds
        assert kinds[-1] == "end"
        assert kinds.count("end") == 1
    else:
        assert kinds == []


@pytest.mark.parametrize(
    ("where", "content"),
    [
        ("CONFIG/config.toml", "max_tokens = 'x'"),
        ("CONFIG/config.toml", "[["),
        ("workspace/.midfill.toml", "model = '/etc'"),
        ("options", ""),
    ],
)
def test_a_broken_configuration_is_shown(launch: Launch, tmp_path: Path, where: str, content: str) -> None:
    (tmp_path / "CONFIG").mkdir()
    (tmp_path / "workspace").mkdir()
    options: dict[str, Any] = {"maxTokens": -1}
    if where != "options":
        (tmp_path / where).write_text(content)
        options = {"maxTokens": 32}
    client = launch()
    client.initialize(rootUri=(tmp_path / "workspace").as_uri(), initializationOptions=options)
    shown = client.wait(lambda m: m.get("method") == "midfill/status" and m["params"]["state"] == "error")
    assert shown["params"]["message"]
    assert shown["params"]["remedy"]
    client.ready()
    assert client.result("midfill/status")["message"] == shown["params"]["message"]
    uri = client.open("x")
    assert client.result("textDocument/inlineCompletion", at(uri, 0, 1))["items"]
