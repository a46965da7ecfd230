"""A report for an issue holds nothing of the user's: there are canaries everywhere that midfill looks, and none in the
report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from midfill import records
from midfill.commands import bundle
from midfill.types import MidfillError
from tests.fuzz.wire import Wire, folders, key

CANARY = "CanaryError7q"
HOME = f"home-{CANARY}-é"


def session(home: Path, env: dict[str, str]) -> None:
    """A language server whose user has canaries in the text, the file names, the settings and the environment."""
    workspace = home / f"ws-{CANARY}"
    workspace.mkdir()
    (workspace / f"{CANARY}.py").write_text(f"def {CANARY}(): pass\n")
    wire = Wire(env, home)
    try:
        wire.request("hello", "initialize", {
            "capabilities": {}, "processId": None, "rootUri": workspace.as_uri(), "clientInfo": {"name": CANARY},
            "initializationOptions": {CANARY: CANARY, "logLevel": "debug", "maxTokens": CANARY},
        })  # fmt: skip
        wire.notify("initialized", {})
        item = {"uri": f"file:///{CANARY}.py", "languageId": CANARY, "version": 1, "text": f"{CANARY} = (\n"}
        wire.notify("textDocument/didOpen", {"textDocument": item})
        at = {
            "textDocument": {"uri": item["uri"]},
            "position": {"line": 0, "character": 17},
            "context": {"triggerKind": 1},
        }
        wire.request("ask", "textDocument/inlineCompletion", at)
        assert wire.wait(lambda: wire.answers[key("ask")] > 0)
        wire.request("raise", "midfill/debugRaise", {"text": CANARY})
        wire.request(f"{CANARY}", f"no/{CANARY}", {CANARY: CANARY})
        wire.notify("textDocument/didChange", {CANARY: CANARY})
        wire.request("bye", "shutdown")
        assert wire.wait(lambda: wire.answers[key("bye")] > 0)
        wire.notify("exit")
        wire.process.wait(10)
    finally:
        wire.close()


@pytest.fixture
def env(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    home = tmp_path / HOME
    home.mkdir()
    script = home / f"script-{CANARY}.json"
    script.write_text(json.dumps({"chunks": [CANARY, " + b"]}))
    settings = {"model": f"/models/{CANARY}", "adapter": CANARY, "disabled_files": [CANARY],
                "disabled_languages": [CANARY], "disabled_rules": ["balance"],
                "max_tokens": 77, "adapters": [f"go={CANARY}"]}  # fmt: skip
    env = {**folders(home, **settings), "MIDFILL_SCRIPT": str(script), "MIDFILL_DEBUG_METHODS": "1", "HOME": str(home),
           "HF_TOKEN": CANARY, f"MIDFILL_{CANARY}": CANARY, "USER": CANARY, "LOGNAME": CANARY}  # fmt: skip
    adapter = home / "DATA" / "adapters" / CANARY
    adapter.mkdir(parents=True)
    return home, env


def test_no_canary_is_in_it(env: tuple[Path, dict[str, str]]) -> None:
    home, environment = env
    session(home, environment)
    log = home / "STATE" / "log"
    with (log / "lsp.log").open("a") as stream:  # what a library, or a version to come, may write
        for line in (f"WARNING {CANARY}: {CANARY}", f"ERROR midfill.lsp: {CANARY} failed: {CANARY}", "ERROR x: odd"):
            stream.write(f"2026-01-01 00:00:00,000 1 {line}\n")
        stream.write(f"{CANARY}: {CANARY}\nValueError: {CANARY}\nTraceback (most recent call last):\n  {CANARY}\n")
    (log / "engine.log").write_text(f"RuntimeError: {CANARY}\nmidfill: {CANARY}\n")
    trace = (
        json.loads((home / "STATE" / "last-trace.json").read_text())
        if (home / "STATE" / "last-trace.json").exists()
        else {}
    )
    trace |= {"refused": CANARY, CANARY: 5, "stats": {CANARY: 1, "n_prompt": 3}, "n_shown": 2, "hit": "cache"}
    (home / "STATE" / "last-trace.json").write_text(json.dumps(trace))
    command = [sys.executable, "-P", "-m", "midfill", "doctor", "--bundle"]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=True)
    said = done.stdout
    assert CANARY not in said
    assert "7q" not in done.stderr
    assert str(home) not in said
    assert "/" not in said
    for expected in ("midfill 0.", "max_tokens = 77 (changed)", "model = a value of the user's (changed)",
                     "disabled_rules = ['balance'] (changed)", "%s failed: %s [RuntimeError]", "1 x ValueError",
                     "ERROR another message", "n_prompt: 3", "hit: cache", "suggestions in 7 days",
                     "ok: python"):  # fmt: skip
        assert expected in said, said
    assert "failed: " not in said.replace("%s failed: ", "")  # every part of the report came


def test_it_is_written_to_a_file(env: tuple[Path, dict[str, str]]) -> None:
    home, environment = env
    command = [sys.executable, "-P", "-m", "midfill", "doctor", "--bundle", str(home / "report.txt")]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=True)
    assert "no code, no paths" in done.stdout
    assert CANARY not in (home / "report.txt").read_text() + done.stdout
    command[-1] = str(home / "no" / "folder" / "report.txt")
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        1,
        "midfill: cannot write the report: No such file or directory",
    )


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ERROR midfill.lsp.protocol: textDocument/x failed: KeyError", "ERROR %s failed: %s [KeyError]"),
        ("ERROR midfill.x: secret_thing = 5", "ERROR another message"),
        ("WARNING midfill.lsp.server: the engine failed: /home/me/x (run)", "WARNING the engine failed: %s"),
    ],
)
def test_a_line_is_told_by_its_kind(line: str, kind: str) -> None:
    assert bundle._kinds([f"2026-01-01 00:00:00,000 1 {line}"]) == [(kind, 1)]


def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "report", lambda: pytest.fail("the report was made"))
    with pytest.raises(MidfillError, match="cannot write the report: No such file or directory"):
        bundle.run(str(tmp_path / "no" / "report.txt"))


def test_an_earlier_report_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.txt"
    file.write_text("an earlier and longer report\n")
    monkeypatch.setattr(bundle, "report", lambda: iter(("a", "b")))
    assert bundle.run(str(file)) == 0
    assert file.read_text() == "a\nb\n"


def test_a_broken_part_does_not_end_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(days: float) -> None:
        raise ValueError(CANARY)

    monkeypatch.setattr(records, "rows", broken)
    said = list(bundle.report())
    assert "failed: ValueError" in said
    assert "## logs" in said
    assert CANARY not in "\n".join(said)
