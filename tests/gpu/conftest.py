"""Everything in this folder needs a CUDA device."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
SKIP = pytest.mark.skip(reason="no CUDA device (torch.cuda.is_available() is false)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, and skip them where there is none."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(SKIP)
