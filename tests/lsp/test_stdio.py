"""The process: how it starts, how it leaves, and what cannot disturb it."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .client import COMMAND, Client, at, frame
from .conftest import Launch

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes and signals")


@pytest.fixture
def launch(launch: Launch) -> Launch:
    """Start a server as an editor does."""
    return functools.partial(launch, args=[*COMMAND, "--stdio"])


def left(client: Client, what: str) -> int:
    start = time.monotonic()
    code = client.exit_code(10)
    print(f"left {time.monotonic() - start:.2f} s after {what}")
    return code


def busy(client: Client) -> None:
    uri = client.open("x = 1\n")
    for method in ("midfill/debugBlock", "midfill/debugSleepThread", "midfill/debugSleep"):
        client.request(method, {"seconds": 60})
    client.request("midfill/inlineCompletion", at(uri, 0, 3, partialResultToken=1))
    time.sleep(0.1)


def test_exit_without_shutdown(client: Client) -> None:
    client.notify("exit")
    assert left(client, "exit") == 1


def test_exit_before_initialize(launch: Launch) -> None:
    client = launch()
    client.notify("exit")
    assert left(client, "exit") == 1


@pytest.mark.parametrize("how", ["eof", "SIGTERM", "SIGINT", "exit"])
@pytest.mark.parametrize("load", [False, True])
def test_leaves(client: Client, how: str, load: bool) -> None:
    if load:
        busy(client)
    if how == "eof":
        client.close_stdin()
    elif how == "exit":
        client.call("shutdown")
        client.notify("exit")
    else:
        client.process.send_signal(getattr(signal, how))
    code = left(client, how)
    assert code == {"eof": 1, "exit": 0, "SIGTERM": 143, "SIGINT": 130}[how]


def test_an_answer_is_written_before_it_leaves(client: Client) -> None:
    client.send_bytes(
        frame({"jsonrpc": "2.0", "id": "s", "method": "shutdown"}) + frame({"jsonrpc": "2.0", "method": "exit"})
    )
    assert client.exit_code() == 0
    assert client.response("s")["result"] is None


def test_eof_in_a_message(client: Client) -> None:
    client.send_bytes(b"Content-Length: 500\r\n\r\n{")
    client.close_stdin()
    left(client, "EOF in a message")


def test_a_client_that_closed_its_end(client: Client) -> None:
    assert client.process.stdout is not None
    client.reading.clear()
    client.request("midfill/status")
    time.sleep(0.2)
    client.process.stdout.close()
    for _ in range(5):
        try:
            client.request("midfill/status")
        except OSError:
            break
        time.sleep(0.1)
    left(client, "a broken pipe")


@pytest.mark.parametrize("reaped", [True, False])
def test_the_editor_is_gone(launch: Launch, reaped: bool) -> None:
    editor = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    client = launch()
    client.initialize(processId=editor.pid)
    assert client.result("midfill/status")
    editor.kill()
    if reaped:
        editor.wait()
    left(client, "the editor's end")
    editor.communicate()


def test_standard_descriptors_may_be_closed(launch: Launch) -> None:
    client = launch(preexec_fn=lambda: os.close(2))
    client.initialize()
    assert client.result("midfill/debugPrint") == {}
    assert client.garbage == b""


def test_a_hostile_working_directory(launch: Launch, tmp_path: Path) -> None:
    hostile = tmp_path / "repository"
    hostile.mkdir()
    for name in ("asyncio", "torch", "json", "multiprocessing", "midfill", "logging", "fakes", "sitecustomize"):
        (hostile / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})")
    client = launch(cwd=hostile)
    client.initialize(rootUri=hostile.as_uri())
    client.ready()
    assert client.result("midfill/debugPrint") == {}
    assert not (tmp_path / "ran").exists()


def test_torch_is_not_imported(client: Client) -> None:
    maps = Path(f"/proc/{client.process.pid}/maps").read_text(encoding="utf-8")
    assert "libtorch" not in maps


def test_the_log_is_private_and_holds_no_source(launch: Launch, tmp_path: Path) -> None:
    client = launch()
    client.initialize(initializationOptions={"midfill": {"logLevel": "info"}})
    uri = client.open("canary_text = 1")
    client.call("textDocument/inlineCompletion", at(uri, 0, 3))
    client.call("midfill/debugRaise", {"text": "canary_text"})
    log = tmp_path / "STATE" / "log" / "lsp.log"
    assert log.stat().st_mode & 0o777 == 0o600
    text = log.read_text(encoding="utf-8")
    assert "debugRaise" in text
    assert "canary_text" not in text


def test_a_client_that_does_not_read(launch: Launch) -> None:
    client = launch()
    client.initialize()
    uri = client.open("y" * (1 << 20))
    client.call("midfill/status")
    client.reading.clear()
    time.sleep(0.1)
    client.request("midfill/status")  # the reader takes one more turn
    assert client.process.stdin is not None
    os.set_blocking(client.process.stdin.fileno(), False)
    message = frame({"jsonrpc": "2.0", "id": "d", "method": "midfill/debugDocumentText", "params": {"uri": uri}})
    n_sent = 0
    quiet_since = time.monotonic()
    while n_sent < 300 and time.monotonic() - quiet_since < 1.5:
        n_written = client.process.stdin.write(message)
        if n_written is None:
            time.sleep(0.02)
            continue
        quiet_since = time.monotonic()
        if n_written < len(message):
            break
        n_sent += 1
        time.sleep(0.01)
    with open(f"/proc/{client.process.pid}/status", encoding="utf-8") as stream:  # noqa: PTH123
        peak_kb = next(int(line.split()[1]) for line in stream if line.startswith("VmHWM"))
    print(f"sent {n_sent} requests for 1 MiB each without reading; peak memory {peak_kb / 1024:.0f} MiB")
    assert peak_kb < 250_000
    os.set_blocking(client.process.stdin.fileno(), True)
    client.close_stdin()
    left(client, "EOF, with a full queue")
