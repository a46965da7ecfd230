"""The child that infers, and what other children left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from midfill.context.knowledge.store import Knowledge
from midfill.types import Snapshot
from tests.context.knowledge.made import ask

TEXT = "class Item:\n    count = 0\n    label = ''\n\ndef f(items: list[Item]):\n    for one in items:\n        one.\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("MIDFILL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def others() -> Iterator[Knowledge]:
    """Another window's."""
    subject = Knowledge()
    yield subject
    subject.stop()


def snapshot(version: int) -> Snapshot:
    return Snapshot("file:///a.py", version, "python", TEXT, TEXT.index("one.\n") + 4, path="a.py")


@pytest.mark.parametrize("size", [0, 1000])
def test_files_that_a_child_left_cut_off_are_written_anew(
    size: int, cache: Path, others: Knowledge, knowledge: Knowledge
) -> None:
    before = ask(others, snapshot(1)).here
    assert before is not None
    assert {"count", "label"} <= set(before.names)
    others.stop()
    files = list((cache / "jedi").rglob("*.pkl"))
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[:size])
    assert ask(knowledge, snapshot(1)).here == before
