"""What other files tell of the members that may follow."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from midfill.context.keeper import OpenDocument
from midfill.context.knowledge import usage
from midfill.context.knowledge.names import Known, KnownNames
from midfill.context.knowledge.usage import Usage, advantages, guessed
from midfill.context.workspace import Workspace
from midfill.types import Snapshot
from tests.context.made import focus_at, snapshot_at, view_of, write
from tests.support import at

PATIENCE_S = 30.0
NAMES = ("items", "keys", "fields", "encoding")
# What is used after ``for ... in`` and what is used elsewhere.
OTHERS = {
    "a.py": "def show(message):\n    for name, value in message.headers.fields:\n        print(name, value)\n",
    "b.py": "def size(message):\n    return len(message.headers.items())\n",
}
LOOP = "def check(message):\n    for name, value in message.headers.‸\n        validate(name)\n"


def best(found: dict[str, float]) -> str:
    return max(found, key=lambda name: found[name])


@pytest.mark.parametrize(
    ("path", "buffer", "expected"),
    [
        ("main.py", LOOP, "fields"),
        ("main.py", LOOP.replace("‸", "fi‸"), "fields"),
        ("main.py", "def total(message):\n    return len(message.headers.‸)\n", "items"),
    ],
)
def test_the_most_similar_place_tells(path: str, buffer: str, expected: str) -> None:
    found = advantages(NAMES, view_of(OTHERS), focus_at(path, buffer))
    assert best(found) == expected
    assert found[expected] > found["keys"] + 1
    assert found.keys() == set(NAMES)


@pytest.mark.parametrize(
    ("used", "places", "buffer"),
    [
        ("typescript", ("a.ts", "main.ts"), "for (const field of message.headers.‸) {\n"),
        ("go", ("a.go", "main.go"), "\tfor _, field := range message.headers.‸ {\n"),
        ("rust", ("a.rs", "main.rs"), "    for field in message.headers.‸ {\n"),
    ],
)
def test_in_other_languages(used: str, places: tuple[str, str], buffer: str) -> None:
    other, here = places
    files = {other: buffer.replace("‸", "fields"), f"x/{other}": "x = message.headers.items\n"}
    assert best(advantages(NAMES, view_of(files), focus_at(here, buffer))) == "fields", used


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ({"main.py": OTHERS["a.py"]}, NAMES),  # the document itself, which the model reads
        ({"a.rs": OTHERS["a.py"]}, NAMES),  # another language
        (OTHERS, ("unused",)),
        (OTHERS, ()),
        ({}, NAMES),
    ],
)
def test_what_tells_nothing(files: dict[str, str], names: tuple[str, ...]) -> None:
    assert advantages(names, view_of(files), focus_at("main.py", LOOP)) == {}


def test_files_of_other_projects_are_not_read() -> None:
    view = dataclasses.replace(view_of(OTHERS), projects={"a.py": "/elsewhere", "b.py": "/elsewhere"})
    assert advantages(NAMES, view, focus_at("main.py", LOOP)) == {}


def test_an_endless_number_of_places_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    n_compared = 0
    real = usage._similarity

    def counted(one: usage.Words, other: usage.Words) -> float:
        nonlocal n_compared
        n_compared += 1
        return real(one, other)

    monkeypatch.setattr(usage, "_similarity", counted)
    files = {f"f{n}.py": "x.items\ny.keys\nz.fields\nw.encoding\n" * 500 for n in range(20)}
    advantages(NAMES, view_of(files), focus_at("main.py", LOOP))
    assert n_compared == usage.MAX_PLACES * len(NAMES)
    many = tuple(f"name{n}" for n in range(usage.MAX_NAMES + 50))
    n_compared = 0
    advantages(many, view_of({"a.py": "".join(f"x.{name}\n" * 30 for name in many)}), focus_at("main.py", LOOP))
    assert n_compared == usage.MAX_ALL_PLACES


@pytest.mark.parametrize(
    ("buffer", "expected"),
    [
        ("def f(message):\n    message.headers.‸\n", {"fields", "items"}),
        ("def f(message):\n    message.headers.fi‸\n", {"fields", "items"}),
        ("def f(message):\n    message.headers().‸\n", {"fields", "items"}),
        ("def f(message):\n    message.other.‸\n", set()),
        ("def f(self):\n    self.‸\n", set()),  # each class has its own
        ("x = 3.‸\n", set()),
        ("‸\n", set()),
    ],
)
def test_names_behind_the_same_name(buffer: str, expected: set[str]) -> None:
    files = {**OTHERS, "c.py": "class A:\n    def f(self):\n        self.secret()\n"}
    assert guessed(view_of(files), focus_at("main.py", buffer)).keys() == expected


def test_a_place_stays_while_the_member_is_typed() -> None:
    found, view = Usage(), view_of(OTHERS)
    here = KnownNames("message.headers", NAMES, True, "jedi")
    snapshot = at(LOOP)
    focus = focus_at("main.py", LOOP)
    assert found.at(snapshot, here) is None
    found.find(snapshot, here, view, focus)
    told = found.at(snapshot, here)
    assert told is not None
    assert told.names == NAMES
    assert best(dict(told.advantages)) == "fields"
    assert found.at(at(LOOP.replace("‸", "fi‸")), here) == told
    assert found.at(at(LOOP.replace("name, value", "x")), here) is None
    assert found.at(snapshot, dataclasses.replace(here, names=("items",))) is None
    found.forget(snapshot.uri)
    assert found.at(snapshot, here) is None


# ---- in the workspace's thread ---------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(disabled_knowledge=("jedi",))
    workspace.set_folders([write(tmp_path, OTHERS)])
    yield workspace
    workspace.stop()


def known(workspace: Workspace, snapshot: Snapshot) -> Known:
    assert workspace.settle(PATIENCE_S)
    return workspace.known(snapshot)


def test_names_that_a_client_tells_are_weighed(project: Workspace, tmp_path: Path) -> None:
    snapshot = snapshot_at(tmp_path, "main.py", LOOP)
    elsewhere = snapshot_at(tmp_path, "main.py", LOOP.replace("‸", "").replace("message.", "message.‸"))
    project.settle(PATIENCE_S)
    project.changed(
        OpenDocument(snapshot.uri, tmp_path / "main.py", "main.py", "python", snapshot.text), snapshot.cursor
    )
    project.knowledge.told(snapshot, NAMES, is_complete=True)
    project.knowledge.told(elsewhere, ("headers",), is_complete=True)  # for a place that is not the latest
    here = known(project, snapshot).here
    assert here is not None
    assert (here.names, here.is_complete, here.source) == (NAMES, True, "client")
    assert best(dict(here.advantages)) == "fields"


def test_names_that_nobody_tells_are_guessed(project: Workspace, tmp_path: Path) -> None:
    snapshot = snapshot_at(tmp_path, "main.py", LOOP)
    project.settle(PATIENCE_S)
    assert project.known(snapshot).here is None  # looked up now
    here = known(project, snapshot).here
    assert here is not None
    assert (here.names, here.is_complete, here.source) == (("fields", "items"), False, "usage")
    project.knowledge.disable(("usage",))
    assert project.known(snapshot).here is None


def test_it_never_waits(project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the thread compares, whoever asks gets what is known without it."""
    snapshot = snapshot_at(tmp_path, "main.py", LOOP)
    project.settle(PATIENCE_S)
    is_over: list[bool] = []

    def slow(*_: object) -> dict[str, float]:
        deadline = time.monotonic() + PATIENCE_S
        while not is_over and time.monotonic() < deadline:
            time.sleep(0.01)
        return {"fields": 5.0}

    monkeypatch.setattr(usage, "advantages", slow)
    project.known(snapshot)
    project.knowledge.told(snapshot, NAMES, is_complete=True)
    for _ in range(3):
        here = project.known(snapshot).here
        assert here is not None
        assert not here.advantages
    is_over.append(True)
    here = known(project, snapshot).here
    assert here is not None
    assert here.advantages == {"fields": 5.0}
