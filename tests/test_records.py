"""Records: what is kept about a suggestion, and that nothing else is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sqlite3
import stat
import time
from pathlib import Path

import pytest

from midfill import cli, records
from midfill.commands import stats
from midfill.postprocess import AcceptanceHabits
from midfill.records import Outcome, Records, Shown
from midfill.types import MidfillError

SHOWN = Shown(
    at=0.0, id="a", method="inline", language="python", trigger="automatic", model="m", adapter="none", hit="",
    finish_reason="unit", rules="trim_end", n_candidates=1, n_chars=20, n_lines=2, confidence=0.9, latency_s=0.2,
    ttft_s=0.1, n_prompt=500, n_cached=400, n_decoded=8, seen=True,
)  # fmt: skip


def shown(id: str = "a", **values: object) -> Shown:
    return dataclasses.replace(SHOWN, **{"at": time.time(), "id": id, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "outcome", "n_accepted"),
    [
        ([], "", 0),
        ([("accepted", 20)], "accepted", 20),
        ([("partial", 5), ("partial", 9)], "partial", 9),
        ([("partial", 5), ("accepted", 20)], "accepted", 20),
        ([("accepted", 20), ("partial", 5)], "accepted", 20),
        ([("accepted", 20), ("rejected", 0)], "accepted", 20),
        ([("rejected", 0), ("accepted", 20)], "accepted", 20),  # a client that is slow to tell
        ([("typed", 20), ("rejected", 0)], "typed", 20),
    ],
)
def test_outcomes(told: list[tuple[Outcome, int]], outcome: str, n_accepted: int) -> None:
    subject = Records()
    subject.shown(shown())
    for name, n in told:
        subject.outcome("a", name, n)
    subject.close()
    (row,) = records.rows()
    assert (row["outcome"], row["n_accepted"]) == (outcome, n_accepted)


def test_what_is_kept() -> None:
    subject = Records()
    first = shown(seen=False, confidence=None)
    subject.shown(first)
    subject.shown(shown(n_chars=3))  # typed along: the same suggestion
    subject.seen("a")
    subject.kept("a", 30, 1.0)
    subject.kept("a", 300, 0.25)
    subject.outcome("never shown", "accepted", 3)
    subject.close()
    (row,) = records.rows()
    assert {name: row[name] for name in Shown.__dataclass_fields__} == {**dataclasses.asdict(first), "seen": 1}
    assert (row["kept_30"], row["kept_300"]) == (1.0, 0.25)


def test_a_file_from_before_a_column_came(tmp_path: Path) -> None:
    """It gets the column, and an earlier version that writes to it at the same time is not disturbed."""
    old = {name: value for name, value in dataclasses.asdict(shown()).items() if name not in records._LATER}
    columns, marks = ", ".join(old), ", ".join("?" * len(old))
    write = f"INSERT INTO suggestions ({columns}) VALUES ({marks})"
    records.records_file().parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(records.records_file())) as earlier, earlier:
        earlier.execute(f"CREATE TABLE suggestions ({records._COLUMNS})")
        earlier.execute("PRAGMA user_version = 1")
        earlier.execute(write, tuple(old.values()))
        earlier.commit()
        subject = Records()
        subject.shown(shown("b", adapter_digest="0123", scope="comment"))
        subject.close()
        earlier.execute(write, (*({**old, "id": "c"}).values(),))
    found = [(row["id"], row["adapter_digest"], row["scope"]) for row in records.rows()]
    assert found == [("a", "", ""), ("b", "0123", "comment"), ("c", "", "")]


def test_only_the_user_can_read_them() -> None:
    old = os.umask(0)
    try:
        subject = Records()
        subject.shown(shown())
        subject.trace({"x": 1})
        subject.close()
    finally:
        os.umask(old)
    for file in (records.records_file(), records.trace_file()):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(records.records_file().parent.stat().st_mode) == 0o700
    assert records.last_trace() == {"x": 1}


def test_of_many_traces_the_last_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[object] = []
    monkeypatch.setattr(records, "_write_trace", written.append)
    subject = Records()
    for n in range(50):
        subject.trace({"n": n})
    subject.close()
    assert written[-1] == {"n": 49}
    assert len(written) <= 2
    later = Records()
    later.trace({"n": 50})
    later.close()
    assert written[-1] == {"n": 50}


def test_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_ROWS", 10)
    for batch in range(3):
        subject = Records()
        for n in range(8):
            subject.shown(shown(f"{batch}-{n}"))
        subject.close()
    assert [row["id"] for row in records.rows()] == ["1-6", "1-7", *(f"2-{n}" for n in range(8))]


def test_two_windows_write_at_once() -> None:
    subjects = [Records(), Records()]
    for n in range(50):
        for number, subject in enumerate(subjects):
            subject.shown(shown(f"{number}-{n}"))
    for subject in subjects:
        subject.close()
    assert len(records.rows()) == 100


def test_days() -> None:
    subject = Records()
    for days in (0.5, 1.5, 9):
        subject.shown(shown(f"{days}", at=time.time() - days * 86400))
    subject.close()
    assert [len(records.rows(days)) for days in (None, 30, 2, 1, 0.1)] == [3, 3, 2, 1, 0]


@pytest.mark.parametrize("broken", ["not a database", "another version", "a folder"])
def test_broken_records_disturb_nobody(broken: str, caplog: pytest.LogCaptureFixture) -> None:
    file = records.records_file()
    file.parent.mkdir(parents=True)
    if broken == "a folder":
        file.mkdir()
    elif broken == "not a database":
        file.write_bytes(b"x" * 5000)
    else:
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    subject = Records()
    subject.shown(shown())
    subject.close()
    subject.shown(shown())
    assert caplog.text.count("records are not kept") == 1
    if broken != "a folder":
        with pytest.raises(MidfillError) as caught:
            records.rows()
        assert "midfill stats --clear" in caught.value.remedy
        records.clear()
        assert records.rows() == []


def test_a_disk_that_hangs_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_WAITING", 5)
    monkeypatch.setattr(Records, "_run", lambda self: None)
    subject = Records()
    for n in range(100):
        subject.shown(shown(str(n)))
    assert subject._queue.qsize() == 5
    subject.trace({})
    assert subject._trace is None  # the next one is tried again


def test_outcomes_to_learn_from() -> None:
    subject = Records()
    for n, (trigger, confidence, outcome, seen) in enumerate([
        ("automatic", 0.5, "rejected", True),
        ("automatic", 0.9, "accepted", True),
        ("automatic", 0.8, "typed", True),
        ("automatic", None, "accepted", True),
        ("automatic", 0.7, None, True),
        ("invoked", 0.1, "accepted", True),
    ]):  # fmt: skip
        subject.shown(shown(str(n), trigger=trigger, confidence=confidence, seen=seen))
        if outcome is not None:
            subject.outcome(str(n), outcome)  # type: ignore[arg-type]
    subject.close()
    assert AcceptanceHabits.of(records.settled("automatic")).outcomes == [(0.5, False), (0.9, True), (0.8, True)]
    assert AcceptanceHabits.of(records.settled("automatic", limit=1)).outcomes == [(0.8, True)]
    assert AcceptanceHabits.of(records.settled("invoked")).outcomes == [(0.1, True)]


# ---- midfill stats ---------------------------------------------------------------------------------------------------


def fill() -> None:
    subject = Records()
    for n in range(10):
        subject.shown(
            shown(str(n), language="go" if n < 3 else "python", latency_s=0.1 * (n + 1), hit="cache" * (n == 0))
        )
    subject.shown(shown("unseen", seen=False))
    for n, outcome in enumerate(("accepted", "accepted", "partial", "typed", "rejected", "rejected")):
        subject.outcome(str(n), outcome, 10)  # type: ignore[arg-type]
    subject.kept("0", 30, 1.0)
    subject.kept("1", 30, 0.5)
    subject.close()


def test_stats(capsys: pytest.CaptureFixture[str]) -> None:
    fill()
    assert cli.main(["stats", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["all"] == {
        "shown": 10, "accepted": 2, "partial": 1, "typed": 1, "rejected": 2, "shown_acceptance": 0.5,
        "accepted_chars": 30, "kept_30": 0.75, "kept_300": None, "latency_p50_s": pytest.approx(0.6),
        "latency_p95_s": pytest.approx(1.0), "decoded_tokens": 80, "from_cache": 1,
        "retained_30_chars": {"kept": 15, "of": 20}, "retained_300_chars": None,
    }  # fmt: skip
    assert list(figures["language"]) == ["python", "go"]
    assert figures["language"]["go"]["shown"] == 3
    assert cli.main(["stats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["all", "10", "2", "1", "1", "2", "50%", "75%", "-", "600", "1000"]
    assert len({len(line) for line in lines[: lines.index("")]}) == 1
    assert "1 of 10 suggestions came from the cache" in lines[-1]
    assert lines[-1].startswith("30 characters accepted (15 of 20 stood after 30 s); ")


def test_calibration(capsys: pytest.CaptureFixture[str]) -> None:
    """From unsure to sure, points of equal size; what is too little for a point has none."""
    subject = Records()
    for n in range(100):
        subject.shown(shown(str(n), confidence=n / 100))
        subject.outcome(str(n), ("rejected", "typed", "accepted")[(n >= 50) + (n >= 75)])
    for n in range(stats.MIN_OF_POINT - 1):
        subject.shown(shown(f"invoked-{n}", trigger="invoked", confidence=0.5))
        subject.outcome(f"invoked-{n}", "accepted")
    subject.shown(shown("open", confidence=0.99))
    subject.shown(shown("unknown", confidence=None))
    subject.outcome("unknown", "accepted")
    subject.close()
    assert cli.main(["stats", "--json"]) == 0
    curves = json.loads(capsys.readouterr().out)["calibration"]
    assert curves["invoked"] == []
    assert [(point["n"], point["confidence"], point["taken"]) for point in curves["automatic"]] == [
        (20, 0.095, 0.0), (20, 0.295, 0.0), (20, 0.495, 0.5), (20, 0.695, 1.0), (20, 0.895, 1.0),
    ]  # fmt: skip
    assert cli.main(["stats", "--clear"]) == 0
    assert stats.calibration(records.rows()) == {}


def test_shifts(capsys: pytest.CaptureFixture[str]) -> None:
    """The figures say where the thresholds are moved, by the same records that move them."""
    subject = Records()
    for n in range(600):
        is_comment = n % 2 == 0
        confidence = 0.2 + (n * 7 % 80) / 100
        subject.shown(shown(str(n), confidence=confidence, scope="comment" if is_comment else "code"))
        subject.outcome(str(n), "typed" if confidence > (0.85 if is_comment else 0.3) else "rejected")
    subject.close()
    assert cli.main(["stats", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["shifts"]
    assert found["scope comment"] > 0 > found["scope code"]
    assert found == AcceptanceHabits.of(records.settled("automatic")).shifts


def test_calibration_has_a_bounded_number_of_points() -> None:
    rows = [{"trigger": "automatic", "outcome": "accepted", "confidence": n / 5000} for n in range(5003)]
    (curve,) = stats.calibration(rows).values()
    assert len(curve) == stats.MAX_POINTS
    assert sum(point["n"] for point in curve) == len(rows)


def test_nothing_yet_and_nothing_any_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stats"]) == 0
    assert "nothing has been shown yet" in capsys.readouterr().out
    assert not records.records_file().exists()
    fill()
    assert cli.main(["stats", "--clear"]) == 0
    assert cli.main(["stats", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["all"]["shown"] == 0
    assert stats.summary([])["shown_acceptance"] is None
