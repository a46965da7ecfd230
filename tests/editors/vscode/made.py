"""What a window of VS Code asks, and what its server is told."""

from __future__ import annotations

from typing import Any

from tests.editors.vscode.workbench import Workbench

ASK = "midfill/inlineCompletion"
FILE = "a.py"


def asked(bench: Workbench, character: int) -> list[dict[str, Any]]:
    """Return this test's requests about a place in the line below the head."""
    place = {"line": 1, "character": character}
    return [message for message in bench.news(ASK) if message["params"]["position"] == place]


def told(bench: Workbench, method: str) -> list[dict[str, Any]]:
    """Return the params of this test's messages."""
    return [message["params"] for message in bench.news(method)]
