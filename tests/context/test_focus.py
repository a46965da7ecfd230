"""What a place in a text says: the names around it, whose member is being written, and the class of that receiver."""

from __future__ import annotations

import pytest

from tests.context.made import focus_at


@pytest.mark.parametrize(
    ("path", "buffer", "receiver", "types"),
    [
        ("a.py", "client = Client(1)\nclient.‸", "client", {"Client"}),
        ("a.py", "def f(client: 'http.Client') -> None:\n    client.se‸", "client", {"Client"}),
        ("a.py", "def f(x: Optional[Client] = None):\n    x.‸", "x", {"Client"}),
        ("a.py", "def f(self):\n    self.client = await http.Client()\n    self.client.‸", "client", {"Client"}),
        ("a.py", "def f(broker):\n    broker.‸", "broker", {"Broker"}),
        ("a.py", "def f(rate_limiter):\n    rate_limiter.‸", "rate_limiter", {"RateLimiter"}),
        ("a.py", "class A(Base):\n    def f(self):\n        self.‸", "self", {"Base"}),
        ("a.py", "x = 1‸", "", set()),
        ("a.py", "print(1.‸", "", set()),
        ("a.ts", "const c = new Client();\nc.‸", "c", {"Client"}),
        ("a.ts", "function f(c: Client) {\n  c?.x;\n  c.‸", "c", {"Client"}),
        ("A.java", "List<String> a;\nClient client = make();\nclient.‸", "client", {"Client"}),
        ("a.go", "func f(c *x.Client) {\n\tc := &Client{}\n\tc.‸", "c", {"Client"}),
        ("a.rs", "let c = Client::new();\nc.‸", "c", {"Client"}),
        ("a.cpp", "Client *c = get();\nc->‸", "c", {"Client"}),
    ],
)  # fmt: skip
def test_receiver_and_types(path: str, buffer: str, receiver: str, types: set[str]) -> None:
    focus = focus_at(path, buffer)
    assert focus.receiver == receiver
    assert types <= {name for name, weight in focus.types.items() if weight == 1.0}


def test_near_words_count_more() -> None:
    focus = focus_at("a.py", "far_away()\n" + "x = 1\n" * 30 + "close_by()\n‸\n")
    assert focus.near["close_by"] > 0.8 > 0.3 > focus.near["far_away"]
    assert "un" not in focus.near


def test_scopes_are_the_lines_that_open_what_the_cursor_stands_in() -> None:
    body = "        a = 1\n" * 100
    focus = focus_at("a.py", f"class A(Base):\n    # note\n    def f(self, client):\n{body}        b‸\n")
    assert focus.scopes == ["    def f(self, client):", "class A(Base):"]
    assert focus.near["client"] == focus.near["Base"] == 0.6
