"""Accepted texts become middles of the files that are learned from, and of no other."""

from __future__ import annotations

import random
from pathlib import Path

from midfill.accepted import AcceptedText
from midfill.train.collect import collect, split
from midfill.train.examples import Maker
from midfill.train.kept import ACCEPTED, accepted_places
from tests.train.made import python_file, renderer, write

KEY = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2"


def of(path: Path, text: str, middle: str, n: int = 0) -> AcceptedText:
    start = [at for at in range(len(text)) if text.startswith(middle, at)][n]
    end = start + len(middle)
    return AcceptedText(f"{path}:{n}", 0.0, str(path), text[max(0, start - 200) : start], middle, text[end : end + 200])


def test_places(tmp_path: Path) -> None:
    files = {f"m{n}.py": python_file(n) for n in range(12)}
    files["with_key.py"] = python_file(20) + f'\ntoken = "{KEY}"\nlast = 1\n'
    root = write(tmp_path / "p", files).resolve()
    collection = collect([root])
    train, held_out = split(collection.files)
    name, other = train[0].path, held_out[0].path
    middle = "return result"
    kept = [
        of(root / name, files[name], middle, 1),
        of(root / name, files[name], middle, 1),  # accepted twice
        of(root / other, files[other], middle),
        of(tmp_path / "q" / name, files[name], middle),
        of(root / "gone.py", files[name], middle),
        of(root / "with_key.py", files["with_key.py"], "last = 1"),  # the lines around a secret are left out
        AcceptedText("x", 0.0, str(root / name), "something else = ", "gone()", ""),
    ]
    places = accepted_places(train, collection.folders, kept)
    assert [(place.at, place.kind) for place in places] == [(0, ACCEPTED)]
    (place,) = places
    text = train[0].text
    assert text[place.start : place.end] == middle
    assert text.count(middle, 0, place.start) == 1
    assert text[: place.start].endswith(kept[0].before)


def test_they_come_as_examples(tmp_path: Path) -> None:
    files = {f"m{n}.py": python_file(n) for n in range(6)}
    root = write(tmp_path / "p", files).resolve()
    collection = collect([root])
    text = of(root / "m1.py", files["m1.py"], "math.floor(")
    places = accepted_places(collection.files, collection.folders, [text])
    subject, rng = renderer(), random.Random(1)
    maker = Maker(collection.files, subject, accepted=places * 50)
    found = [example for _ in range(200) if (example := maker.draw(rng, 400)).kind == ACCEPTED]
    assert found
    assert {subject.tokenizer.decode(example.ids[example.n_prompt : -1]) for example in found} == {"math.floor("}
