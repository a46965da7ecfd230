"""What is measured beside other work, without a model."""

from __future__ import annotations

import sys

import pytest

from midfill.bench.beside import Trainer, _in_module
from midfill.bench.holes import read_module
from midfill.bench.prompts import MODULES
from midfill.types import MidfillError


def trainer(code: str, tmp_path: object) -> Trainer:
    return Trainer(tmp_path, [sys.executable, "-c", code])  # type: ignore[arg-type]


def test_a_trainer_trains_from_its_first_step_on(tmp_path: object) -> None:
    made = trainer("import time; print('run: step 1 of 9', flush=True); time.sleep(600)", tmp_path)
    try:
        made.wait()
        made.check()
    finally:
        made.end()
    with pytest.raises(MidfillError, match="the trainer ended; run: step 1 of 9"):
        made.check()


def test_a_trainer_that_does_not_begin_says_why(tmp_path: object) -> None:
    made = trainer("print('no memory'); raise SystemExit(1)", tmp_path)
    made._process.wait()
    with pytest.raises(MidfillError, match="no memory"):
        made.wait()


def test_places_are_the_same_each_time() -> None:
    places = [_in_module(number, number + 1) for number in range(6)]
    assert places == [_in_module(number, number + 1) for number in range(6)]
    assert len({place.uri for place in places}) == 6
    for number, place in enumerate(places):
        text = read_module(MODULES[number])
        assert place.prefix == text[: place.cursor]
        assert place.suffix.startswith("\n")
        assert text.endswith(place.suffix)
