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


def start(host: str, environment: dict[str, str], cwd: Path, port: int = 0) -> subprocess.Popen[str]:
    command = [*COMMAND, "--tcp", f"{host}:{port}"]
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


@pytest.mark.parametrize("path", ["/", "/a:b", "http://127.0.0.1/"])
def test_a_web_page_is_no_client(port: int, path: str) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}).encode()
    with socket.create_connection(("127.0.0.1", port), 10) as web:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        web.sendall(head.encode() + body)
        data = b""
        web.settimeout(5)
        while chunk := web.recv(65536):
            data += chunk
    assert data == b""


def test_only_loopback(environment: dict[str, str], tmp_path: Path) -> None:
    process = start("0.0.0.0", environment, tmp_path)
    _, errors = process.communicate(timeout=20)
    assert process.returncode
    assert "not a loopback address" in errors


def test_a_port_in_use(environment: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start("127.0.0.1", environment, tmp_path, taken.getsockname()[1])
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "Address already in use\n  -> choose another port" in errors
    assert "Traceback" not in errors
