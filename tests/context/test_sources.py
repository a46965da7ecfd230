"""What each context source finds, and how its findings become the snippets of a prompt."""

from __future__ import annotations

import pytest

from midfill.context.choose import CHARS_PER_TOKEN, Choice, choose
from midfill.context.focus import Focus
from midfill.context.index import SourceFile
from midfill.context.sources import SOURCES
from midfill.context.view import Edit, Excerpt
from midfill.syntax import languages
from tests.context.made import focus_at, found_by, names_of, view_of

CLIENT = (
    "class Client(Base):\n    def send(self, data): ...\n    def _hidden(self): ...\n\ndef connect(url):\n    pass\n"
)
BASE = "class Base:\n    def close(self): ...\n"


@pytest.mark.parametrize(
    ("source", "files", "path", "buffer", "expected"),
    [
        ("imports", {"p/b.py": CLIENT}, "p/a.py", "from .b import connect\n‸", ["connect"]),
        ("imports", {"p/b.py": CLIENT}, "p/a.py", "from p import b\nb.‸", ["Client", "connect"]),
        ("imports", {"p/b.py": CLIENT}, "p/a.py", "from q import connect\n‸", []),
        (
            "imports", {"p/__init__.py": "from .b import connect\n", "p/b.py": CLIENT}, "x.py",
            "from p import connect\n‸", ["connect"],
        ),
        ("names", {"b.py": CLIENT}, "a.py", "connect(‸", ["connect"]),
        ("names", {"b.py": CLIENT, "base.py": BASE}, "a.py", "client.‸", ["Client", "send", "Base", "close"]),
        ("names", {"base.py": BASE}, "a.py", "class A(Base):\n    def f(self):\n        self.‸", ["Base", "close"]),
        ("names", {"b.py": CLIENT}, "a.py", "def connect(): pass\nconnect(‸", []),  # this file's own
        ("names", {"b.ts": "export function connect() {}\n"}, "a.py", "connect(‸", []),  # another language
        ("names", {f"{n}.py": CLIENT for n in range(9)}, "a.py", "connect(‸", []),  # everybody's
        ("siblings", {"p/b.py": CLIENT, "q/c.py": BASE}, "p/a.py", "‸", ["Client", "connect"]),
        ("siblings", {"src/p/a.py": CLIENT}, "tests/test_a.py", "‸", ["Client", "connect", "send"]),
        ("siblings", {"p/B.java": "class B { void f() {} }\n"}, "p/A.java", "‸", ["B"]),
    ],
)  # fmt: skip
def test_definitions_that_are_found(
    source: str, files: dict[str, str], path: str, buffer: str, expected: list[str]
) -> None:
    focus = focus_at(path, buffer)
    found = names_of(found_by(source, view_of(files | {path: focus.text}), focus))
    assert set(expected) <= set(found) if expected else not found


def test_an_import_that_is_not_used_yet_comes_first() -> None:
    files = {"p/b.py": "def used(): pass\ndef unused(): pass\n", "p/c.py": "from .b import unused\n\nx = unused()\n"}
    focus = focus_at("p/a.py", "from .b import used, unused\n\nused()\n‸\n")
    found = found_by("imports", view_of(files), focus)
    assert names_of(found) == ["unused", "used"]
    assert [one.text for one in found if isinstance(one, Excerpt)] == ["\nx = unused()"]  # and how others call it


def test_documents_that_were_visited() -> None:
    view = view_of({"b.py": CLIENT, "c.py": BASE, "d.ts": "function f() {}"}, ("d.ts", "c.py", "b.py", "a.py"))
    assert names_of(found_by("open", view, focus_at("a.py", "‸"))) == ["Base", "Client", "connect"]


def test_edits_elsewhere() -> None:
    text = "".join(f"line_{n}\n" for n in range(50))
    edits = (Edit("a.py", 1, 2), Edit("b.py", 20, 21), Edit("gone.py", 1, 2), Edit("c.py", 0, 40))
    found = found_by("edits", view_of({"b.py": text, "c.py": text}, (), edits), focus_at("a.py", "‸"))
    shown = [(one.file.path, one.start, one.end) for one in found if isinstance(one, Excerpt)]
    assert shown == [("b.py", 18, 23), ("c.py", 0, 16)]


def test_similar_code() -> None:
    other = "import x\n" * 30 + "session = open_session(config)\nrows = session.fetch_rows(table)\n" + "y = 1\n" * 30
    files = {"b.py": other, "c.py": "z = 1\n" * 40, "d.ts": other}
    focus = focus_at("a.py", "session = open_session(config)\nrows = ‸\n")
    found = found_by("similar", view_of(files), focus)
    assert [one.file.path for one in found] == ["b.py"]
    assert isinstance(found[0], Excerpt)
    assert "fetch_rows" in found[0].text


FILES = {f"p/m{n}.py": f"class C{n}:\n    def method_{n}(self, a, b): ...\n\ndef make_{n}(x): ...\n" for n in range(40)}
BUFFER = "".join(f"from .m{n} import C{n}, make_{n}\n" for n in range(40)) + "make_1(1)\n" * 12 + "‸"


@pytest.mark.parametrize("budget", [0, 20, 100, 400])
def test_the_budget_is_kept_and_used(budget: int) -> None:
    chosen = choose(view_of(FILES), focus_at("p/a.py", BUFFER), budget)
    n_tokens = sum((len(one.text) + len(one.path)) / CHARS_PER_TOKEN for one in chosen.snippets)
    assert n_tokens <= budget
    assert budget < 100 or n_tokens > budget / 2


def test_nothing_is_said_twice() -> None:
    """Two sources do not give the same text, and no source gives what the file itself shows beside the cursor."""
    files = {"b.py": CLIENT, "base.py": BASE}
    focus = focus_at(
        "a.py", "from b import Client, connect\nimport b\n\nclient = Client()\n# def connect(url)\nclient.‸"
    )
    signatures = {name: source for name, source in SOURCES.items() if name != "similar"}
    snippets = choose(view_of(files, ("b.py",)), focus, 500, None, signatures).snippets
    text = "\n".join(snippet.text for snippet in snippets)
    assert text.count("class Client(Base):") == text.count("client.send(data)") == 1
    assert "def connect" not in text


def test_a_window_does_not_say_what_signatures_say() -> None:
    focus = focus_at("a.py", "from b import Client, connect\n\nclient = connect()\nclient.‸")
    text = "\n".join(one.text for one in choose(view_of({"b.py": CLIENT}, ("b.py",)), focus, 500).snippets)
    assert text.count("class Client(Base):") == text.count("send(") == 1


def test_a_file_itself_is_never_its_own_context() -> None:
    focus = focus_at("b.py", CLIENT + "client = Client()\nclient.‸")
    assert choose(view_of({"b.py": CLIENT}, ("b.py",), (Edit("b.py", 0, 2),)), focus, 500).snippets == ()


def shown(choice: Choice) -> list[tuple[str, str]]:
    return [(snippet.path, snippet.text) for snippet in choice.snippets]


def test_the_order_stays_while_somebody_types() -> None:
    """A line is typed character by character: the snippets in front stay as they are, so the beginning of the prompt
    stays, too."""
    view = view_of(FILES)
    line = "c = C3(make_7(1))\n"
    before = choose(view, focus_at("p/a.py", BUFFER), 300)
    for n in range(1, len(line) + 1):
        now = choose(view, focus_at("p/a.py", BUFFER.replace("‸", line[:n] + "‸")), 300, before)
        assert now.front.keys() == before.front.keys()
        kept = [one for one in shown(before) if one in shown(now)]
        assert shown(now)[: len(kept)] == kept
        before = now


def test_what_changes_comes_last() -> None:
    view = view_of(FILES | {"q/other.py": CLIENT})
    before = choose(view, focus_at("p/a.py", BUFFER), 300)
    buffer = BUFFER.replace("‸", "".join(f"make_{n}(C{n}())\n" for n in range(20, 30)) + "client.‸")
    now = choose(view, focus_at("p/a.py", buffer), 300, before)
    kept = [snippet for snippet in before.snippets if snippet in now.snippets]
    assert now.snippets != before.snippets
    assert any("class Client" in snippet.text for snippet in now.snippets)
    assert list(now.snippets[: len(kept)]) == kept


def test_a_choice_of_nothing_is_no_choice() -> None:
    focus = focus_at("p/a.py", BUFFER)
    assert shown(choose(view_of(FILES), focus, 300, Choice())) == shown(choose(view_of(FILES), focus, 300))


GO = "type Product struct {\n\tSKU string\n}\n\nfunc (p *Product) Label() string {\n\treturn p.SKU\n}\n"


@pytest.mark.parametrize(
    ("edited", "path", "buffer", "enters"),
    [
        ("shop.go", "app.jsx", "export const Row = (p) => <li>{p.‸}</li>\n", False),
        ("shop.go", "app.tsx", "const label = p.‸\n", False),
        ("shop.go", "other.go", "return p.‸\n", True),
        ("shop.go", "shop.proto", "message Product {\n  ‸\n}\n", True),
        ("shop.proto", "app.tsx", "const label = p.‸\n", True),
        ("shop.proto", "shop.css", ".a { ‸ }\n", False),
        ("app.ts", "app.jsx", "p.‸\n", True),
        ("app.css", "app.tsx", "<li className=‸\n", True),
        ("app.html", "app.scss", ".‸\n", True),
        ("app.vue", "app.ts", "p.‸\n", True),
        ("app.php", "app.html", "<p>‸</p>\n", True),
        ("app.php", "app.py", "p.‸\n", False),
        ("a.h", "a.cpp", "p.‸\n", True),
        ("A.java", "A.kt", "p.‸\n", True),
        ("A.java", "a.py", "p.‸\n", False),
        ("a.sql", "a.py", 'run("select ‸")\n', True),
        ("a.sql", "a.py", "run(‸)\n", False),
        ("a.py", "a.sql", "select ‸\n", False),
        ("a.py", "README.md", "It has ‸\n", True),
        ("README.md", "a.py", "p.‸\n", False),
        ("Makefile", "run.sh", "make ‸\n", True),
        ("config.yaml", "a.py", "p.‸\n", False),
    ],
)
def test_edits_of_a_language_that_shares_no_names_do_not_enter(
    edited: str, path: str, buffer: str, enters: bool
) -> None:
    focus = focus_at(path, buffer)
    view = view_of({}, (), (Edit(edited, 0, 3),))
    for name, text in ((edited, GO), (path, focus.text)):
        assert view.index.put(SourceFile(name, name, languages.of_path(name), text))
    focus = Focus(path, path, languages.of_path(path), focus.text, focus.cursor)
    chosen = choose(view, focus, 300)
    assert {snippet.path for snippet in chosen.snippets} == ({edited} if enters else set())
