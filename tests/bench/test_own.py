"""The folders that a benchmark makes for itself."""

from __future__ import annotations

import os

import pytest

from midfill import paths
from midfill.bench.own import move_data, own_folders


def test_own_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("MIDFILL_SCRIPT", "a script")
    users = paths.runtime_dir()
    with own_folders() as folder:
        mine = paths.runtime_dir()
        move_data(folder, "STATE")
        assert paths.state_dir() == folder / "state"
        assert mine != users
        assert paths.config_file().parent == folder
        assert not {"OMP_WAIT_POLICY", "MIDFILL_SCRIPT"} & os.environ.keys()
    assert not mine.exists()
    assert not folder.exists()
    assert paths.runtime_dir() == users
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "MIDFILL_STATE_DIR" not in os.environ or not os.environ["MIDFILL_STATE_DIR"].startswith(str(folder))
