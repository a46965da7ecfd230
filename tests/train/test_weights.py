"""How often a middle is learned from: each factor by itself, and what is drawn by them."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from midfill.train import weights
from midfill.train.collect import SourceText, collect
from midfill.train.examples import ACCEPTED_EACH, ACCEPTED_SHARE, DrawnPlace, Maker, batch
from midfill.train.spans import WEIGHTS
from midfill.train.weights import HARD, IMPORTS, MAX_COUNTED, OWN, RECENT, MiddleWeights
from tests.train.made import python_file, renderer, write

HERE = SourceText(
    "p", "here.py", "python", "import os\n\ndef used_here(x):\n    return os.sep\n\nused_here(far_away)\n"
)
DEFINED = {"far_away": {"p/there.py"}, "used_here": {"p/here.py"}, "new_one": {"p/here.py"}, "join": {"q/other.py"}}


def definers(project: str, name: str) -> Collection[str]:
    return {key for key in DEFINED.get(name, ()) if key.startswith(f"{project}/")}


def subject(*files: SourceText, **ages: int) -> MiddleWeights:
    return MiddleWeights(files or (HERE,), definers, {f"p/{name}.py": ago for name, ago in ages.items()})


@pytest.mark.parametrize(
    ("middle", "weight"),
    [
        ("", 1.0),
        ("return", 1.0),
        ("(a + b)", 1.0),
        ("far_away", 1 + OWN + HARD),  # another file defines it, and this one shows it nowhere else
        ("used_here", 1 + OWN),  # the rest of the file shows it
        ("os.sep", 1.0),  # not of this repository
        ("join", 1.0),  # of another project
        ("far_away.join", 1 + (OWN + HARD) / 2),
        ("new_one", 1.0),  # defined here and nowhere else shown: the middle itself names it so
        ("far_away, far_away", 1 + OWN + HARD),
    ],
)
def test_names(middle: str, weight: float) -> None:
    assert subject().of(HERE, middle) == pytest.approx(weight)


def test_lines_that_repeat() -> None:
    licence = "# Permission is granted to everybody.\n"
    files = [SourceText("p", f"m{n}.py", "python", f"{licence}value_{n} = {n}00 + {n}\n") for n in range(9)]
    found = subject(*files)
    assert found.of(files[0], licence) == pytest.approx(9**-0.5)
    assert found.of(files[0], "value_3 = 300 + 3") == pytest.approx(9**-0.5)  # but for digits it is in each file
    assert found.of(files[0], "    nowhere = else\n") == 1.0
    assert found.of(files[0], f"{licence}nowhere = else_\n") == pytest.approx((9**-0.5 + 1) / 2)
    assert found.of(files[0], ")\n") == 1.0  # too short to say anything
    many = subject(SourceText("p", "a.py", "python", licence * (MAX_COUNTED + 50)))
    assert many.of(HERE, licence) == pytest.approx(MAX_COUNTED**-0.5)


def test_imports() -> None:
    assert subject().of(HERE, "import json", 1.0) == pytest.approx(1 - IMPORTS)


@pytest.mark.parametrize(("ago", "factor"), [(0, 1 + RECENT), (50, 1 + RECENT / 2), (500, 1.0), (None, 1.0)])
def test_new_files(ago: int | None, factor: float) -> None:
    ages: dict[str, int] = {} if ago is None else {"here": ago}
    found = subject(**ages)
    assert found.of(HERE, "x") == pytest.approx(factor, rel=0.01)


def shop(root: Path) -> list[SourceText]:
    """Return files of which some use each other's names, and some only repeat themselves."""
    files = {f"plain_{n}.py": python_file(n) for n in range(6)}
    for n in range(6):
        lines = "".join(f"    total = charge_customer_{(n + i + 1) % 6}(total, {i})\n" for i in range(3))
        files[f"shop_{n}.py"] = (
            f"from shop_{(n + 1) % 6} import charge_customer_{(n + 1) % 6}\n\n\n"
            f"def charge_customer_{n}(total, step):\n    return total * {n} + step\n\n\ndef run_{n}(total):\n{lines}"
            f"    return total\n"
        )
    return collect([write(root / "p", files)]).files


def drawn(maker: Maker, n: int = 400) -> list[DrawnPlace]:
    rng = random.Random(2)
    return [place for _ in range(n) if (place := maker._draw_place(rng)) is not None]


def test_what_is_drawn(tmp_path: Path) -> None:
    files = shop(tmp_path)
    ages: tuple[Mapping[str, int] | None, ...] = (None, {})
    makers = [Maker(files, renderer(), ages=each) for each in ages]
    even, own = (drawn(maker, 1500) for maker in makers)

    def share(places: list[DrawnPlace], word: str) -> float:
        return sum(files[place.at].text[place.start : place.end].startswith(word) for place in places) / len(places)

    assert share(own, "total = charge_customer") > 1.2 * share(even, "total = charge_customer") > 0
    imports = [sum(makers[0]._spans(at).imports(start, end) for at, _, start, end in places) for places in (even, own)]
    assert 0 < imports[1] < 0.7 * imports[0]
    for kind in WEIGHTS:  # kinds stay as frequent as they were
        n = [sum(place.kind == kind for place in places) for places in (even, own)]
        assert abs(n[0] - n[1]) < 75, kind


def test_newer_files_come_more_often(tmp_path: Path) -> None:
    files = shop(tmp_path)
    new = files[3]
    n = [
        sum(files[place.at] is new for place in drawn(Maker(files, renderer(), ages=ages), 1500))
        for ages in ({}, {new.key: 0})
    ]
    assert n[1] > 1.3 * n[0] > 0


def test_the_same_seed_draws_the_same(tmp_path: Path) -> None:
    files = shop(tmp_path)
    one, again = (Maker(files, renderer(), ages={files[0].key: 3}) for _ in range(2))
    assert [batch(one, i, 512) for i in (4, 1)] == [batch(again, i, 512) for i in (4, 1)]
    assert batch(one, 4, 512) != batch(Maker(files, renderer()), 4, 512)


def test_memory_does_not_grow_with_the_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "N_COUNTERS", 64)
    files = [SourceText("p", f"m{n}.py", "python", f"name_{chr(97 + n % 26)}{n * 'x'} = 1\n") for n in range(500)]
    found = subject(*files)
    assert len(found._counters) == 64
    assert 0 < found.of(files[0], files[0].text) < 1  # lines share counters then: they count as repeated


@pytest.mark.parametrize("n", [1, 20, 500])
def test_accepted_middles_come_besides(n: int, tmp_path: Path) -> None:
    files = shop(tmp_path)
    accepted = [DrawnPlace(at % len(files), "accepted", 40, 60 + at) for at in range(n)]
    places = drawn(Maker(files, renderer(), accepted=accepted), 4000)
    share = sum(place.kind == "accepted" for place in places) / len(places)
    assert share == pytest.approx(min(ACCEPTED_SHARE, ACCEPTED_EACH * n), rel=0.5)
    assert set(places) & set(accepted)
