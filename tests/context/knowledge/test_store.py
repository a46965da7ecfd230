"""Members from jedi, in a real child process, and from the client; no code of the workspace runs."""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from midfill.context import limits
from midfill.context.child import ChildProcess
from midfill.context.knowledge import inferring, store
from midfill.context.knowledge.names import CLIENT, JEDI, NOTHING
from midfill.context.knowledge.store import Knowledge
from midfill.types import Snapshot
from tests import support
from tests.context.knowledge.made import PATIENCE_S, ask


def at(buffer: str, *, uri: str, language: str) -> Snapshot:
    return dataclasses.replace(support.at(buffer, language=language), uri=uri)


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_child_gives_way_and_has_limits() -> None:
    child = ChildProcess(store.COMMAND, max_memory=inferring.MAX_MEMORY, answer_s=PATIENCE_S)
    try:
        child.ask({"uri": "", "path": "", "text": "x = 1\nx.", "line": 1, "column": 2, "receivers": [], "folders": []})
        wanted = min(19, os.getpriority(os.PRIO_PROCESS, 0) + limits.NICE)
        assert os.getpriority(os.PRIO_PROCESS, child.pid) >= wanted
        assert "unlimited" not in next(
            line[:40] for line in Path(f"/proc/{child.pid}/limits").read_text().splitlines() if "data size" in line
        )
    finally:
        child.kill()


SHOP = """from dataclasses import dataclass, field
from typing import Any
from missing_package import Base

@dataclass
class Product:
    sku: str
    tags: list[str] = field(default_factory=list)
    def price_of(self, n: int) -> float: ...

class Derived(Product):
    extra = 1

class Odd(Base):
    def a(self): ...

class Dynamic:
    def known(self): ...
    def __getattr__(self, name): ...

class LoaderMixin:
    def load(self): ...

class Warehouse:
    def __init__(self):
        self._products: dict[str, Product] = {}
        self.items = [Product("a")]
    def find(self) -> Product: ...
    @missing_package.decorator
    def made(self): ...
    def run(self, odd: Odd, dynamic: Dynamic, derived: Derived, anything: Any, untyped, loader: LoaderMixin):
"""


@pytest.mark.parametrize(("line", "names", "is_complete"), [
    ("for p in self.items:\n            p.‸", {"sku", "tags", "price_of"}, True),
    ("for p in self._products.values():\n            p.‸", {"sku", "tags", "price_of"}, True),
    ("self.items[0].tags.‸", {"append", "sort"}, True),
    ("x = [q.tags for q in self.items][0].‸", {"append", "sort"}, True),
    ("self.find().‸", {"sku", "tags", "price_of"}, True),
    ("self.items.ap‸", {"append", "sort"}, True),
    ("derived.‸", {"sku", "extra"}, True),
    ("self.‸", {"items", "_products", "find", "run"}, True),
    ("odd.‸", {"a"}, False),  # its base is not there
    ("loader.‸", {"load"}, False),  # what extends it has more
    ("dynamic.‸", {"known"}, False),  # it makes members up
    ("untyped.‸", set(), False),
    ("self.find.‸", {"__name__"}, True),  # a method has none of its own
    ("self.made.‸", {"__name__"}, False),  # what a decorator makes of one may have
])  # fmt: skip
def test_members_by_inference(knowledge: Knowledge, line: str, names: set[str], is_complete: bool) -> None:
    known = ask(knowledge, at(f"{SHOP}        {line}\n", uri="file:///shop.py", language="python"))
    if not names:
        assert known.here is None
        return
    assert known.here is not None
    assert names <= set(known.here.names)
    assert known.here.is_complete is is_complete
    assert known.here.source == "jedi"
    assert names == {"__name__"} or not known.here.names[0].startswith("_")  # special ones come last


def test_names_that_the_model_may_write_next(knowledge: Knowledge) -> None:
    """Receivers in the scope are known before one of them is written."""
    known = ask(
        knowledge, at(f"{SHOP}        total = derived.extra\n        ‸\n", uri="file:///n.py", language="python")
    )
    assert known.here is None
    assert "extra" in known.complete["derived"]
    assert "_products" in known.complete["self"]
    assert "odd" not in known.complete


def test_receivers_that_a_middle_names(knowledge: Knowledge) -> None:
    """Their members are requested while the middle grows, and kept beside the other lists."""
    snapshot = at(f"{SHOP}        total = self.‸\n", uri="file:///g.py", language="python")
    ask(knowledge, snapshot)
    middle = "find().sku + derived.extra + self.find.sku\n        p = self.items\n        p.missing"
    knowledge.grows(snapshot, middle)
    assert knowledge.settle(PATIENCE_S)
    known = knowledge.at(snapshot)
    assert "sku" not in known.complete["self.find"]
    assert {"sku", "extra"} <= known.complete["derived"]
    assert "p" not in known.complete  # the middle itself says what that is
    assert known.here is not None
    assert "items" in known.here.names


def test_each_receiver_of_a_middle_is_asked_for_once() -> None:
    over = threading.Event()
    asked: list[list[str]] = []

    class Child(ChildProcess):
        def __init__(self) -> None: ...

        def ask(self, message: dict[str, Any]) -> dict[str, Any]:
            asked.append(list(message["receivers"]))
            over.wait()
            return {"lists": []}

        def end(self) -> None: ...
        def kill(self) -> None: ...

    subject = Knowledge(start=Child)
    snapshot = at(f"{SHOP}        ‸\n", uri="file:///h.py", language="python")
    text = "x = derived.extra + self.items.pop(derived.sku)"
    try:
        for end in range(1, len(text)):
            subject.grows(snapshot, text[:end])
        subject.grows(dataclasses.replace(snapshot, language="go", uri="file:///i"), "a.b")
        over.set()
        assert subject.settle(PATIENCE_S)
    finally:
        over.set()
        subject.stop()
    assert sorted(name for names in asked for name in names) == ["derived", "self", "self.items"]


def test_what_a_person_wrote_is_there(knowledge: Knowledge) -> None:
    """An attribute that is set from elsewhere, which cannot be read from the class."""
    text = f"{SHOP}        derived.set_from_outside = 1\n        derived.ex‸\n"
    known = ask(knowledge, at(text, uri="file:///u.py", language="python"))
    assert known.here is not None
    assert "set_from_outside" in known.here.names
    assert "ex" not in known.here.names  # the word that is being typed


def test_other_files_of_the_workspace_are_read_and_nothing_is_run(tmp_path: Path) -> None:
    """Modules, configuration and packages that would leave a mark if anything of theirs ran."""
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').close()\n"
    packages = tmp_path / ".venv" / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    for name in ("jedi.py", "parso.py", "sitecustomize.py", "conftest.py", "midfill.py", "typing.py"):
        (tmp_path / name).write_text(code)
    (packages / "evil.pth").write_text(f"import os; {code}")
    (packages / "vendored.py").write_text(f"{code}class Client:\n    def send(self): ...\n")
    (tmp_path / ".jedi").mkdir()
    (tmp_path / ".jedi" / "project.json").write_text('[1, {"environment_path": "/bin/sh"}]')
    (tmp_path / "native.cpython-311-x86_64-linux-gnu.so").write_bytes(b"no library")
    (tmp_path / "stock.py").write_text(f"{code}class Stock:\n    def reserve(self): ...\n")
    text = "import native\nfrom stock import Stock\nfrom vendored import Client\ndef f(s: Stock, c: Client):\n"
    subject = Knowledge()
    subject.set_folders([tmp_path])
    try:
        uri = (tmp_path / "main.py").as_uri()
        first = ask(subject, at(f"{text}    s.‸\n", uri=uri, language="python"))
        second = ask(subject, at(f"{text}    c.‸\n", uri=uri, language="python"))
        third = ask(subject, at(f"{text}    native.‸\n", uri=uri, language="python"))
    finally:
        subject.stop()
    assert first.here is not None
    assert "reserve" in first.here.names
    assert second.here is not None
    assert "send" in second.here.names
    assert third.here is None
    assert not mark.exists()


def test_what_is_known_holds_in_its_scope(knowledge: Knowledge) -> None:
    ask(knowledge, at(f"{SHOP}        derived.‸\n", uri="file:///s.py", language="python"))
    elsewhere = at(f"{SHOP}        pass\n\ndef other(derived):\n    derived.‸\n", uri="file:///s.py", language="python")
    assert knowledge.at(elsewhere) == NOTHING


def test_a_child_that_hangs_or_dies_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[ChildProcess] = []

    def start(code: str) -> ChildProcess:
        started.append(ChildProcess((sys.executable, "-c", code), max_memory=1 << 30, answer_s=0.3))
        return started[-1]

    hangs = "import time, sys; print('{}', flush=True); time.sleep(600)"
    for code in (
        hangs,
        "import sys; sys.exit(3)",
        "print('{}', flush=True); input(); print('[]', flush=True); input()",
    ):
        subject = Knowledge(start=functools.partial(start, code))
        for row in range(4):
            snapshot = at("\n" * row + "def f(q: list):\n    q.‸\n", uri=f"file:///{row}.py", language="python")
            assert ask(subject, snapshot) == NOTHING
        subject.stop()
    assert len(started) == 3 * store.MAX_ENDED  # then none for a while


def test_a_client_tells(knowledge: Knowledge) -> None:
    snapshot = at("function f(order) {\n  order.‸\n}\n", uri="file:///a.ts", language="typescript")
    assert knowledge.at(snapshot) == NOTHING
    knowledge.told(snapshot, ["lines", "total"], is_complete=True)
    known = knowledge.at(snapshot)
    assert known.here is not None
    assert (known.here.names, known.here.source, known.here.is_complete) == (("lines", "total"), "client", True)
    far = at("function f(order) {\n" + "\n" * 30 + "  order.‸\n}\n", uri="file:///a.ts", language="typescript")
    assert knowledge.at(far).here is None
    knowledge.forget("file:///a.ts")
    assert knowledge.at(snapshot) == NOTHING


FUNCTION = "function f(order) {\n  this.total += order.net;\n  ‸\n}\n"


def told_at(knowledge: Knowledge, text: str, receiver: str, names: list[str]) -> Snapshot:
    """Send the names at the first use of a receiver; return the snapshot at the cursor."""
    snapshot = at(text, uri="file:///b.ts", language="typescript")
    use = dataclasses.replace(snapshot, cursor=snapshot.text.index(f"{receiver}.") + len(receiver) + 1)
    knowledge.told(use, names, is_complete=True)
    return snapshot


def test_a_client_is_asked_for_what_is_used_near(knowledge: Knowledge) -> None:
    snapshot = at(FUNCTION, uri="file:///b.ts", language="typescript")
    assert [snapshot.text[:place].split()[-1] for place in knowledge.wanted(snapshot)] == ["this.", "order."]
    told_at(knowledge, FUNCTION, "this", ["total", "rest"])
    assert [snapshot.text[:place].split()[-1] for place in knowledge.wanted(snapshot)] == ["order."]
    assert knowledge.at(snapshot).complete == {"this": {"total", "rest"}}
    behind = at(FUNCTION.replace("‸", "order.‸"), uri="file:///b.ts", language="typescript")
    assert knowledge.wanted(behind) == (behind.cursor,)
    knowledge.forget("file:///b.ts")


def test_how_far_a_list_reaches(knowledge: Knowledge) -> None:
    far = FUNCTION.replace("‸", "\n" * 30 + "  ‸")
    told_at(knowledge, far, "order", ["net"])
    assert set(knowledge.at(told_at(knowledge, far, "this", ["total"])).complete) == {"this"}
    knowledge.forget("file:///b.ts")


def test_a_list_without_the_name_that_stands_there_is_not_complete(knowledge: Knowledge) -> None:
    assert knowledge.at(told_at(knowledge, FUNCTION, "order", ["gross"])).complete == {}
    knowledge.forget("file:///b.ts")


def test_a_client_that_is_off_is_not_asked() -> None:
    assert Knowledge(["client"]).wanted(at(FUNCTION, uri="file:///b.ts", language="typescript")) == ()


def test_a_client_comes_before_inference(knowledge: Knowledge) -> None:
    snapshot = at(f"{SHOP}        derived.‸\n", uri="file:///c.py", language="python")
    ask(knowledge, snapshot)
    knowledge.told(snapshot, ["from_the_client"], is_complete=False)
    known = knowledge.at(snapshot)
    assert known.here is not None
    assert known.here.names == ("from_the_client",)


@pytest.mark.parametrize("off", [JEDI, CLIENT])
def test_each_source_can_be_switched_off(off: str) -> None:
    subject = Knowledge([off])
    snapshot = at("def f(q: list):\n    q.‸\n", uri="file:///o.py", language="python")
    try:
        known = ask(subject, snapshot)
        assert (known.here is None) is (off == "jedi")
        subject.told(snapshot, ["x"], is_complete=True)
        told = subject.at(snapshot)
        assert (told.here is not None and told.here.source == "client") is (off == "jedi")
    finally:
        subject.stop()


def test_looking_up_takes_no_time(knowledge: Knowledge) -> None:
    """A look-up never waits for the child, even if the child hangs."""
    over = threading.Event()

    def start() -> ChildProcess:
        over.wait()
        raise OSError

    subject = Knowledge(start=start)
    snapshot = at("def f(q: list):\n    q.‸\n", uri="file:///t.py", language="python")
    try:
        subject.look(snapshot)
        assert subject.at(snapshot) == NOTHING
        assert not subject.settle(0.05)
    finally:
        subject.stop()
        over.set()


TAKES = [{"label": "(a: int, *, key: str)", "parameters": [{"label": one} for one in ("a: int", "*", "key: str")]}]


@pytest.mark.parametrize("buffer", [
    "def f(o):\n    o.find(1, ‸\n",
    "def f(o):\n    o.find(\n        1,\n        [x for x in ‸\n",
    "o.find(\n    1,\n    ‸\n)\n",
])  # fmt: skip
def test_what_the_client_says_of_a_call(buffer: str) -> None:
    knowledge, snapshot = Knowledge(off=[JEDI]), at(buffer, uri="file:///a.py", language="python")
    place = knowledge.wanted_call(snapshot)
    assert place is not None
    assert snapshot.text[:place].endswith("o.find(")
    knowledge.told_call(snapshot, TAKES)
    signature = knowledge.at(snapshot).calls["o.find"]
    assert (signature.source, signature.is_complete) == (CLIENT, True)
    assert signature.names == {"a", "key"}
    assert knowledge.wanted_call(snapshot) is None  # it is known now
    knowledge.disable([CLIENT, JEDI])
    assert knowledge.at(snapshot) == NOTHING
    assert knowledge.wanted_call(snapshot) is None


def test_what_the_client_says_of_a_call_holds_near_it_and_in_its_function() -> None:
    knowledge = Knowledge(off=[JEDI])
    knowledge.told_call(at("def f(o):\n    o.find(‸\n", uri="file:///a.py", language="python"), TAKES)
    for head, holds in (("def f(o):\n", True), ("def f(o):\n" + "    o\n" * 20, False), ("def g(o):\n", False)):
        again = at(f"{head}    o.find(‸\n", uri="file:///a.py", language="python")
        assert ("o.find" in knowledge.at(again).calls) == holds
        assert (knowledge.wanted_call(again) is None) == (head.startswith("def f"))


@pytest.mark.parametrize("buffer", ["x = ‸\n", "def f(‸\n", "x = a()(‸\n", "x = [‸\n"])
def test_no_call_to_ask_about(buffer: str) -> None:
    knowledge, snapshot = Knowledge(off=[JEDI]), at(buffer, uri="file:///a.py", language="python")
    assert knowledge.wanted_call(snapshot) is None
    knowledge.told_call(snapshot, TAKES)
    assert knowledge.at(snapshot) == NOTHING
