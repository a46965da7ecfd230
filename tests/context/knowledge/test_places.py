"""The places at which names are requested."""

from __future__ import annotations

import pytest

from midfill.context.knowledge.places import asked_at, receiver_before, scope_of, uses_near, written
from tests.support import at


@pytest.mark.parametrize(("line", "receiver"), [
    ("q.‸", "q"),
    ("x = self.items.ad‸", "self.items"),
    ("return f(q.get‸)", "q"),
    ("load().‸", "load()"),
    ("a.b().c.‸", "a.b().c"),
    ("q‸", ""),
    ("3.‸", ""),
    ("q[0].‸", "q[0]"),
    ("x = q[0].tags.po‸", "x = q[0].tags"),
    ('"text".‸', '"text"'),
    ("x = 12.‸", ""),
    ("x1.‸", "x1"),
    ("‸", ""),
])  # fmt: skip
def test_what_stands_before_the_dot(line: str, receiver: str) -> None:
    assert receiver_before(at(line, language="python")) == receiver


METHOD = """class Shop:
    def add(self, order: Order, *rest, **more):
        with open(order.path) as stream:
            total = self.tax.of(order)
            for line in order.lines:
                ‸


def other(untold):
    pass
"""


def test_names_of_the_scope() -> None:
    asked = asked_at(at(METHOD, language="python"))
    assert asked is not None
    assert not asked.here
    assert asked.scope.strip().startswith("def add")
    assert {"self", "order", "stream", "total", "line", "self.tax"} <= set(asked.receivers)
    assert "untold" not in asked.receivers


def test_a_begun_word_is_left_out_of_the_question() -> None:
    asked = asked_at(at("def f(q):\n    q.put‸(3)\n", language="python"))
    assert asked is not None
    assert asked.text == "def f(q):\n    q.(3)\n"
    assert (asked.row, asked.column, asked.receivers[0], asked.here) == (1, 6, "q", True)


def test_the_scope_is_the_function() -> None:
    assert scope_of(at(METHOD, language="python")).strip().startswith("def add")
    assert scope_of(at("x = 1\n‸\n", language="python")) == ""


def test_nothing_to_ask() -> None:
    assert asked_at(at("‸", language="python")) is None
    assert asked_at(at("import os\n‸\n", language="python")) is None


SCRIPT = """class Shop {
  other(order) { return order.before.all; }
  add(order: Order) {
    // see order.nothing
    const total = this.tax.of(order.lines);
    if (total.net > 3) {
      ‸
    }
    return this.items.push(total.gross, "a.b", `${told.value}`);
  }
  more() { return later.value; }
}
"""


@pytest.mark.parametrize(("text", "language", "uses"), [
    (SCRIPT, "typescript", {
        "this": "tax.of", "this.tax": "of(", "this.items": "push(", "total": "net >", "order": "lines",
        "told": "value}",
    }),
    (METHOD, "python", {"self": "tax.of", "self.tax": "of(", "order": "lines:"}),
    ("def f(a):\n    a.b.c()\n    a.‸\n", "python", {"a": "b.c", "a.b": "c("}),
    ("def f(a):\n    x(a.b.‸)\n", "python", {}),  # a line that is being written
    ("import a.b\n\n\ndef f():\n    ‸\n", "python", {}),
    ("a.b()\n\n\ndef f():\n    ‸\n", "python", {}),
    ("def f(a):\n    a.b\n\n\na.run()\n‸\n", "python", {"a": "run("}),
    ("def f(a):\n    '''a.b'''\n    # a.c\n    ‸\n", "python", {}),
])  # fmt: skip
def test_where_receivers_are_used(text: str, language: str, uses: dict[str, str]) -> None:
    snapshot = at(text, language=language)
    found = uses_near(snapshot)
    assert set(found) == set(uses)
    assert all(snapshot.text[place:].startswith(uses[name]) for name, place in found.items())
    assert list(found)[:1] in ([], ["this"], ["self"], ["a"])


def test_a_long_text_has_no_uses() -> None:
    assert uses_near(at("x.y\n" * 30_000 + "x.y\n‸", language="python")) == {}


@pytest.mark.parametrize(("line", "middle", "receivers"), [
    ("x = self.‸", "sns.channel._set", ["self.sns", "self.sns.channel"]),
    ("x = ‸", "a.b + c.d.e", ["a", "c", "c.d"]),
    ("x = self.a.‸", "b", []),  # it stands there already
    ("‸", "for a in b.c:\n    a.d", ["b"]),  # what it binds itself
    ("‸", "'a.b'", []),
])  # fmt: skip
def test_receivers_of_a_middle(line: str, middle: str, receivers: list[str]) -> None:
    assert written(at(line, language="python"), middle) == receivers
