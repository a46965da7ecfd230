"""After a week, an adapter whose suggestions are surely accepted less often is replaced by the one before."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from midfill import records, registry
from midfill.engine.local.lora.files import CONFIG_FILE, WEIGHTS_FILE, describe
from midfill.records import Records, Shown
from midfill.train import acceptance, history
from midfill.train.acceptance import DAY_S, HOUR_S, WEEK_S, is_surely_less, judge, shares
from midfill.train.history import Entry

T = 1_790_000_000.0  # of the promotion
Row = dict[str, Any]


def version(name: str, folder: Path, number: int) -> str:
    """Register an adapter unlike the others; return its digest."""
    folder.mkdir(exist_ok=True)
    header = json.dumps({
        f"base_model.model.layers.0.q_proj.lora_{side}.weight": {
            "dtype": "F32", "shape": [1, 1], "data_offsets": [4 * at, 4 * at + 4]
        }
        for at, side in enumerate("AB")
    }).encode()  # fmt: skip
    (folder / WEIGHTS_FILE).write_bytes(len(header).to_bytes(8, "little") + header + number.to_bytes(8, "little"))
    (folder / CONFIG_FILE).write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 1}))
    registry.register(folder, name, (CONFIG_FILE, WEIGHTS_FILE))
    return describe(registry.folder_of(name)).digest


def rows(
    digest: str, n: int, accepted: float, start: float, hours: int = 50, adapter: str = "mine"
) -> Iterable[Row]:  # fmt: skip
    """``n`` suggestions over some hours, of which as large a part is accepted in each."""
    for at in range(n):
        outcome = "accepted" if int((at + 1) * accepted) > int(at * accepted) else "rejected"
        yield {
            "at": start + (at % hours) * HOUR_S, "seen": 1, "outcome": outcome, "adapter": adapter,
            "adapter_digest": digest,
        }  # fmt: skip


def promoted(digest: str, replaced: str, at: float = T, against: str = "mine") -> Entry:
    return Entry(at, "promoted", digest=digest, replaced=replaced, against=against)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [(0.4, 0.2, "rolled back"), (0.4, 0.38, "kept"), (0.3, 0.5, "kept"), (0.0, 0.0, "kept")],
)
def test_back_if_it_is_surely_worse(before: float, after: float, kind: str, tmp_path: Path) -> None:
    old, new = (version("mine", tmp_path / "a", number) for number in (1, 2))
    history.add("mine", promoted(new, old))
    found = judge("mine", T + WEEK_S, lambda: [*rows(old, 200, before, T - WEEK_S), *rows(new, 200, after, T)])
    assert found is not None
    assert found.kind == kind
    assert f"{after:.0%} of 200 suggestions accepted, before {before:.0%} of 200" in found.reason
    assert describe(registry.folder_of("mine")).digest == (old if kind == "rolled back" else new)
    assert judge("mine", T + 2 * WEEK_S, lambda: []) is None  # said once


@pytest.mark.parametrize("against", ["team+mine", "mine", "team"])
def test_a_sum_is_judged_by_its_own_digest_and_only_ones_own_goes_back(against: str, tmp_path: Path) -> None:
    old, new = (version("mine", tmp_path / "a", number) for number in (1, 2))
    first = Entry(
        T, "promoted", digest=new, replaced=old, against=against, served="team+new", served_before="team+old"
    )  # fmt: skip
    history.add("mine", first)
    alone = [*rows(old, 200, 0.9, T - WEEK_S), *rows(new, 200, 0.9, T)]  # without the team's adapter: not counted
    found = judge(
        "mine", T + WEEK_S, lambda: [*rows("team+old", 200, 0.4, T - WEEK_S), *rows("team+new", 200, 0.2, T), *alone]
    )
    assert found is not None
    assert "20% of 200 suggestions accepted, before 40% of 200" in found.reason
    if against == "team":
        assert (found.kind, found.reason.endswith('to go back, set adapter = "team"')) == ("worse", True)
    else:
        assert (found.kind, found.digest) == ("rolled back", old)
    assert describe(registry.folder_of("mine")).digest == (new if against == "team" else old)


def test_not_before_the_week_is_over_nor_by_too_few(tmp_path: Path) -> None:
    old, new = (version("mine", tmp_path / "a", number) for number in (1, 2))
    history.add("mine", promoted(new, old))

    def told(n: int) -> list[Row]:
        return [*rows(old, 500, 0.9, T - WEEK_S), *rows(new, n, 0.0, T)]

    assert judge("mine", T + WEEK_S - 1, lambda: told(500)) is None
    assert judge("mine", T + WEEK_S, lambda: told(acceptance.MIN_SHOWN - 1)) is None
    found = judge("mine", T + 4 * WEEK_S, lambda: told(acceptance.MIN_SHOWN - 1))
    assert found is not None
    assert (found.kind, found.reason) == ("kept", "too few suggestions to tell")
    assert describe(registry.folder_of("mine")).digest == new


def test_a_week_of_promotions_goes_back_to_what_was_before_all_of_them(tmp_path: Path) -> None:
    digests = [version("mine", tmp_path / "a", number) for number in range(8)]
    for night, (old, new) in enumerate(itertools.pairwise(digests)):
        history.add("mine", promoted(new, old, T + night * DAY_S))
    shown = [row for night, new in enumerate(digests[1:]) for row in rows(new, 30, 0.1, T + night * DAY_S, 10)]
    found = judge("mine", T + WEEK_S, lambda: [*rows(digests[0], 200, 0.5, T - WEEK_S), *shown])
    assert found is not None
    assert found.kind == "rolled back"
    assert describe(registry.folder_of("mine")).digest == digests[0]
    assert judge("mine", T + 3 * WEEK_S, lambda: []) is None  # what was dropped is not judged


def test_the_first_of_its_name_has_nothing_to_go_back_to(tmp_path: Path) -> None:
    new = version("mine", tmp_path / "a", 1)
    history.add("mine", promoted(new, "base-digest", against="embedded"))
    told = [*rows("base-digest", 200, 0.5, T - WEEK_S, adapter="embedded"), *rows(new, 200, 0.1, T)]
    found = judge("mine", T + WEEK_S, lambda: told)
    assert found is not None
    assert found.kind == "worse"
    assert found.reason.endswith('; to go back, set adapter = "embedded"')
    assert describe(registry.folder_of("mine")).digest == new


def test_what_the_user_has_put_there_stays(tmp_path: Path) -> None:
    old, new, own = (version("mine", tmp_path / "a", number) for number in (1, 2, 3))
    history.add("mine", promoted(new, old))
    found = judge("mine", T + WEEK_S, lambda: [*rows(old, 200, 0.5, T - WEEK_S), *rows(new, 200, 0.1, T)])
    assert found is not None
    assert (found.kind, describe(registry.folder_of("mine")).digest) == ("kept", own)


def test_hours_that_differ_widen_the_interval() -> None:
    """A bad afternoon is one bad afternoon, not fifty bad suggestions."""
    even = list(rows("a", 200, 0.4, T, 20))
    bad = [{**row, "outcome": "rejected"} if row["at"] < T + 10 * HOUR_S else row for row in rows("b", 200, 0.7, T, 20)]
    narrow = [{**row, "at": T} for row in bad]  # as if all were of one hour: nothing is known of how hours differ
    assert shares(bad).n_accepted == shares(narrow).n_accepted
    assert shares(bad).variance > 2 * shares(narrow).variance
    assert not is_surely_less(shares(bad), shares(even))
    assert not is_surely_less(shares([]), shares(even))


def test_the_rows_are_those_of_the_records(tmp_path: Path) -> None:
    """Through the real file: only what was seen and has an outcome counts."""
    old, new = (version("mine", tmp_path / "a", number) for number in (1, 2))
    history.add("mine", promoted(new, old))
    subject = Records()
    for digest, start, accepted in ((old, T - WEEK_S, 60), (new, T, 10)):
        for at in range(130):
            id = f"{digest[:8]}-{at}"
            subject.shown(Shown(
                start + at * HOUR_S, id, "inline", "python", "automatic", "m", "mine", "", "unit", "", 1, 9, 1, 0.9,
                0.1, 0.1, 9, 9, 9, at < 120, digest,
            ))  # fmt: skip
            if at < 110:
                subject.outcome(id, "accepted" if at < accepted else "rejected")
    subject.close()
    assert len(records.rows()) == 260
    found = judge("mine", T + WEEK_S)
    assert found is not None
    assert found.reason == "9% of 110 suggestions accepted, before 55% of 110"
    assert found.kind == "rolled back"
