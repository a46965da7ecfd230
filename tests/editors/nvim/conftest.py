"""An editor for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.editors.nvim.editor import Neovim


class Start(Protocol):
    """Start an editor whose engine replays ``script``."""

    def __call__(self, *chunks: str, delay_s: float = 0.0, setup: str = "", **more: Any) -> Neovim: ...


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    editors: list[Neovim] = []

    def launch(*chunks: str, delay_s: float = 0.0, setup: str = "", **more: Any) -> Neovim:
        editors.append(Neovim(tmp_path, {"chunks": chunks, "delay_s": delay_s, **more}, setup))
        return editors[-1]

    yield launch
    for editor in editors:
        said = editor.messages()
        editor.close()
        assert "Error" not in said, said
        assert "E5108" not in said, said
