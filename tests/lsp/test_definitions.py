"""midfill/definitions: what other servers say a name is becomes a snippet, if the setting wants it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from midfill.context.gather import gather
from midfill.lsp.server import MidfillServer
from tests.context.made import snapshot_at, write
from tests.lsp.made import notify, open_text, started

SHOP = "class Basket:\n    def weigh_quux(self, unit): ...\n"
USE = "def work(made):\n    made.‸\n"
SPAN = {"start": {"line": 0, "character": 6}, "end": {"line": 0, "character": 12}}
PATIENCE_S = 30.0


def tell(server: MidfillServer, root: Path, version: int = 1, **more: Any) -> None:
    uri = (root / "main.py").as_uri()
    told = {"targets": [{"uri": (root / "shop.py").as_uri(), "range": SPAN}], "hover": "", **more}
    place = {"textDocument": {"uri": uri, "version": version}, "position": {"line": 1, "character": 4}}
    notify(server, "midfill/definitions", {**place, **told})


async def is_shown(server: MidfillServer, root: Path) -> bool:
    snapshot = snapshot_at(root, "main.py", USE)
    assert await asyncio.to_thread(server.session.project.prepare, snapshot, PATIENCE_S)
    found = [one for one in gather([server.session.project], snapshot) if one.source == "definitions"]
    assert all("weigh_quux" in one.text for one in found)
    return bool(found)


@pytest.mark.parametrize(("told", "expected"), [
    ({}, True),
    ({"hover": 3}, True),
    ({"version": 7}, False),  # of another text
    ({"targets": []}, False),
    ({"targets": "x"}, False),
    ({"targets": [None, 3, {"uri": 3}, {"uri": "https://example.com/shop.py", "range": SPAN}]}, False),
    ({"targets": [{"uri": "file:///shop.py", "range": SPAN}]}, False),  # of no known file
    ({"position": {"line": 1, "character": 3}}, False),  # of no name
    ({"position": {"line": 99, "character": 3}}, False),
])  # fmt: skip
async def test_what_is_told(tmp_path: Path, told: dict[str, Any], expected: bool) -> None:
    server = await started(tmp_path, disabled_context=())
    root = write(tmp_path / "w", {"shop.py": SHOP})
    server.session.project.set_folders([root])
    open_text(server, (root / "main.py").as_uri(), USE.replace("‸", ""))
    tell(server, root, **told)
    assert await is_shown(server, root) == expected


async def test_very_many_places_count_as_few(tmp_path: Path) -> None:
    server = await started(tmp_path, disabled_context=())
    root = write(tmp_path / "w", {"shop.py": SHOP})
    server.session.project.set_folders([root])
    open_text(server, (root / "main.py").as_uri(), USE.replace("‸", ""))
    elsewhere = {"uri": (root / "none.py").as_uri(), "range": SPAN}
    tell(server, root, targets=[*[elsewhere] * 50_000, {"uri": (root / "shop.py").as_uri(), "range": SPAN}])
    assert not await is_shown(server, root)
