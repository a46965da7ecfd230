"""Everything in this folder needs a CUDA device."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from midfill.engine.local.forward.cuda_graphs import StaticDecoder

HERE = Path(__file__).parent
SKIP = pytest.mark.skip(reason="no CUDA device (torch.cuda.is_available() is false)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests, and skip them if there is no device."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(SKIP)


@pytest.fixture(autouse=True)
def _no_graph_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close every decoder after its test: otherwise the graphs of an unused one would be destroyed while those of the
    next test are captured."""
    made: list[StaticDecoder] = []
    begin = StaticDecoder.__init__

    def remember(self: StaticDecoder, *arguments: object, **named: object) -> None:
        made.append(self)
        begin(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(StaticDecoder, "__init__", remember)
    yield
    for decoder in made:
        decoder.close()
    made.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
