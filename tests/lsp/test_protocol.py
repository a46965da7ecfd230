"""The protocol from outside: every request is answered exactly once, whatever is in it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from .client import Client, at, frame
from .conftest import Launch

METHODS = [
    "textDocument/inlineCompletion",
    "textDocument/completion",
    "midfill/inlineCompletion",
    "midfill/debugPrompt",
]


def code(answer: dict[str, Any]) -> int:
    """Return the code of an error; its message says nothing about the server's inside."""
    message = answer["error"]["message"]
    assert len(message) < 40
    assert "/" not in message
    assert "Traceback" not in message
    return int(answer["error"]["code"])


def test_what_is_advertised(launch: Launch) -> None:
    client = launch()
    result = client.initialize()["result"]
    print(f"initialize: {time.monotonic() - client.started_at:.3f} s from the start of the process")
    capabilities = result["capabilities"]
    assert result["serverInfo"]["name"] == "midfill"
    assert capabilities["positionEncoding"] == "utf-16"
    assert capabilities["textDocumentSync"]["openClose"] is True
    assert capabilities["textDocumentSync"]["change"] == 2
    assert capabilities["notebookDocumentSync"] == {"notebookSelector": [{"notebook": "*"}]}
    assert capabilities["inlineCompletionProvider"] == {}
    assert capabilities["completionProvider"]["triggerCharacters"]
    assert capabilities["workspace"]["workspaceFolders"]["supported"] is True
    assert capabilities["experimental"]["midfill"] == {
        "inlineCompletion": True,
        "status": True,
        "explain": True,
        "names": True,
    }
    assert capabilities["executeCommandProvider"] == {
        "commands": ["midfill.accepted", "midfill.snooze", "midfill.setEagerness"]
    }


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["utf-8", "utf-16"], "utf-8"),
        (["utf-32", "utf-8"], "utf-32"),
        (["x", 5, "utf-16", "utf-8"], "utf-16"),
        ([], "utf-16"),
        ("utf-8", "utf-16"),
        (None, "utf-16"),
    ],
)
def test_position_encoding(launch: Launch, offered: Any, chosen: str) -> None:
    answer = launch().initialize(capabilities={"general": {"positionEncodings": offered}})
    assert answer["result"]["capabilities"]["positionEncoding"] == chosen


@pytest.mark.parametrize(
    "params",
    [
        None,
        [],
        7,
        {"capabilities": None, "processId": "x", "workspaceFolders": 5, "rootUri": 1, "trace": "loud"},
        {"capabilities": {"textDocument": {"completion": {"completionItem": {"tagSupport": {"valueSet": [99]}}}}}},
        {"capabilities": {}, "initializationOptions": ["x"], "clientInfo": 3, "rootUri": "file://[x"},
        {"capabilities": {}, "initializationOptions": {"nonsense": True}},
    ],
)
def test_initialize_takes_anything(launch: Launch, params: Any) -> None:
    client = launch()
    assert "result" in client.call("initialize", params)
    assert "result" in client.call("midfill/status")


def test_life_cycle_errors(launch: Launch) -> None:
    client = launch()
    assert code(client.call("textDocument/completion", at("x", 0, 0))) == -32002
    client.open("ignored")
    client.initialize()
    assert client.result("midfill/debugDocumentText", {"uri": "file:///w/a.py"}) == {"text": None}
    assert code(client.call("initialize", {"capabilities": {}})) == -32600
    assert code(client.call("no/such")) == -32601
    assert code(client.call("$/no/such")) == -32601
    assert code(client.call("__class__")) == -32601
    assert client.call("shutdown")["result"] is None
    assert code(client.call("midfill/status")) == -32600
    assert code(client.call("shutdown")) == -32600
    client.notify("exit")
    assert client.exit_code() == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "params",
    [
        None,
        [],
        [1, 2],
        "x",
        7,
        {},
        {"textDocument": None, "position": None},
        {"textDocument": {"uri": 5}, "position": {"line": 0, "character": 0}},
        at("file:///w/a.py", -1, 0),
        at("file:///w/a.py", 0, -1),
        {"textDocument": {"uri": "x"}, "uri": "x", "position": {"line": "0", "character": None}},
        {"textDocument": {"uri": "x"}, "uri": "x", "position": {"line": True, "character": 1.5}},
    ],
)
def test_absurd_params(shared: Client, method: str, params: Any) -> None:
    assert code(shared.call(method, params)) == -32602


def test_missing_params(shared: Client) -> None:
    shared.send_bytes(frame({"jsonrpc": "2.0", "id": "m", "method": "textDocument/completion"}))
    assert code(shared.response("m")) == -32602


@pytest.mark.parametrize(
    ("message", "msg_id", "expected"),
    [
        (b"{", None, -32700),
        (b"\xff\xfe", None, -32700),
        (b"[" * 100_000, None, -32700),
        (b"5", None, -32600),
        (b"null", None, -32600),
        ([], None, -32600),
        ([{"jsonrpc": "2.0", "id": 1, "method": "shutdown"}], None, -32600),
        ({}, None, -32600),
        ({"id": "q", "method": "shutdown"}, "q", -32600),
        ({"jsonrpc": "1.0", "id": "q", "method": "shutdown"}, "q", -32600),
        ({"jsonrpc": "2.0", "id": "q", "method": 5}, "q", -32600),
        ({"jsonrpc": "2.0", "id": None, "method": "shutdown"}, None, -32600),
        ({"jsonrpc": "2.0", "id": {}, "method": "shutdown"}, None, -32600),
        ({"jsonrpc": "2.0", "id": 1.5, "method": "shutdown"}, None, -32600),
    ],
)
def test_malformed_messages(shared: Client, message: Any, msg_id: Any, expected: int) -> None:
    shared.send_bytes(frame(message))
    assert code(shared.response(msg_id)) == expected
    assert shared.result("midfill/status")


def test_notifications_may_be_absurd(client: Client) -> None:
    uri = client.open("text")
    odd: Any
    for method in ("didOpen", "didChange", "didClose"):
        for odd in (None, [], 5, {}, {"textDocument": 5}, {"textDocument": {"uri": 5}}):
            client.notify(f"textDocument/{method}", odd)
            client.notify(f"notebookDocument/{method}", odd)
    for odd in (None, [], {}, {"id": None}, {"id": []}, {"id": 999}):
        client.notify("$/cancelRequest", odd)
    client.notify("workspace/didChangeConfiguration", {"settings": [1]})
    client.notify("workspace/didChangeConfiguration", {"settings": {"midfill": {"max_tokens": "x"}}})
    client.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": [{}], "removed": None}})
    client.send_bytes(frame({"jsonrpc": "2.0", "id": 77, "result": None}))
    client.send_bytes(frame({"jsonrpc": "2.0", "id": None, "error": {}}))
    assert client.result("midfill/debugDocumentText", {"uri": uri}) == {"text": "text"}
    assert not [m for m in client.log if m.get("method", "").startswith("window/")]


def test_nested_jsonrpc_key(shared: Client) -> None:
    uri = shared.open("x")
    params = at(uri, 0, 1, data={"jsonrpc": "2.0", "id": 5, "method": "exit"}, context={"triggerKind": 1})
    assert shared.result("textDocument/inlineCompletion", params)["items"]


def test_ids(client: Client) -> None:
    for msg_id in (0, -5, 2**53, "", "x", "5", "é\ud800"):
        client.request("midfill/status", None, id=msg_id)
        assert "result" in client.response(msg_id)
    client.request("midfill/debugSleep", {"seconds": 0.3}, id="same")
    client.request("midfill/debugSleep", {"seconds": 0}, id="same")
    assert code(client.response("same")) == -32600
    assert "result" in client.response("same")


def test_raising_handlers(shared: Client) -> None:
    secret = "s3cret /home/me/x.py"
    answer = shared.call("midfill/debugRaise", {"text": secret})
    assert code(answer) == -32603
    assert code(shared.call("midfill/debugRaiseBase")) == -32603
    assert shared.result("midfill/status")
    assert secret not in json.dumps(shared.log)


def test_print_does_not_reach_the_protocol(shared: Client) -> None:
    assert shared.result("midfill/debugPrint") == {}
    assert shared.result("midfill/status")
    assert shared.garbage == b""


@pytest.mark.parametrize("method", ["midfill/debugSleep", "midfill/debugSleepThread", "midfill/debugBlock"])
def test_cancel(shared: Client, method: str) -> None:
    times = []
    for _ in range(20):
        msg_id = shared.request(method, {"seconds": 30})
        start = time.monotonic()
        shared.notify("$/cancelRequest", {"id": msg_id})
        assert code(shared.response(msg_id)) == -32800
        times.append(time.monotonic() - start)
    print(f"{method}: cancelled in {max(times) * 1000:.1f} ms at most")
    assert max(times) < 2
    time.sleep(0.1)
    assert len(shared.answers(msg_id)) == 1


def test_ping_under_load(client: Client) -> None:
    uri = client.open("x = 1\n")
    for method in ("midfill/debugSleepThread", "midfill/debugBlock"):
        for _ in range(3):
            client.request(method, {"seconds": 3})
    for n in range(20):
        client.request("textDocument/inlineCompletion", at(uri, 0, n % 5))
    times = sorted(client.ping() for _ in range(200))
    print(f"ping under load: p50 {times[100] * 1000:.1f} ms, p99 {times[197] * 1000:.1f} ms")
    assert times[-1] < 2


def test_a_thousand_cancels_leak_nothing(client: Client) -> None:
    def n_threads() -> int:
        with open(f"/proc/{client.process.pid}/status", encoding="utf-8") as stream:  # noqa: PTH123
            return next(int(line.split()[1]) for line in stream if line.startswith("Threads"))

    uri = client.open("x = 1\n")
    n_calm, before = 0, n_threads()
    while n_calm < 15:  # what an open document needs has begun, such as the process that parses it
        time.sleep(0.1)
        n_calm, before = (n_calm + 1, before) if n_threads() == before else (0, n_threads())
    ids = []
    for n in range(1000):
        method = ("midfill/debugSleep", "midfill/debugSleepThread", "midfill/inlineCompletion")[n % 3]
        params = at(uri, 0, 0, seconds=20, partialResultToken=n)
        ids.append(client.request(method, params))
        client.notify("$/cancelRequest", {"id": ids[-1]})
    for msg_id in ids:
        client.response(msg_id)
    time.sleep(0.5)
    assert all(len(client.answers(msg_id)) == 1 for msg_id in ids)
    assert n_threads() <= before + 1
    stats = client.result("midfill/stats")
    assert stats["cancelled"] + stats["superseded"] == 333


def test_debug_methods_need_the_environment(launch: Launch) -> None:
    client = launch(env={"MIDFILL_DEBUG_METHODS": ""})
    client.initialize()
    for method in ("midfill/debugDocumentText", "midfill/debugSleep", "midfill/debugRaiseBase", "midfill/debugPrint"):
        assert code(client.call(method, {"uri": "x"})) == -32601


@pytest.mark.parametrize("length", [3, 60, 5000, 10**12])
def test_wrong_content_length(shared: Client, length: int) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": "bad", "method": "midfill/status"}).encode()
    shared.send_bytes(b"Content-Length: %d\r\n\r\n%b" % (length, body))
    shared.send_bytes(b"cOnTenT-LENGTH: %d\r\nX-Other: 1\r\n\r\n%b" % (len(body), body.replace(b"bad", b"far")))
    assert "result" in shared.response("far")
    assert shared.result("midfill/status")


def test_a_lone_message_with_a_length_too_large(shared: Client) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": "lone", "method": "midfill/status"}).encode()
    shared.send_bytes(b"Content-Length: %d\r\n\r\n%b" % (len(body) + 7, body))
    assert "result" in shared.response("lone")
    assert shared.result("midfill/status")


def test_a_huge_message_is_refused(client: Client) -> None:
    client.send_bytes(b"Content-Length: %d\r\n\r\n" % (65 << 20))
    for _ in range(65):
        client.send_bytes(b"x" * (1 << 20))
    assert client.response(None)["error"]["code"] == -32600
    assert client.result("midfill/status")
    with open(f"/proc/{client.process.pid}/status", encoding="utf-8") as stream:  # noqa: PTH123
        peak_kb = next(int(line.split()[1]) for line in stream if line.startswith("VmHWM"))
    print(f"peak memory after a refused 65 MiB message: {peak_kb / 1024:.0f} MiB")
    assert peak_kb < 150_000
