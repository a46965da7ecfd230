"""Training waits while an engine works, and not longer."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest
import torch

from midfill.train import throttle
from midfill.train.engines import Engines
from midfill.train.priority import lower_priority
from midfill.train.throttle import Throttle

PATIENCE_S = 60.0


class FakeEngine(ThreadingUnixStreamServer):
    """Answers /midfill/stats."""

    daemon_threads = True
    n_active = n_requests = 0
    tokens: list[str]

    def get_request(self) -> Any:
        request, _ = super().get_request()
        return request, ("local", 0)


class Answers(BaseHTTPRequestHandler):
    server: FakeEngine

    def do_GET(self) -> None:
        self.server.tokens.append(self.headers["Authorization"])
        totals = {"n_requests": self.server.n_requests}
        body = json.dumps({"n_active": self.server.n_active, "n_waiting": 0, "totals": totals}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    with tempfile.TemporaryDirectory(prefix="mf-") as name:
        monkeypatch.setenv("MIDFILL_RUNTIME_DIR", name)
        folder = Path(name)
        with FakeEngine(str(folder / "engine-x.sock"), Answers) as server:
            server.tokens = []
            record = {
                "pid": os.getpid(),
                "socket": str(folder / "engine-x.sock"),
                "port": 0,
                "token": "t",
                "version": "",
            }
            (folder / "engine-x.json").write_text(json.dumps(record))
            (folder / "engine-x.json").chmod(0o600)
            (folder / "engine-dead.json").write_text(json.dumps({**record, "socket": str(folder / "gone.sock")}))
            (folder / "engine-dead.json").chmod(0o600)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield server
            server.shutdown()


class Stack(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def until(subject: Throttle, busy: bool) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while subject.is_busy is not busy:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_waits_between_layers_while_an_engine_works(engine: FakeEngine) -> None:
    model = Stack()
    subject = Throttle().start()
    subject.attach(model)
    engine.n_active = 1
    until(subject, True)
    done = threading.Event()

    def work() -> None:
        model(torch.ones(1, 4)).sum().backward()
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert not done.wait(0.3)
    engine.n_active = 0
    assert done.wait(PATIENCE_S)
    assert set(engine.tokens) == {"Bearer t"}
    subject.close()


def test_requests_between_two_looks_are_seen(engine: FakeEngine) -> None:
    """Most requests take less than the time between two looks."""
    subject = Engines()
    assert [subject.were_asked, subject.were_asked] == [False, False]
    engine.n_requests = 3
    assert [subject.were_asked, subject.were_asked] == [True, False]
    engine.n_active = 1
    assert [subject.were_asked, subject.were_asked] == [True, True]
    subject.close()


def test_engines_that_come_and_go(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = 0.0
    subject = Engines(lambda: now)
    engine.n_active = 1
    assert subject.are_busy
    monkeypatch.setenv("MIDFILL_RUNTIME_DIR", str(tmp_path / "empty"))
    now = 6.0
    assert not subject.are_busy
    subject.close()


def test_it_does_not_wait_for_ever(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "MAX_WAIT_S", 0.1)
    subject = Throttle().start()
    engine.n_active = 1
    until(subject, True)
    subject.wait()
    assert subject.is_busy
    subject.close()


def test_without_an_engine_nothing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_RUNTIME_DIR", str(tmp_path / "r"))
    subject = Throttle().start()
    time.sleep(0.2)
    assert not subject.is_busy
    subject.close()


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux has the idle class")
def test_the_idle_class() -> None:
    read, write = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        lower_priority()
        write.send(str(os.sched_getscheduler(0)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert int(read.recv(10)) == os.SCHED_IDLE
    assert os.sched_getscheduler(0) != os.SCHED_IDLE
