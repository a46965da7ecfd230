"""Weights that are read before they are asked for: the same bytes, the same refusals."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from midfill.engine.local import reading
from midfill.types import MidfillError

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "x.safetensors").write_bytes(CONTENT)
    return tmp_path / "x.safetensors"


@pytest.mark.parametrize("is_ahead", [True, False])
@pytest.mark.parametrize("sha256", [hashlib.sha256(CONTENT).hexdigest(), None])
def test_the_same_bytes(file: Path, is_ahead: bool, sha256: str | None) -> None:
    if is_ahead:
        reading.ahead(file)
    seen: list[int] = []
    data = reading.read_whole(file, sha256=sha256, on_bytes=seen.append)
    assert bytes(data) == CONTENT
    assert sum(seen) == len(CONTENT)


@pytest.mark.parametrize("is_ahead", [True, False])
def test_another_hash_is_refused(file: Path, is_ahead: bool) -> None:
    if is_ahead:
        reading.ahead(file)
    with pytest.raises(MidfillError, match="is damaged"):
        reading.read_whole(file, sha256="0" * 64)


def test_a_file_that_was_replaced_meanwhile_is_read_again(file: Path) -> None:
    reading.ahead(file)
    other = file.with_name("other")
    other.write_bytes(b"another")
    other.replace(file)
    assert bytes(reading.read_whole(file)) == b"another"


def test_a_file_that_is_gone_is_told_when_it_is_wanted(file: Path, tmp_path: Path) -> None:
    reading.ahead(file)
    file.unlink()
    reading.ahead(tmp_path / "never")
    with pytest.raises(MidfillError, match="cannot read"):
        reading.read_whole(file)


def test_what_was_read_in_vain_is_not_kept(file: Path, tmp_path: Path) -> None:
    (tmp_path / "wanted").write_bytes(b"wanted")
    reading.ahead(file)
    assert bytes(reading.read_whole(tmp_path / "wanted")) == b"wanted"
    assert not reading._ahead


def test_nothing_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert bytes(reading.read_whole(tmp_path / "empty")) == b""
