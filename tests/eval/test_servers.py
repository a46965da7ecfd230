"""Another language server beside midfill's: a program that answers as servers do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from midfill.context.definitions import Target
from midfill.eval import servers
from midfill.eval.servers import LanguageServer, read
from midfill.types import MidfillError
from tests.support import at

# It says which documents are open, with the length of their texts, and where it was asked.
PROGRAM = """
import json, sys
stdin, stdout, texts, n_asked = sys.stdin.buffer, sys.stdout.buffer, {}, 0
def send(message):
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    stdout.write(b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body)
    stdout.flush()
while line := stdin.readline():
    length = int(line.split(b":")[1])
    stdin.readline()
    message = json.loads(stdin.read(length))
    method, params = message.get("method"), message.get("params")
    if method == "initialize":
        send({"id": 7, "method": "workspace/configuration", "params": {"items": [{}, {}]}})
        send({"id": message["id"], "result": {}})
    elif method == "textDocument/didOpen":
        texts[params["textDocument"]["uri"]] = len(params["textDocument"]["text"])
    elif method == "textDocument/didChange":
        texts[params["textDocument"]["uri"]] = len(params["contentChanges"][0]["text"])
    elif method == "textDocument/didClose":
        del texts[params["textDocument"]["uri"]]
    elif method == "textDocument/signatureHelp":
        send({"id": message["id"], "result": {"signatures": [{"label": "f(a)", "parameters": [{"label": "a"}]}]}})
    elif method in ("textDocument/definition", "textDocument/typeDefinition"):
        span = {"start": {"line": 3, "character": 0}, "end": {"line": 3, "character": 1}}
        link = {"targetUri": "file:///w/a%20b.py", "targetRange": span, "targetSelectionRange": span}
        send({"id": message["id"], "result": [link] if "type" in method else {"uri": "file:///w/a.py", "range": span}})
    elif method == "textDocument/hover":
        send({"id": message["id"], "result": {"contents": {"kind": "markdown", "value": "a hover"}}})
    elif method == "textDocument/completion":
        n_asked += 1
        names = [f"n{length}" for length in texts.values()] + [f"c{params['position']['character']}"]
        names = names[: n_asked] if PARTIAL else names
        items = [{"label": name, "kind": 5} for name in names] if n_asked > MUTE else []
        send({"id": message["id"], "result": items})
"""


@pytest.fixture
def mute() -> int:
    return 0


@pytest.fixture
def partial() -> bool:
    """Whether the first answer has only one name."""
    return False


@pytest.fixture
def server(tmp_path: Path, mute: int, partial: bool) -> Iterator[LanguageServer]:
    file = tmp_path / "other.py"
    file.write_text(PROGRAM.replace("MUTE", str(mute)).replace("PARTIAL", str(partial)))
    subject = LanguageServer([sys.executable, str(file)], tmp_path)
    yield subject
    subject.stop()


def test_a_document_is_shown_and_changed(server: LanguageServer) -> None:
    for _ in range(2):
        for text in ("a.‸", "'𝄞', abc.‸"):
            snapshot = at(text)
            server.show(snapshot)
            column = len(snapshot.text.encode("utf-16-le")) // 2
            assert server.names(snapshot, snapshot.cursor) == ([f"n{len(snapshot.text)}", f"c{column}"], True)


@pytest.mark.parametrize("mute", [1])
def test_a_server_that_still_reads_is_asked_again(server: LanguageServer) -> None:
    snapshot = at("a.‸")
    server.show(snapshot)
    assert server.names(snapshot, snapshot.cursor) == ([], False)
    assert server.names(snapshot, snapshot.cursor, 1.0) == (["n2", "c2"], True)


@pytest.mark.parametrize("partial", [True])
def test_a_server_that_knows_only_the_document_at_first_is_asked_again(
    server: LanguageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "STEADY_S", 0.0)
    snapshot = at("a.‸")
    server.show(snapshot)
    assert server.names(snapshot, snapshot.cursor) == (["n2", "c2"], True)


def test_what_a_call_takes_and_what_a_name_is(server: LanguageServer) -> None:
    snapshot = at("f(‸")
    server.show(snapshot)
    assert [one["label"] for one in server.signatures(snapshot, snapshot.cursor)] == ["f(a)"]
    assert server.definition(snapshot, 0, of_type=False) == ([Target("/w/a.py", 3)], "a hover")
    assert server.definition(snapshot, 0, of_type=True) == ([Target("/w/a b.py", 3)], "a hover")


def test_no_such_program(tmp_path: Path) -> None:
    with pytest.raises(MidfillError, match="no-such-server is not there"):
        LanguageServer(["no-such-server"], tmp_path)


ITEM = {"label": "price", "kind": 5}
MANY = [{"label": f"n{i}", "kind": 5} for i in range(100)]


@pytest.mark.parametrize(("result", "is_begun", "names", "is_complete"), [
    (None, False, [], False),
    ([ITEM, ITEM], True, ["price"], True),
    ({"isIncomplete": True, "items": [ITEM]}, False, ["price"], True),
    ({"isIncomplete": True, "items": [ITEM]}, True, ["price"], False),
    ([ITEM, {"label": "word", "kind": 1}, {"label": "if", "kind": 14}], False, ["price"], False),
    ({"isIncomplete": True, "items": MANY}, False, [one["label"] for one in MANY], False),  # cut there
    ({"isIncomplete": True, "items": MANY[:99]}, False, [one["label"] for one in MANY[:99]], True),
    ([ITEM, *({"label": f"if{i}", "kind": 14} for i in range(6))], False, [], False),  # what is in scope
    ({"isIncomplete": False, "items": MANY}, False, [one["label"] for one in MANY], True),
])  # fmt: skip
def test_a_list_as_clients_read_it(result: Any, is_begun: bool, names: list[str], is_complete: bool) -> None:
    assert read(result, is_begun=is_begun) == (names, is_complete)
