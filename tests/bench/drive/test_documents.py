"""Documents out of an editor's messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.drive.documents import Documents, changed


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
    documents = Documents(log)
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
