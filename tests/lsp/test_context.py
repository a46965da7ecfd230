"""What the language server passes on to the workspace. ``‸`` is where the user typed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from midfill.context.gather import gather
from midfill.context.keeper import OpenDocument
from midfill.lsp.server import MidfillServer
from midfill.types import Snapshot
from tests.lsp.made import ask, notify, open_text, started

CLIENT = "class Client:\n    def send(self, data): ...\n"
USE = "from client import Client\n\n\ndef work(client: Client):\n    client."


async def shown(server: MidfillServer, uri: str, text: str) -> str:
    """Return the context for the end of ``text``, once the workspace has nothing left to do."""
    snapshot = Snapshot(uri, 1, "python", text, len(text), path=uri.rpartition("/")[2])
    assert await asyncio.to_thread(server.session.project.prepare, snapshot, 30.0)
    return "\n".join(snippet.text for snippet in gather([server.session.project], snapshot))


async def test_documents_and_folders_reach_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(CLIENT)
    server = await started(tmp_path)
    uri, client = (tmp_path / "main.py").as_uri(), (tmp_path / "client.py").as_uri()
    assert "client.send(data)" in await shown(server, uri, USE)
    open_text(server, client, CLIENT.replace("send", "post"))
    assert "client.post(data)" in await shown(server, uri, USE)
    change = {
        "textDocument": {"uri": client, "version": 2},
        "contentChanges": [{"text": CLIENT.replace("send", "put")}],
    }
    notify(server, "textDocument/didChange", change)
    assert "client.put(data)" in await shown(server, uri, USE)
    notify(server, "textDocument/didClose", {"textDocument": {"uri": client}})
    assert "client.send(data)" in await shown(server, uri, USE)
    removed = {"event": {"removed": [{"uri": tmp_path.as_uri(), "name": "r"}], "added": []}}
    notify(server, "workspace/didChangeWorkspaceFolders", removed)
    assert await shown(server, uri, USE) == ""


async def test_sources_are_switched_off_while_it_runs(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(CLIENT)
    off = ["imports", "names", "similar", "siblings", "open", "edits"]
    server = await started(tmp_path, disabled_context=tuple(off))
    uri = (tmp_path / "main.py").as_uri()
    assert await shown(server, uri, USE) == ""
    link = server.session.engine.link
    notify(server, "workspace/didChangeConfiguration", {"settings": {"midfill": {"disabledContext": []}}})
    assert "client.send(data)" in await shown(server, uri, USE)
    assert server.session.engine.link is link  # that needs no other engine


async def test_what_is_turned_off_reads_no_folder(tmp_path: Path) -> None:
    (tmp_path / "client.py").write_text(CLIENT)
    server = await started(tmp_path, enabled=False)
    assert await shown(server, (tmp_path / "main.py").as_uri(), USE) == ""


async def test_cells_of_a_notebook_are_no_documents_of_the_workspace() -> None:
    server = await started()
    cell = {"uri": "vscode-notebook-cell:/n.ipynb#1", "languageId": "python", "version": 1, "text": CLIENT}
    notebook = {"uri": "file:///n.ipynb", "notebookType": "jupyter-notebook", "version": 1,
                "cells": [{"kind": 2, "document": cell["uri"]}]}  # fmt: skip
    notify(server, "notebookDocument/didOpen", {"notebookDocument": notebook, "cellTextDocuments": [cell]})
    edit = {"document": {"uri": cell["uri"], "version": 2}, "changes": [{"text": CLIENT + "\n"}]}
    content = {"notebookDocument": {"uri": notebook["uri"], "version": 2}, "change": {"cells": {"textContent": [edit]}}}
    notify(server, "notebookDocument/didChange", content)
    assert await shown(server, "file:///main.py", USE) == ""


@pytest.mark.parametrize(
    ("text", "start", "end", "insert", "typed_at"),
    [
        ("ab\ncd\n", (1, 1), (1, 1), "x", "ab\ncx‸d\n"),
        ("ab\ncd\n", (0, 0), (1, 2), "x\ny", "x\ny‸\n"),
        ("ab\r\ncd\r\n", (1, 2), (1, 2), "\r\n  e", "ab\ncd\n  e‸\n"),
        ("a\U0001f600b\n", (0, 3), (0, 3), "é", "a\U0001f600é‸b\n"),  # a position counts UTF-16 units
        ("ab\n", (0, 0), (0, 2), "", "‸\n"),
        ("\ufeffab\n", (0, 3), (0, 3), "c", "abc‸\n"),
        ("ab", (1, 0), (1, 0), "c", "abc‸"),  # one line past the last means the end
        ("ab", (0, 9), (0, 9), "c", "abc‸"),  # and so does a character past the line's
    ],
)
async def test_where_somebody_typed(
    text: str, start: tuple[int, int], end: tuple[int, int], insert: str, typed_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await started()
    told: list[tuple[OpenDocument, int | None]] = []
    monkeypatch.setattr(server.session.project, "changed", lambda document, cursor: told.append((document, cursor)))
    open_text(server, "file:///a.py", text)
    ends = [{"line": line, "character": character} for line, character in (start, end)]
    change = {"range": {"start": ends[0], "end": ends[1]}, "text": insert}
    params = {"textDocument": {"uri": "file:///a.py", "version": 2}, "contentChanges": [change]}
    notify(server, "textDocument/didChange", params)
    ((document, cursor),) = told
    assert cursor is not None
    assert document.text[:cursor] + "‸" + document.text[cursor:] == typed_at


async def test_a_full_text_tells_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    server = await started()
    told: list[int | None] = []
    monkeypatch.setattr(server.session.project, "changed", lambda _document, cursor: told.append(cursor))
    open_text(server, "file:///a.py", "a")
    params = {"textDocument": {"uri": "file:///a.py", "version": 2}, "contentChanges": [{"text": "b"}]}
    notify(server, "textDocument/didChange", params)
    assert told == [None]


async def test_the_thread_ends_with_the_session() -> None:
    server = await started()
    open_text(server, "file:///a.py", CLIENT)
    ask(server, 9, "shutdown", None)
    await asyncio.sleep(0)
    thread = server.session.project._thread
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
