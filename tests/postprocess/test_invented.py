"""Members that do not exist are not shown, where it is known what does."""

from __future__ import annotations

import pytest

from midfill.postprocess import PostProcessor
from midfill.syntax.calls import Certain
from tests.support import at

KNOWN = Certain({
    "warehouse": frozenset({"_products", "find", "items"}), "p": frozenset({"tags", "sku"}),
    "self.stock": frozenset({"take"}),
})  # fmt: skip


@pytest.mark.parametrize(("buffer", "middle", "shown"), [
    ("return ‸\n", "warehouse.products", "warehouse."),
    ("return ‸\n", "warehouse._products", "warehouse._products"),
    ("return ‸\n", "other.products", "other.products"),  # nothing is known of it
    ("return warehouse.‸\n", "products", ""),
    ("return warehouse.‸\n", "find(3)", "find(3)"),
    ("return warehouse.fi‸\n", "nd(3)", "nd(3)"),
    ("return ‸\n", "[p.tags for p in x]", "[p.tags for p in x]"),
    ("x = ‸\n", "f(p.tag, 3)", "f(p."),
    ("x = ‸\n", "self.stock.take(1)", "self.stock.take(1)"),
    ("x = ‸\n", "self.stock.put(1)", "self.stock."),
    ("x = ‸\n", "a.warehouse.products", "a.warehouse.products"),  # a member of that name, not this one
    ("x = ‸\n", "get().p.colour", "get().p.colour"),
    ("x = ‸\n", "\"warehouse.products\"", "\"warehouse.products\""),
    ("‸\n", "warehouse.total = 3", "warehouse.total = 3"),  # it is made here
    ("‸\n", "if warehouse.total == 3:", "if warehouse."),
    ("# ‸\n", "warehouse.products is a list", "warehouse.products is a list"),
])  # fmt: skip
def test_cut_before_what_is_invented(buffer: str, middle: str, shown: str) -> None:
    processor = PostProcessor(at(buffer, language="python"))
    processor.know(KNOWN)
    assert processor.shown(middle, finished=True) == shown
    processor.know(Certain())
    processor.shown(middle, finished=True)
    assert "drop_invented" not in [applied.rule for applied in processor.applied]


@pytest.mark.parametrize(("middle", "ends"), [
    ("warehouse.pro", "invented"),
    ("warehouse.fi", ""),  # may become a member
    ("warehouse.", ""),
    ("warehouse.find", ""),
    ("warehouse.finds", "invented"),
])  # fmt: skip
def test_the_engine_stops_where_nothing_more_would_be_shown(middle: str, ends: str) -> None:
    processor = PostProcessor(at("return ‸\n", language="python"))
    processor.know(KNOWN)
    assert processor.ends(middle) == ends
    off = PostProcessor(at("return ‸\n", language="python"), ["drop_invented"])
    off.know(KNOWN)
    assert off.ends(middle) == ""


def test_a_name_that_is_bound_again_is_not_known_any_more() -> None:
    processor = PostProcessor(at("def f():\n    ‸\n", language="python"))
    processor.know(KNOWN)
    text = "for p in load():\n        print(p.colour)"
    assert processor.shown(text, finished=True) == text
