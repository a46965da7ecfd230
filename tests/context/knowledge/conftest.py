"""What the tests of knowledge share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from midfill.context.knowledge.store import Knowledge


@pytest.fixture(scope="module")
def knowledge() -> Iterator[Knowledge]:
    subject = Knowledge()
    subject.settle_s = 0.0  # no document was just opened
    yield subject
    subject.stop()
