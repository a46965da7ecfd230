"""The debugging transport: a session for each connection."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .client import COMMAND, frame


def start(host: str, environment: dict[str, str], cwd: Path) -> subprocess.Popen[str]:
    command = [*COMMAND, "--tcp", f"{host}:0"]
    return subprocess.Popen(command, env=environment, cwd=cwd, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def port(environment: dict[str, str], tmp_path: Path) -> Iterator[int]:
    process = start("127.0.0.1", environment, tmp_path)
    assert process.stderr is not None
    match = re.search(r":(\d+)$", process.stderr.readline())
    assert match
    yield int(match[1])
    process.terminate()
    assert process.wait(5) == 143
    process.stderr.close()


class Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.file = self.socket.makefile("rb")

    def call(self, method: str, params: Any) -> Any:
        self.socket.sendall(frame({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        while True:
            length = int(self.file.readline().split(b":")[1])
            self.file.readline()
            message = json.loads(self.file.read(length))
            if message.get("id") == 1:
                return message

    def close(self) -> None:
        self.file.close()
        self.socket.close()


def test_sessions_are_separate(port: int) -> None:
    one, two = Connection(port), Connection(port)
    assert "result" in one.call("initialize", {"capabilities": {}})
    assert two.call("midfill/status", {})["error"]["code"] == -32002
    assert "result" in two.call("initialize", {"capabilities": {}})
    one.socket.sendall(frame({"jsonrpc": "2.0", "method": "exit"}))
    one.close()
    assert "result" in two.call("midfill/status", {})
    two.close()
    three = Connection(port)
    assert "result" in three.call("initialize", {"capabilities": {}})
    three.close()


def test_a_web_page_is_no_client(port: int) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}).encode()
    with socket.create_connection(("127.0.0.1", port), 10) as web:
        web.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        data = b""
        while chunk := web.recv(65536):
            data += chunk
    assert data == b""


def test_only_loopback(environment: dict[str, str], tmp_path: Path) -> None:
    process = start("0.0.0.0", environment, tmp_path)
    _, errors = process.communicate(timeout=20)
    assert process.returncode
    assert "not a loopback address" in errors
