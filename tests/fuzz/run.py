"""A fuzzed session with the real server over stdio: batches of messages, and after each a check that nothing is
owed."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.messages import CANARY, Fuzzer
from tests.fuzz.wire import Footprint, Wire, folders, key

BATCH = 1000
ERRORS = frozenset({-32700, -32600, -32601, -32602, -32800})  # the answers to a client's own mistakes and cancels
WARM = 10  # batches until every module is loaded and every cache is full


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """The result of a session."""

    n_messages: int
    n_requests: int
    n_answers: int
    codes: dict[int, int]
    seconds: float
    warm: Footprint
    end: Footprint

    def __str__(self) -> str:
        return (
            f"{self.n_messages} messages, {self.n_requests} requests, {self.n_answers} answers in {self.seconds:.0f} s;"
            f" errors {self.codes}; after the warm-up {self.warm}; at the end {self.end}"
        )


class Heard:
    """Judges the server's messages as they come."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.codes: Counter[int] = Counter()
        self.internal: list[tuple[str, Any]] = []
        self._lock = threading.Lock()

    def __call__(self, message: dict[str, Any]) -> None:
        method = message.get("method", "")
        if method.startswith("window/show") or method == "window/logMessage":
            self._fault(message)
        error = message.get("error")
        if error is None:
            return
        with self._lock:
            self.codes[error["code"]] += 1
        if error["code"] == -32603:
            self.internal.append(key(message["id"]))
        elif error["code"] not in ERRORS:
            self._fault(message)
        if len(error["message"]) > 40 or "/" in error["message"] or CANARY in error["message"]:
            self._fault(message)

    def _fault(self, message: dict[str, Any]) -> None:
        self.faults.append(json.dumps(message)[:300])


def fuzz(home: Path, n_messages: int, seed: int = 1, say: Callable[[str], None] = lambda _line: None) -> Fuzzed:
    """Send ``n_messages`` in one session. Raises AssertionError if anything is left unanswered, answered twice or
    leaked."""
    workspace = home / "workspace"
    for name in ("f0", "f1", "f2"):
        (workspace / name).mkdir(parents=True)
        (workspace / name / f"{CANARY}.py").write_text(f"def {CANARY}(a): return a\n", encoding="utf-8")
    script = home / "script.json"
    script.write_text(
        json.dumps({"chunks": ["a", " + b", "\n"], "others": [["c"]], "delay_s": 0.001}), encoding="utf-8"
    )
    env = {**folders(home), "MIDFILL_SCRIPT": str(script), "MIDFILL_DEBUG_METHODS": "1"}
    heard = Heard()
    wire = Wire(env, home, heard)
    try:
        return _session(wire, Fuzzer(seed, workspace), heard, home, n_messages, say)
    finally:
        wire.close()


def _session(
    wire: Wire, client: Fuzzer, heard: Heard, home: Path, n_messages: int, say: Callable[[str], None]
) -> Fuzzed:
    start = time.monotonic()
    capabilities = {"window": {"workDoneProgress": True}, "experimental": {"midfill": {"status": True}}}  # no popups
    wire.request("hello", "initialize", {"capabilities": capabilities, "processId": None})
    client.owed.by_id[key("hello")] += 1
    wire.notify("initialized", {})
    n_sent, n_batches, n_requests, n_answers, warm = 0, 0, 0, 0, None
    while n_sent < n_messages:
        n = min(BATCH, n_messages - n_sent)
        wire.send(b"".join(client.next() for _ in range(n)) + client.reset_damage())
        wire.notify("workspace/didChangeConfiguration", {"settings": {"midfill": {"enabled": True}}})
        ping, ping_key = client.ping()
        wire.send(ping)
        n_sent, n_batches = n_sent + n, n_batches + 1
        done, told = _settle(wire, client, ping_key)
        n_requests, n_answers = n_requests + done, n_answers + told
        assert not heard.faults, heard.faults[:3]
        others = [one for one in heard.internal if one not in client.raised]
        assert not others, [f"-32603: {client.sent.get(one)}"[:600] for one in others[:3]]
        heard.internal.clear()
        client.raised.clear()
        client.sent.clear()
        if n_batches == WARM:
            warm = Footprint.of(wire.process.pid)
        if n_batches % 50 == 0:
            say(f"{n_sent} messages, {time.monotonic() - start:.0f} s, {Footprint.of(wire.process.pid)}")
    end = Footprint.of(wire.process.pid)
    _leave(wire)
    _nothing_told(home)
    return Fuzzed(n_sent, n_requests, n_answers, dict(heard.codes), time.monotonic() - start, warm or end, end)


def _settle(wire: Wire, client: Fuzzer, ping_key: tuple[str, Any]) -> tuple[int, int]:
    """Wait for everything that is owed; return how much that was, and how many answers came."""
    owed = client.owed
    assert wire.wait(lambda: wire.answers[ping_key] >= 1), "the server does not answer a ping"
    wire.wait(lambda: all(wire.answers[one] >= n for one, n in owed.by_id.items()))
    nobody = key(None)
    if owed.is_exact:
        wire.wait(lambda: wire.answers[nobody] >= owed.n_nameless)
        assert wire.answers[nobody] == owed.n_nameless, (
            f"{wire.answers[nobody]} answers without id, {owed.n_nameless} owed"
        )
    wrong = {one: (n, wire.answers[one]) for one, n in owed.by_id.items() if wire.answers[one] != n}
    assert not wrong, [f"owed {n}, answered {m}: {client.sent.get(one)}"[:600] for one, (n, m) in wrong.items()][:5]
    strange = [one for one in wire.answers if one not in owed.by_id and one != nobody]
    assert not strange, f"answers that nobody asked for: {strange[:5]}"
    assert wire.garbage == b""
    n_owed, n_told = sum(owed.by_id.values()), wire.answers.total() - wire.answers[nobody]
    owed.by_id.clear()
    owed.n_nameless, owed.is_exact = 0, True
    wire.answers.clear()
    return n_owed, n_told


def _leave(wire: Wire) -> None:
    wire.request("bye", "shutdown")
    assert wire.wait(lambda: wire.answers[key("bye")] == 1)
    wire.notify("exit")
    assert wire.process.wait(10) == 0


def _nothing_told(home: Path) -> None:
    """Check that no source, no file name and no traceback is on standard error or in a log."""
    logs = [home / "stderr.txt", *(home / "STATE").rglob("*.log*")]
    assert len(logs) > 1
    for log in logs:
        text = log.read_text(encoding="utf-8", errors="replace")
        assert CANARY not in text, log.name
        if log.name == "stderr.txt":
            assert "Traceback" not in text
