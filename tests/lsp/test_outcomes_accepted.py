"""Accepted texts through the real server over stdio: kept if the user's file says so, and never else."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.lsp.made import AUTOMATIC, INLINE, change

from .client import Client, at
from .conftest import Launch

# The server as editors start it, except that thirty seconds and five minutes pass sooner.
HASTY = """
import asyncio, sys
usual = asyncio.BaseEventLoop.call_later
soon = {30: 0.3, 300: 3.0}
asyncio.BaseEventLoop.call_later = lambda loop, s, *rest, **more: usual(loop, soon.get(s, s), *rest, **more)
from midfill.cli import main
sys.exit(main(["lsp", "--stdio"]))
"""
KEY = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2"


def stored(tmp_path: Path) -> list[tuple[Any, ...]]:
    file = tmp_path / "STATE" / "accepted.sqlite3"
    if not file.exists():
        return []
    connection = sqlite3.connect(file)
    try:
        return list(connection.execute("SELECT path, before, text, after FROM texts"))
    except sqlite3.OperationalError:  # it is being made
        return []
    finally:
        connection.close()


def wait_for(tmp_path: Path, n: int) -> list[tuple[Any, ...]]:
    deadline = time.monotonic() + 20
    while len(rows := stored(tmp_path)) != n and time.monotonic() < deadline:
        time.sleep(0.05)
    return rows


def waited(tmp_path: Path) -> None:
    """Wait until the records say that the accepted text was looked for after both times."""
    deadline, file = time.monotonic() + 20, tmp_path / "STATE" / "records.sqlite3"
    while time.monotonic() < deadline:
        connection = sqlite3.connect(file)
        try:
            if connection.execute("SELECT 1 FROM suggestions WHERE kept_300 IS NOT NULL").fetchall():
                return
        except sqlite3.OperationalError:
            pass
        finally:
            connection.close()
        time.sleep(0.05)
    raise AssertionError("it was never looked for")


class Accepting:
    """A user who accepts a suggestion in a file of a workspace."""

    def __init__(
        self, launch: Launch, tmp_path: Path, settings: str, name: str = "a.py", chunk: str = "add(1)"
    ) -> None:
        self.folder = (tmp_path / "project").resolve()
        self.folder.mkdir()
        subprocess.run(["git", "init", "-q", str(self.folder)], check=True)
        (self.folder / ".gitignore").write_text("ignored.py\n")
        (self.folder / ".midfill.toml").write_text("learn_from_accepted = true\n")  # a workspace may not say so
        (tmp_path / "CONFIG").mkdir()
        (tmp_path / "CONFIG" / "config.toml").write_text(f"ahead = false\n{settings}")
        self.client: Client = launch(script={"chunks": [chunk]}, args=[sys.executable, "-P", "-c", HASTY])
        self.client.initialize(workspaceFolders=[{"uri": self.folder.as_uri(), "name": "project"}])
        self.client.ready()
        self.uri, self.chunk = self.client.open("x = \n", uri=(self.folder / name).as_uri()), chunk
        (item,) = self.client.result(INLINE, at(self.uri, 0, 4, context=AUTOMATIC))["items"]
        change(self.client, self.uri, 2, f"x = {chunk}\n")
        self.client.result("workspace/executeCommand", item["command"])


def test_what_was_accepted_and_kept(launch: Launch, tmp_path: Path) -> None:
    user = Accepting(launch, tmp_path, "learn_from_accepted = true\n")
    wanted = [(str(user.folder / "a.py"), "x = ", "add(1)", "\n")]
    assert wait_for(tmp_path, 1) == wanted
    waited(tmp_path)
    assert wait_for(tmp_path, 1) == wanted
    assert user.client.result("midfill/status")["learns_from_accepted"] is True


def test_what_is_changed_within_five_minutes_is_forgotten(launch: Launch, tmp_path: Path) -> None:
    user = Accepting(launch, tmp_path, "learn_from_accepted = true\n")
    assert len(wait_for(tmp_path, 1)) == 1
    change(user.client, user.uri, 3, "x = add(2)\n")
    assert wait_for(tmp_path, 0) == []


@pytest.mark.parametrize(
    ("settings", "name", "chunk"),
    [
        ("", "a.py", "add(1)"),
        ("learn_from_accepted = true\nrecords = false\n", "a.py", "add(1)"),
        ('learn_from_accepted = true\ndisabled_files = ["z.py"]\n', "ignored.py", "add(1)"),
        ("learn_from_accepted = true\n", "../outside.py", "add(1)"),
        ("learn_from_accepted = true\n", "a.py", f'"{KEY}"'),
    ],
)
def test_what_is_never_kept(settings: str, name: str, chunk: str, launch: Launch, tmp_path: Path) -> None:
    user = Accepting(launch, tmp_path, settings, name, chunk)
    if "records = false" in settings:
        time.sleep(1.0)
    else:
        waited(tmp_path)
    assert user.client.result("midfill/status").get("learns_from_accepted", False) == (
        "learn_from_accepted = true" in settings and "records = false" not in settings
    )
    user.client.result("shutdown")
    assert not (tmp_path / "STATE" / "accepted.sqlite3").exists()
    for file in (tmp_path / "STATE").rglob("*"):
        assert not file.is_file() or b"add(1)" not in file.read_bytes()


@pytest.mark.parametrize("setting", ['disabled_files = ["a.py"]', 'disabled_languages = ["python"]'])
def test_files_that_settings_keep_out(setting: str, launch: Launch, tmp_path: Path) -> None:
    """A manual suggestion comes there all the same, and its text is not kept."""
    folder = (tmp_path / "project").resolve()
    folder.mkdir()
    (tmp_path / "CONFIG").mkdir()
    (tmp_path / "CONFIG" / "config.toml").write_text(f"ahead = false\nlearn_from_accepted = true\n{setting}\n")
    client = launch(script={"chunks": ["add(1)"]}, args=[sys.executable, "-P", "-c", HASTY])
    client.initialize(workspaceFolders=[{"uri": folder.as_uri(), "name": "project"}])
    client.ready()
    uri = client.open("x = \n", uri=(folder / "a.py").as_uri())
    item = client.result(INLINE, at(uri, 0, 4, context={"triggerKind": 1}))["items"][0]
    change(client, uri, 2, "x = add(1)\n")
    client.result("workspace/executeCommand", item["command"])
    waited(tmp_path)
    client.result("shutdown")
    assert not (tmp_path / "STATE" / "accepted.sqlite3").exists()


def test_an_editor_may_not_switch_it_on(launch: Launch, tmp_path: Path) -> None:
    """An editor's settings may come from a workspace."""
    client = launch(script={"chunks": ["add(1)"]}, args=[sys.executable, "-P", "-c", HASTY])
    client.initialize(initializationOptions={"learnFromAccepted": True})
    client.ready()
    assert "learns_from_accepted" not in client.result("midfill/status")
