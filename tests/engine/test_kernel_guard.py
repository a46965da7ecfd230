"""Kernels that end the process are not tried for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from midfill.engine.local.forward.kernel_guard import MAX_TRIES, guarded

DIES = """
import os
from midfill.engine.local.forward.kernel_guard import guarded
with guarded("kernels") as may_try:
    if may_try:
        os._exit(139)
print("without them")
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDFILL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def start() -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", "-c", DIES], capture_output=True, text=True, check=False)


def test_after_two_engines_that_died_the_next_one_goes_without() -> None:
    for _ in range(MAX_TRIES):
        assert start().returncode == 139
    found = start()
    assert (found.returncode, found.stdout.strip()) == (0, "without them")
    with guarded("other kernels, or another version") as may_try:
        assert may_try


def test_kernels_that_were_tried_well_are_tried_at_each_start(cache: Path) -> None:
    for _ in range(MAX_TRIES + 1):
        with guarded("kernels") as may_try:
            assert may_try
    assert list((cache / "kernels").iterdir()) == []


def test_an_error_of_pythons_leaves_no_mark() -> None:
    for _ in range(MAX_TRIES + 1):
        with pytest.raises(ValueError, match=r"^tried"), guarded("kernels") as may_try:
            raise ValueError("tried" if may_try else "not tried")


def test_where_nothing_can_be_kept_they_are_tried(cache: Path) -> None:
    cache.write_text("no folder", encoding="utf-8")
    with guarded("kernels") as may_try:
        assert may_try
