"""The tokenizer's folder of engines elsewhere."""

from __future__ import annotations

from tests.remote.conftest import model, without_a_key

__all__ = ["model", "without_a_key"]
