"""The nights of an adapter: kept within bounds, read whatever has become of the file, shown."""

from __future__ import annotations

import dataclasses
import json
import stat
from pathlib import Path

import pytest

from midfill import cli
from midfill.train import history
from midfill.train.history import Entry, State

PROMOTED = Entry(
    1_790_000_000.0, "promoted", "better: the held-out loss", 200, 41.2, 2, 1.25, 1.2, "d1", "embedded", "d0"
)
REFUSED = dataclasses.replace(
    PROMOTED, at=1_790_086_400.0, kind="refused", reason="the held-out loss did not surely fall", before=1.2, after=1.21
)
UNCHANGED = Entry(1_790_172_800.0, "unchanged")


def test_kept_as_it_was() -> None:
    entries = [PROMOTED, REFUSED, Entry(1.0, "rolled back", "31 % before", judged=("d1", "d2"))]
    for entry in entries:
        history.add("mine", entry)
    assert history.read("mine") == entries
    assert history.read("other") == []
    file = history.folder("mine") / history.HISTORY
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_nights_without_a_change_take_one_line() -> None:
    for at in range(5):
        history.add("mine", dataclasses.replace(UNCHANGED, at=float(at)))
    history.add("mine", PROMOTED)
    assert history.read("mine") == [dataclasses.replace(UNCHANGED, at=4.0), PROMOTED]


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_NIGHTS", 3)
    for at in range(5):
        history.add("mine", dataclasses.replace(PROMOTED, at=float(at)))
    assert [entry.at for entry in history.read("mine")] == [2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    "damage",
    [
        "{",
        "[]",
        "null",
        "{}",
        '{"at": 1, "kind": "promoted", "minutes": "x"}',
        '{"at": 1, "kind": "x"}',
        '{"at": "x", "kind": "promoted"}',
        '{"at": 1e300, "kind": "x"}',
        "\0",
    ],
)
def test_a_damaged_line_is_left_out(damage: str) -> None:
    history.add("mine", PROMOTED)
    file = history.folder("mine") / history.HISTORY
    file.write_text(f"{damage}\n{file.read_text()}")
    assert history.read("mine") == [PROMOTED]


def test_state() -> None:
    assert history.state("mine") == State()
    history.keep("mine", State("a", "b", "c"))
    assert history.state("mine") == State("a", "b", "c")
    (history.folder("mine") / history.STATE).write_text("{")
    assert history.state("mine") == State()


def test_the_table_and_the_plot(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["adapters", "history", "mine"]) == 1
    assert "has no nights recorded yet" in capsys.readouterr().err
    for entry in (PROMOTED, REFUSED, UNCHANGED):
        history.add("mine", entry)
    picture = tmp_path / "nights.svg"
    assert cli.main(["adapters", "history", "mine", "--plot", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["night", "steps", "minutes", "gave", "way", "loss", "before", "after"]
    assert lines[1].endswith("200       41         2        1.250  1.200  promoted: better: the held-out loss")
    assert lines[2].endswith("1.200  1.210  refused: the held-out loss did not surely fall")
    assert lines[3].endswith("-      -  unchanged")
    assert lines[5] == "held-out loss, nats a token (o promoted, . not)"
    assert lines[6] == "  1.210 | ."
    assert lines[-1] == "  1.200 |o"
    assert "<svg" in picture.read_text()
    assert cli.main(["adapters", "history", "mine", "--json"]) == 0
    assert [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()] == [
        "promoted", "refused", "unchanged",
    ]  # fmt: skip


def test_a_plot_of_one_night_is_none() -> None:
    assert history.plot([PROMOTED, UNCHANGED]) == ""
    assert history.plot([PROMOTED, PROMOTED]).splitlines()[1] == "  1.200 |oo"  # all the same: no division by zero
