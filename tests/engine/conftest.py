"""Fixtures that several files here use."""

from __future__ import annotations

from tests.engine.graphs_made import folders, pretended

__all__ = ["folders", "pretended"]
