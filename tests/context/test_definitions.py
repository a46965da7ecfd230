"""What other language servers say names are: the index shows it, and no file is read because of it. ``‸`` is the
cursor."""

from __future__ import annotations

import builtins
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from midfill.context.definitions import FRESH_S, MAX_ASKED, Definitions, Target, head_in
from midfill.context.gather import gather
from midfill.context.workspace import Workspace
from midfill.types import Snapshot, Snippet
from tests.context.made import snapshot_at, write

PATIENCE_S = 30.0
SHOP = "import os\n\n\nclass Basket:\n    def weigh_quux(self, unit): ...\n\n\ndef open_one(path): ...\n"
# Nothing in this text says what ``made`` is, or where.
USE = "import registry\n\n\ndef work(made):\n    made.close()\n    made.‸\n"
BASKET = 3  # its row
HOVER = "```python\n(function) def openly(\n    a: int\n) -> None\n```\n---\nOpens."


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(budget=400)
    workspace.set_folders([write(tmp_path / "w", {"shop.py": SHOP, ".env.py": SHOP, "main.py": USE})])
    yield workspace
    workspace.stop()


def snippets(project: Workspace, snapshot: Snapshot) -> list[Snippet]:
    assert project.prepare(snapshot, PATIENCE_S)
    return gather([project], snapshot)


def tell(project: Workspace, snapshot: Snapshot, *targets: Target, name: str = "made", hover: str = "") -> None:
    at = snapshot.text.index(f"{name}.")
    project.resolved(Snapshot(snapshot.uri, 1, "python", snapshot.text, at, path="main.py"), targets, hover)


@pytest.mark.parametrize(("buffer", "expected"), [
    (USE, ["made type"]),
    ("def f(a):\n    x = a.b.find(‸\n    a.b.c\n", ["find", "a type", "b type"]),
    ("def f(self, a):\n    self.b\n    self.a.‸\n", ["a type"]),
    ("def f(a):\n    g(1)[0].‸\n", []),
    ("‸\n", []),
    (f"def f(a):\n{''.join(f'    a{n}.b{chr(10)}' for n in range(9))}    ‸\n", [f"a{n} type" for n in range(8, 4, -1)]),
])  # fmt: skip
def test_what_is_asked(buffer: str, expected: list[str]) -> None:
    snapshot = snapshot_at(Path("/w"), "a.py", buffer)
    found = Definitions().wanted(snapshot)
    assert [f"{one.name}{' type' * one.of_type}" for one in found] == expected
    assert all(snapshot.text[one.at :].startswith(one.name) for one in found)
    assert len(found) <= MAX_ASKED


def test_a_name_is_asked_about_once_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    snapshot, definitions = snapshot_at(Path("/w"), "a.py", USE), Definitions()
    (one,) = definitions.wanted(snapshot)
    assert not definitions.told(Snapshot(snapshot.uri, 1, "python", snapshot.text, one.at), [], "")
    assert definitions.wanted(snapshot) == ()
    now[0] += FRESH_S + 1
    assert definitions.wanted(snapshot) == (one,)
    definitions.forget(snapshot.uri)
    assert definitions.at(snapshot) == ()


def test_a_class_is_shown_with_its_members_and_once(project: Workspace, tmp_path: Path) -> None:
    snapshot = snapshot_at(tmp_path / "w", "main.py", USE)
    assert "weigh_quux" not in "".join(one.text for one in snippets(project, snapshot))
    for _ in range(2):
        tell(project, snapshot, Target(str(tmp_path / "w/shop.py"), BASKET))
        found = snippets(project, snapshot)
        assert "".join(one.text for one in found).count("weigh_quux") == 1
        assert [one.source for one in found if "weigh_quux" in one.text] == ["definitions"]


def test_a_folder_that_is_a_link(tmp_path: Path) -> None:
    write(tmp_path / "w", {"shop.py": SHOP})
    (tmp_path / "link").symlink_to(tmp_path / "w")
    project = Workspace(budget=400)
    try:
        project.set_folders([tmp_path / "link"])
        snapshot = snapshot_at(tmp_path / "link", "main.py", USE)
        tell(project, snapshot, Target(str(tmp_path / "link/shop.py"), BASKET))
        assert "weigh_quux" in "".join(one.text for one in snippets(project, snapshot))
    finally:
        project.stop()


@pytest.mark.parametrize("path", ["outside/shop.py", "w/.env.py", "w/none.py", "w/../outside/shop.py"])
def test_a_file_that_the_index_does_not_have_is_never_read(
    project: Workspace, tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "outside", {"shop.py": SHOP})
    snapshot = snapshot_at(tmp_path / "w", "main.py", USE)
    before = snippets(project, snapshot)
    read: list[str] = []
    for module, name in ((builtins, "open"), (io, "open"), (Path, "read_text"), (Path, "read_bytes")):
        real = getattr(module, name)

        def spy(*values: object, _real: object = real, **more: object) -> object:
            read.append(str(values[0]))
            return _real(*values, **more)  # type: ignore[operator]

        monkeypatch.setattr(module, name, spy)
    tell(project, snapshot, Target(str(tmp_path / path), BASKET))
    assert snippets(project, snapshot) == before
    assert not [one for one in read if "shop" in one or ".env" in one]


def test_the_head_of_what_is_outside(project: Workspace, tmp_path: Path) -> None:
    snapshot = snapshot_at(tmp_path / "w", "main.py", USE)
    tell(project, snapshot, Target("/usr/lib/python3/openly.pyi", 7), hover=HOVER)
    (found,) = [one for one in snippets(project, snapshot) if one.source == "definitions"]
    assert (found.path, found.text) == ("python3/openly.pyi", "def openly( a: int ) -> None: ...")


@pytest.mark.parametrize(("target", "hover"), [
    (Target("/home/me/.ssh/id_rsa", 0), HOVER),  # a name that is never read
    (Target("/usr/lib/a.py", 0), "```python\n(function) def f(key: str = \"AKIAIOSFODNN7EXAMPLQ\")\n```"),
    (Target("/usr/lib/a.py", 0), "```python\n(constant) KEY: Literal['abc']\n```"),
    (Target("/usr/lib/a.py", 0), "Opens (a door)."),
    (Target("/usr/lib/a.py", 0), "```python\n(function) def f(" + "a, " * 500 + ")\n```"),
    (Target("/usr/lib/a.py", 0), ""),
])  # fmt: skip
def test_a_head_that_is_not_shown(project: Workspace, tmp_path: Path, target: Target, hover: str) -> None:
    snapshot = snapshot_at(tmp_path / "w", "main.py", USE)
    tell(project, snapshot, target, hover=hover)
    assert [one for one in snippets(project, snapshot) if one.source == "definitions"] == []


@pytest.mark.parametrize(("hover", "expected"), [
    (HOVER, "def openly( a: int ) -> None"),
    ("```typescript\n(alias) function weigh(basket: Basket): number\nimport weigh\n```",
     "function weigh(basket: Basket): number import weigh"),
    ("```typescript\n(method) Basket.find(at: number): void\n```", "Basket.find(at: number): void"),
    ("```go\nfunc Open(path string) error\n```", "func Open(path string) error"),
    ("```python\nclass Basket(a: int)\n```", "class Basket(a: int)"),
    ("```python\n(variable) basket: Basket\n```", ""),
    ("", ""),
])  # fmt: skip
def test_heads(hover: str, expected: str) -> None:
    assert head_in(hover) == expected


@pytest.mark.parametrize("off", [{"disabled_context": ["definitions"]}, {"disabled_knowledge": ["client"]}])
def test_it_can_be_switched_off(tmp_path: Path, off: dict[str, list[str]]) -> None:
    project = Workspace(budget=400, **off)
    try:
        project.set_folders([write(tmp_path / "w", {"shop.py": SHOP})])
        snapshot = snapshot_at(tmp_path / "w", "main.py", USE)
        assert project.unresolved(snapshot) == ()
        tell(project, snapshot, Target(str(tmp_path / "w/shop.py"), BASKET))
        assert [one for one in snippets(project, snapshot) if one.source == "definitions"] == []
    finally:
        project.stop()
