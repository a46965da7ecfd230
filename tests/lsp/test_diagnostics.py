"""midfill/diagnostics: complaints of other servers are in the prompt, if the setting wants them."""

from __future__ import annotations

from typing import Any

import pytest

from midfill.context.gather import gather
from midfill.lsp.server import MidfillServer
from midfill.types import Snapshot
from tests.lsp.made import notify, open_text, started

URI = "file:///w/a.py"
TEXT = "def f(order):\n    a = order.nett\n    "
LINE = {"start": {"line": 1, "character": 8}, "end": {"line": 1, "character": 18}}
WRONG = {"range": LINE, "severity": 1, "message": 'no member "nett"'}


def tell(server: MidfillServer, diagnostics: Any, version: int = 1, uri: str = URI) -> None:
    params = {"textDocument": {"uri": uri, "version": version}, "diagnostics": diagnostics}
    notify(server, "midfill/diagnostics", params)


def snippets(server: MidfillServer) -> list[str]:
    snapshot = Snapshot(URI, 1, "python", TEXT, len(TEXT), path="a.py")
    return [one.text for one in gather([server.session.project], snapshot) if one.source == "diagnostics"]


@pytest.mark.parametrize(("diagnostics", "expected"), [
    ([WRONG], ['a = order.nett  # error: no member "nett"']),
    ([{**WRONG, "severity": 2}], ['a = order.nett  # warning: no member "nett"']),
    ([{**WRONG, "severity": 3}], []),
    ([{**WRONG, "severity": True}], []),
    ([{**WRONG, "range": {"start": {"line": 99, "character": 0}}}], []),
    ([{**WRONG, "range": None}, {**WRONG, "message": 7}, None, 3], []),
    ([], []),
    ("x", []),
    (None, []),
])  # fmt: skip
async def test_what_is_told(diagnostics: Any, expected: list[str]) -> None:
    server = await started(disabled_knowledge=())
    open_text(server, URI, TEXT)
    tell(server, diagnostics)
    assert snippets(server) == expected


async def test_it_is_left_out_by_default_and_dropped_with_its_version_and_document() -> None:
    server = await started()
    open_text(server, URI, TEXT)
    tell(server, [WRONG])
    assert snippets(server) == []
    server = await started(disabled_knowledge=())
    open_text(server, URI, TEXT)
    tell(server, [WRONG], version=2)
    tell(server, [WRONG], uri="file:///w/none.py")
    assert snippets(server) == []
    tell(server, [WRONG])
    notify(server, "textDocument/didClose", {"textDocument": {"uri": URI}})
    assert snippets(server) == []
