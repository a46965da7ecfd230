"""The server in this process, so that a test can look inside."""

from __future__ import annotations

import asyncio
import gc
import json
from pathlib import Path
from random import Random

import pytest

from midfill import completer as completer_module
from midfill.client.scripted import ScriptedLink
from midfill.config import Config
from midfill.engine.scripted import ScriptedEngine
from midfill.lsp.server import MidfillServer
from tests.lsp.made import Sent, ask, notify

from . import fakes
from .client import at


async def started() -> tuple[MidfillServer, Sent]:
    script = {"chunks": ["a"] * 50, "delay_s": 0.01}
    server = MidfillServer(Config(), lambda _config, on_status, _sources: fakes.FakeLink(script, on_status))
    sender = server.protocol.sender = Sent()
    ask(server, 0, "initialize", {"capabilities": {}})
    item = {"uri": "file:///a.py", "languageId": "python", "version": 1, "text": "x = "}
    notify(server, "textDocument/didOpen", {"textDocument": item})
    await asyncio.sleep(0.05)
    return server, sender


def n_answers(sender: Sent, msg_id: int) -> int:
    return sum("method" not in message and message["id"] == msg_id for message in sender.messages)


async def test_a_thousand_requests_leave_nothing() -> None:
    server, sender = await started()
    protocol = server.protocol
    n_tasks = len(asyncio.all_tasks())
    methods = ("textDocument/inlineCompletion", "midfill/inlineCompletion", "textDocument/completion")
    for n in range(1, 1001):
        ask(server, n, methods[n % 3], at("file:///a.py", 0, 4, partialResultToken=n))
        if n % 2:
            await asyncio.sleep(0)
        if n % 5:
            notify(server, "$/cancelRequest", {"id": n})
    notify(server, "textDocument/didClose", {"textDocument": {"uri": "file:///a.py"}})
    await asyncio.sleep(0.1)
    gc.collect()
    assert all(n_answers(sender, n) == 1 for n in range(1, 1001))
    assert protocol.pending == {}
    assert protocol._tasks == set()
    assert protocol._request_futures == {}
    assert server.session.latest._running == {}
    assert len(asyncio.all_tasks()) <= n_tasks
    completer = server.session.completer
    assert isinstance(completer, fakes.FakeCompleter)
    assert completer.n_open == 0
    assert server.session.board.payload()["state"] == "ready"


async def test_a_thousand_keys_leave_no_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real completer over a script: typed along or not, cancelled or not, edited in between, asked for several."""
    monkeypatch.setattr(completer_module, "LINGER_S", 0.005)
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"chunks": ["a"] * 30, "others": [["b"] * 30], "delay_s": 0.002}))
    config = Config(max_debounce_s=0.01, records=False)
    server = MidfillServer(config, lambda config, status, sources: ScriptedLink(config, status, script, sources))
    sender = server.protocol.sender = Sent()
    ask(server, 0, "initialize", {"capabilities": {}})
    item = {"uri": "file:///a.py", "languageId": "python", "version": 1, "text": "x = "}
    notify(server, "textDocument/didOpen", {"textDocument": item})
    await asyncio.sleep(0.05)
    n_tasks, random = len(asyncio.all_tasks()), Random(1)
    methods = ("textDocument/inlineCompletion", "midfill/inlineCompletion", "textDocument/completion")
    for n in range(1, 1001):
        text = "x = " + "a" * random.choice((0, 1, 2, 3, 4)) + random.choice(("", "", "", "q"))
        change = {"textDocument": {"uri": "file:///a.py", "version": n + 1}, "contentChanges": [{"text": text}]}
        notify(server, "textDocument/didChange", change)
        kind = {"triggerKind": random.choice((1, 2, 2))}
        ask(server, n, methods[n % 3], at("file:///a.py", 0, len(text), partialResultToken=n, context=kind))
        if n % 2:
            await asyncio.sleep(random.choice((0, 0, 0.003)))
        if random.random() < 0.6:
            notify(server, "$/cancelRequest", {"id": n})
    notify(server, "textDocument/didClose", {"textDocument": {"uri": "file:///a.py"}})
    subject = server.session.completer
    assert isinstance(subject, completer_module.Completer)
    await subject.aclose()
    await asyncio.sleep(0.1)
    assert all(n_answers(sender, n) == 1 for n in range(1, 1001))
    assert not [m for m in sender.messages if m.get("error", {}).get("code") not in (None, -32800)]
    assert subject.reuse.running == []
    assert server.session.latest._running == {}
    assert server.protocol.pending == {}
    assert len(asyncio.all_tasks()) <= n_tasks
    assert isinstance(subject.engine, ScriptedEngine)
    assert 0 < subject.engine.n_cancelled <= subject.engine.n_requests < 1000
    server.stopping()


async def test_a_newer_request_begins_before_the_older_one_ends() -> None:
    server, _ = await started()
    completer = server.session.completer
    assert isinstance(completer, fakes.FakeCompleter)
    opened: list[int] = []
    ask(server, 1, "midfill/inlineCompletion", at("file:///a.py", 0, 3))
    await asyncio.sleep(0.03)
    ask(server, 2, "midfill/inlineCompletion", at("file:///a.py", 0, 4))
    for _ in range(4):
        opened.append(completer.n_open)
        await asyncio.sleep(0)
    assert max(opened) == 2  # both for a moment: the newer one can take the generation over
    await asyncio.sleep(0.01)
    assert completer.n_open == 1


async def test_shutdown_ends_everything() -> None:
    server, sender = await started()
    ask(server, 1, "midfill/inlineCompletion", at("file:///a.py", 0, 4))
    await asyncio.sleep(0.02)
    ask(server, 2, "shutdown", None)
    await asyncio.sleep(0.05)
    assert n_answers(sender, 1) == n_answers(sender, 2) == 1
    assert server.protocol._tasks == set()
    assert server.session.engine.link is None


async def test_a_slow_client_misses_only_what_the_answer_repeats() -> None:
    server, sender = await started()
    sender.is_slow = True
    params = at("file:///a.py", 0, 4, partialResultToken="t")
    for msg_id, method, n_values in ((1, "midfill/inlineCompletion", 0), (2, "textDocument/completion", 1)):
        sender.messages.clear()
        ask(server, msg_id, method, params)
        while not n_answers(sender, msg_id):
            await asyncio.sleep(0.01)
        items = [m["params"]["value"]["items"] for m in sender.messages if m.get("method") == "$/progress"]
        assert len(items) == n_values
        items += [m["result"]["items"] for m in sender.messages if "result" in m]
        assert sum(map(len, items)) == 1
        await asyncio.sleep(0.05)
        states = [m["params"]["state"] for m in sender.messages if m.get("method") == "midfill/status"]
        assert states == ["generating", "ready"]
    server.stopping()
