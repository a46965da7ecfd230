"""What Python callees take, as the child that infers reads it. ``‸`` is the cursor."""

from __future__ import annotations

import dataclasses

import pytest

from midfill.context.knowledge.store import Knowledge
from midfill.context.likely_names import likely_names
from midfill.types import Snapshot
from tests import support
from tests.context.knowledge.made import PATIENCE_S, ask

SHOP = """import functools
import json
import typing
from abc import ABC, abstractmethod
from dataclasses import dataclass
from missing_package import Base, wrapped

def load(path, mode="r", *, strict=False): ...
def log(text, *values): ...
def options(a, **more): ...
@wrapped
def made(a): ...
@functools.lru_cache
def cached(a): ...
partial = functools.partial(load, 1)
if json:
    def twice(a): ...
else:
    def twice(a, b): ...
@typing.overload
def over(a: int) -> int: ...
@typing.overload
def over(a: str, b: int) -> str: ...
def over(a, b=None): return a
async def later(a): ...

USED = abstractmethod

class Item:
    def __init__(self, sku, count=1): ...
    def move(self, shelf, /, *, slowly=False): ...
    @staticmethod
    def of(text): ...
    @classmethod
    def read(cls, file): ...
    @property
    def call(self): return load

class Big(Item):
    size = 3

class Shape(ABC):
    def __init__(self, sides): ...
    def draw(self, pen): ...

class Circle(Shape):
    def draw(self, pen, fill=None): ...

class Derived(Base):
    def __init__(self, a): ...

class Made:
    def __new__(cls, *a): ...
    def __init__(self, a): ...

class Meta(metaclass=type(json)):
    def __init__(self, a): ...

@dataclass
class Point:
    x: int
    y: int = 0

class Pair(typing.NamedTuple):
    a: int
    b: int

def f(item: Item, shape: Shape, untyped, callback=load):
"""


def at(line: str) -> Snapshot:
    return dataclasses.replace(support.at(f"{SHOP}    {line}\n", language="python"), uri="file:///shop.py")


@pytest.mark.parametrize(("call", "by_position", "by_name", "is_complete"), [
    ("load(‸", ["path", "mode"], ["path", "mode", "strict"], True),
    ("x = load(1, ‸", ["path", "mode"], ["path", "mode", "strict"], True),
    ("load(\n        1,\n        ‸", ["path", "mode"], ["path", "mode", "strict"], True),
    ("later(‸", ["a"], ["a"], True),
    ("item.move(‸", ["shelf"], ["slowly"], True),
    ("Item(‸", ["sku", "count"], ["sku", "count"], True),
    ("Big(‸", ["sku", "count"], ["sku", "count"], True),
    ("Item.of(‸", ["text"], ["text"], True),
    ("Item.read(‸", ["file"], ["file"], True),
    ("Shape(‸", ["sides"], ["sides"], True),
    ("sum(‸", ["iterable", "start"], ["start"], True),  # overloads
    # what may take more, or something else
    ("made(‸", None, None, False),  # decorated
    ("cached(‸", None, None, False),
    ("partial(‸", None, None, False),
    ("twice(‸", None, None, False),
    ("over(‸", None, None, False),  # overloads, and a function beside them
    ("callback(‸", None, None, False),  # a default; others may be passed
    ("item.call(‸", None, None, False),  # a property
    ("Derived(‸", ["a"], ["a"], False),  # its base is not there
    ("Made(‸", None, None, False),
    ("Meta(‸", None, None, False),
    ("shape.draw(‸", ["pen"], ["pen"], False),  # that of a subclass takes more
    ("Point(‸", ["x", "y"], ["x", "y"], False),  # made by a decorator
    ("Pair(‸", None, None, False),
])  # fmt: skip
def test_what_a_callee_takes(
    knowledge: Knowledge, call: str, by_position: list[str] | None, by_name: list[str] | None, is_complete: bool
) -> None:
    known = ask(knowledge, at(call))
    callee = call.partition("(")[0].rpartition(" ")[2]
    found = known.calls.get(callee)
    assert (found is not None and found.is_complete) is is_complete
    assert (callee in known.certain.calls) is is_complete
    if found is not None and by_position is not None and by_name is not None:
        assert {one.name for one in found.parameters if one.by_position} == set(by_position)
        assert found.names == set(by_name)
        assert found.source == "jedi"


@pytest.mark.parametrize(("call", "any_position", "any_name"), [
    ("log(‸", True, False), ("options(‸", False, True), ("print(‸", True, False),
])  # fmt: skip
def test_any_number_of_arguments(knowledge: Knowledge, call: str, any_position: bool, any_name: bool) -> None:
    found = ask(knowledge, at(call)).calls[call.partition("(")[0]]
    assert (found.any_position, found.any_name) == (any_position, any_name)


def test_nothing_is_known_of_what_is_not_found(knowledge: Knowledge) -> None:
    for call in ("untyped(‸", "untyped.method(‸", "missing(‸"):
        assert ask(knowledge, at(call)).calls == {}


@pytest.mark.parametrize(("call", "names"), [
    ("load(path=1, ‸)", ("mode", "strict")),
    ("load(1, mode=2, ‸", ("strict",)),
    ("load(1, 2, ‸)", ("strict",)),  # nothing else is left
    ("load(path=1, m‸)", ("mode",)),
    ("load(path=1, ‸strict=1)", ("mode",)),  # it is given further on
    ("load(\n        path=1,\n        ‸\n    )", ("mode", "strict")),
    ("load(1, ‸)", ()),  # the next one may be given by position
    ("load(**untyped, ‸)", ()),
    ("load(path=‸", ()),
    ("load(path=1)‸", ()),
    ("options(a=1, ‸", ()),
])  # fmt: skip
def test_names_that_are_left_are_likelier(knowledge: Knowledge, call: str, names: tuple[str, ...]) -> None:
    snapshot = at(call)
    assert likely_names(snapshot, [], ask(knowledge, snapshot)) == (names, False)


def test_callees_that_a_middle_names(knowledge: Knowledge) -> None:
    """What they take is asked for while it grows, and kept beside what is known."""
    snapshot = at("x = load(‸")
    ask(knowledge, snapshot)
    knowledge.grows(snapshot, "log(Item(")
    assert knowledge.settle(PATIENCE_S)
    assert set(knowledge.at(snapshot).calls) == {"load", "log", "Item"}
