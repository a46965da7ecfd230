"""Accepted texts: what is kept of them, what never is, and that they go when the user says so."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import time
from pathlib import Path

import pytest

from midfill import accepted, cli, config, paths, records
from midfill.accepted import AROUND, MAX_AGE_S, MAX_CHARS, AcceptedText
from midfill.commands import doctor

KEY = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = (tmp_path / "project").resolve()
    found.mkdir()
    (found / ".gitignore").write_text("ignored/\n")
    return found


def one(folder: Path, id: str = "a", name: str = "main.py", **values: object) -> AcceptedText:
    made = AcceptedText(id, time.time(), str(folder / name), "total = ", "add(1, 2)", "\nprint(total)\n")
    return dataclasses.replace(made, **values)  # type: ignore[arg-type]


def test_what_is_kept(folder: Path) -> None:
    first, second = one(folder, at=time.time() - 5), one(folder, "b", "inside/new.py")
    accepted.keep(folder, first)
    accepted.keep(folder, second)
    accepted.keep(folder, first)  # looked at again after five minutes
    assert accepted.texts() == [first, second]
    accepted.forget("a")
    assert accepted.texts() == [second]


@pytest.mark.parametrize(
    "changed",
    [
        {"text": f'"{KEY}"'},
        {"before": f'token = "{KEY}"\nx = '},
        {"after": f'\ntoken = "{KEY}"\n'},
        {"text": "x" * (MAX_CHARS + 1)},
        {"text": " )\n"},
        {"path": ".env"},
        {"path": "ignored/main.py"},
        {"path": "../outside.py"},
        {"path": "link.py"},
    ],
)
def test_what_is_never_kept(changed: dict[str, str], folder: Path) -> None:
    (folder.parent / "outside.py").write_text("x")
    (folder / "link.py").symlink_to(folder.parent / "outside.py")
    path = str(folder / changed.pop("path", "main.py"))
    accepted.keep(folder, one(folder, path=path, **changed))
    assert not accepted.accepted_file().exists()


def test_a_folder_that_is_gone(folder: Path) -> None:
    accepted.keep(folder / "gone", one(folder))
    assert not accepted.accepted_file().exists()


def test_a_workspace_behind_a_link(folder: Path, tmp_path: Path) -> None:
    """Editors name the link; training finds the file by its real path."""
    (tmp_path / "link").symlink_to(folder)
    accepted.keep(tmp_path / "link", one(tmp_path / "link"))
    assert [found.path for found in accepted.texts()] == [str(folder / "main.py")]


def test_only_the_user_can_read_them(folder: Path) -> None:
    old = os.umask(0)
    try:
        accepted.keep(folder, one(folder))
    finally:
        os.umask(old)
    assert stat.S_IMODE(accepted.accepted_file().stat().st_mode) == 0o600
    assert stat.S_IMODE(accepted.accepted_file().parent.stat().st_mode) == 0o700


def test_bounded_in_number_and_age(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepted, "MAX_TEXTS", 3)
    accepted.keep(folder, one(folder, "old", at=time.time() - MAX_AGE_S - 5))
    for n in range(5):
        accepted.keep(folder, one(folder, f"{n}", at=time.time() - 50 + n))
    assert [found.id for found in accepted.texts()] == ["2", "3", "4"]
    monkeypatch.setattr(accepted, "MAX_AGE_S", 47.5)
    assert [found.id for found in accepted.texts()] == ["3", "4"]


def test_what_is_deleted_leaves_the_file(folder: Path) -> None:
    accepted.keep(folder, one(folder, text="a_very_special_name()"))
    accepted.keep(folder, one(folder, "b"))
    accepted.forget("a")
    assert b"a_very_special_name" not in accepted.accepted_file().read_bytes()


def test_forgetting_makes_no_file() -> None:
    accepted.forget("a")
    assert not accepted.accepted_file().exists()
    assert accepted.texts() == []


@pytest.mark.parametrize("broken", ["not a database", "a folder", "another table"])
def test_a_broken_file_disturbs_nobody(broken: str, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = accepted.accepted_file()
    paths.private_dir(file.parent)
    if broken == "a folder":
        file.mkdir()
    elif broken == "not a database":
        file.write_bytes(b"x" * 5000)
    else:
        with records.connected(file) as connection, connection:
            connection.execute("CREATE TABLE texts (x)")
    accepted.keep(folder, one(folder))
    assert "an accepted text is not kept" in caplog.text
    assert "add(1, 2)" not in caplog.text
    if broken == "not a database":
        with pytest.raises(Exception, match="cannot read"):
            accepted.texts()
        accepted.clear()
        assert accepted.texts() == []


BEFORE = "def run():\n    total = "


@pytest.mark.parametrize(
    ("text", "start"),
    [
        (BEFORE + "add(1, 2)\n", len(BEFORE)),
        ("# a licence came\n" + BEFORE + "add(1, 2)\n", 17 + len(BEFORE)),
        ("x = add(1, 2)\n\n\n" + BEFORE + "add(1, 2)\n", 16 + len(BEFORE)),
        (BEFORE + "add(1, 3)\n", None),
        ("x = add(1, 2)\n", None),  # another place
        ("", None),
    ],
)
def test_where_it_stands_later(text: str, start: int | None) -> None:
    found = AcceptedText("a", 0.0, "/p/a.py", BEFORE[-AROUND:], "add(1, 2)", "\n")
    assert found.start_in(text) == start


def test_at_the_beginning_of_a_file() -> None:
    assert AcceptedText("a", 0.0, "/p/a.py", "", "import os", "\n").start_in("import os\n") == 0


def test_stats_clear_forgets_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accepted.keep(folder, one(folder))
    assert cli.main(["stats", "--clear"]) == 0
    assert capsys.readouterr().out.strip() == "all records and accepted texts are deleted"
    assert not accepted.accepted_file().exists()


@pytest.mark.parametrize(("on", "n", "says"), [(True, 0, "on; 0"), (True, 1, "on; 1"), (False, 1, "off; 1")])
def test_the_doctor_says_so(*, on: bool, n: int, says: str, folder: Path) -> None:
    paths.config_file().parent.mkdir(parents=True, exist_ok=True)
    paths.config_file().write_text(f"learn_from_accepted = {json.dumps(on)}\n")
    for _ in range(n):
        accepted.keep(folder, one(folder))
    found = [finding for finding in doctor._configuration() if finding.what == "privacy"]
    assert [finding.state for finding in found] == ["ok"]
    assert f"learn_from_accepted is {says} accepted texts" in found[0].says


def test_the_doctor_says_nothing_where_it_is_off() -> None:
    assert [finding.what for finding in doctor._configuration()] == ["configuration"]


def test_off_unless_the_user_says_so() -> None:
    assert not config.DEFAULT.learn_from_accepted
    assert "learn_from_accepted" not in config.WORKSPACE_KEYS
    assert "learn_from_accepted" in config.USER_ONLY
