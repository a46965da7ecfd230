"""Typing into a normal file, through the real server, while its workspace holds files that are too much to parse."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tests.context import hostile

from .client import Client, at
from .conftest import Launch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

PATIENCE_S = 120.0
MAX_SERVER_KB = 250_000


def parsing(client: Client) -> set[int]:
    """Return the server's child processes that parse."""
    found = set()
    for file in Path(f"/proc/{client.process.pid}/task").glob("*/children"):
        for pid in file.read_text().split():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if b"midfill.context.parsing" in command:
                found.add(int(pid))
    return found


def processor_s(pid: int) -> float:
    """Return the processor seconds that a process has used; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def a_busy_child(client: Client) -> int:
    """Wait for a child that has worked for longer than any file takes that a person wrote."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for pid in parsing(client):
            if processor_s(pid) > 0.45:
                return pid
        time.sleep(0.02)
    raise AssertionError("no process was busy")


def peak_kb(client: Client) -> int:
    with open(f"/proc/{client.process.pid}/status", encoding="utf-8") as stream:  # noqa: PTH123
        return next(int(line.split()[1]) for line in stream if line.startswith("VmHWM"))


def test_typing_goes_on_while_the_workspace_is_read(launch: Launch, tmp_path: Path) -> None:
    root = hostile.workspace(tmp_path / "workspace", 5)
    client = launch()
    client.initialize(rootUri=root.as_uri(), initializationOptions={"midfill": {"logLevel": "info"}})
    client.ready()
    uri = client.open("def add(a, b):\n    return ", uri=(root / "main.py").as_uri())
    ended: set[int] = set()
    version = 1
    n_answered = 0
    while len(ended) < 2 or not n_answered:
        busy = a_busy_child(client)
        before = processor_s(busy)
        while busy in parsing(client):
            version += 1
            end = {"line": 1, "character": 11 + version - 2}
            change = {"range": {"start": end, "end": end}, "text": "a"}
            document = {"uri": uri, "version": version}
            client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})
            answer = client.result("textDocument/inlineCompletion", at(uri, 1, end["character"] + 1))
            assert answer is None or "items" in answer
            n_answered += processor_s(busy) > before  # it has gone on with its text meanwhile
        ended.add(busy)
    log = tmp_path / "STATE" / "log" / "lsp.log"
    deadline = time.monotonic() + PATIENCE_S
    while log.read_text(encoding="utf-8").count("a process that parses was ended") < 2:  # written once it is gone
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert peak_kb(client) < MAX_SERVER_KB
    maps = Path(f"/proc/{client.process.pid}/maps").read_text(encoding="utf-8")
    assert "tree_sitter" not in maps  # no grammar is loaded where the loop runs


def test_a_hostile_document_is_opened(launch: Launch) -> None:
    client = launch()
    client.initialize()
    client.ready()
    uris = [
        client.open("'''\n" * 48_000, "untitled:a.js", "javascript"),
        client.open(("A<" * 900 + "\n") * 100, "untitled:B.java", "java"),
        client.open(("a<" * 900 + "\n") * 100, "untitled:c.cpp", "cpp"),
    ]
    busy = a_busy_child(client)
    for uri in uris:
        answer = client.result("textDocument/inlineCompletion", at(uri, 0, 0))
        assert answer is None or "items" in answer
    assert client.result("midfill/status")["state"] in ("ready", "generating")
    assert peak_kb(client) < MAX_SERVER_KB
    client.close_stdin()
    client.exit_code(20)
    deadline = time.monotonic() + PATIENCE_S
    while processor_s(busy) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not processor_s(busy)  # it is not left behind
