"""The engines elsewhere that a window connects to."""

from __future__ import annotations

from tests.remote.conftest import model, resident, without_a_key

__all__ = ["model", "resident", "without_a_key"]
