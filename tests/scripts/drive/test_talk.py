"""Documents and open questions out of the messages of an editor and the server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scripts.drive.talk import Talk, changed


def at(line: int, character: int) -> dict[str, int]:
    return {"line": line, "character": character}


@pytest.mark.parametrize(
    ("text", "start", "end", "new", "after"),
    [
        ("ab\ncd", at(1, 1), at(1, 1), "x", "ab\ncxd"),
        ("ab\ncd", at(0, 1), at(1, 1), "", "ad"),
        ("🙂a", at(0, 2), at(0, 3), "b", "🙂b"),  # two UTF-16 units
        ("", at(0, 0), at(0, 0), "new\n", "new\n"),
    ],
)
def test_one_change(text: str, start: dict[str, int], end: dict[str, int], new: str, after: str) -> None:
    assert changed(text, {"range": {"start": start, "end": end}, "text": new}) == after


def test_the_log_is_read_as_it_grows(tmp_path: Path) -> None:
    log = tmp_path / "wire.jsonl"
    documents = Talk(log)
    assert documents.text("a.py") == ""
    document = {"uri": "file:///p/a.py", "version": 1, "text": "x\n"}
    opened = {"side": "client", "method": "textDocument/didOpen", "params": {"textDocument": document}}
    change = {"range": {"start": at(0, 1), "end": at(0, 1)}, "text": " = 1"}
    edit = {"side": "client", "method": "textDocument/didChange",
            "params": {"textDocument": document, "contentChanges": [change]}}  # fmt: skip
    half = json.dumps(edit)
    log.write_text(json.dumps(opened) + "\n" + half[:20])
    assert documents.text("a.py") == "x\n"
    log.write_text(json.dumps(opened) + "\n" + half + "\n")
    assert documents.text("a.py") == "x = 1\n"


def test_a_question_waits_for_its_answer(tmp_path: Path) -> None:
    log = tmp_path / "wire.jsonl"
    talk = Talk(log)
    assert talk.is_answered()
    messages = [
        {"side": "client", "id": 7, "method": "midfill/inlineCompletion", "params": {}},
        {"side": "server", "id": 7, "method": "workspace/configuration", "params": {}},  # the server's own question
        {"side": "client", "id": 8, "method": "midfill/why", "params": {}},
        {"side": "server", "id": 7, "error": {"code": -32800}},
    ]
    for n, answered in enumerate([False, False, False, True]):
        log.write_text("".join(json.dumps(message) + "\n" for message in messages[: n + 1]))
        assert talk.is_answered() == answered
