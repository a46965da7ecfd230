"""Arguments that a callee does not take are not shown, where it is known what it takes."""

from __future__ import annotations

import pytest

from midfill.postprocess import PostProcessor
from midfill.syntax.calls import Certain, Parameter, Signature
from tests.support import at


def takes(
    callee: str, *names: str, only: tuple[str, ...] = (), rest: bool = False, any_name: bool = False
) -> Signature:
    """Return a signature; ``only``: parameters by name alone."""
    parameters = [Parameter(name) for name in names] + [Parameter(name, by_position=False) for name in only]
    return Signature(callee, tuple(parameters), rest, any_name, True, "jedi")


def positions(callee: str, *names: str, rest: bool = False) -> Signature:
    return Signature(callee, tuple(Parameter(name, by_name=False) for name in names), rest, False, True, "index")


KNOWN = Certain(calls={one.callee: one for one in (
    takes("load", "path", "mode", only=("strict",)), takes("make"), takes("log", "text", rest=True),
    takes("options", "a", any_name=True), takes("self.store.put", "key", "value"),
    takes("pair", "one", "two"),
)})  # fmt: skip
LIMITS = Certain(
    calls={one.callee: one for one in (positions("load", "path", "mode"), positions("log", "t", rest=True))}
)


def shown(buffer: str, middle: str, language: str = "python", known: Certain = KNOWN) -> str:
    processor = PostProcessor(at(buffer, language=language))
    processor.know(known)
    return processor.shown(middle, finished=True)


@pytest.mark.parametrize(("buffer", "middle", "expected"), [
    # a name that the callee lacks
    ("x = ‸\n", "load(p, encoding='utf8')", "load(p)"),
    ("x = load(p, ‸)\n", "encoding='utf8'", ""),
    ("x = load(p‸)\n", ", encoding='utf8'", ""),
    ("x = load(p, ‸)\n", "mode='r', encoding='utf8'", "mode='r'"),
    ("x = load(p, ‸)\n", "mode='r', strict=True", "mode='r', strict=True"),
    ("x = load(\n    p,\n    ‸\n)\n", "encoding='utf8',", ""),
    ("x = ‸\n", "self.store.put(key=1, valeu=2)", "self.store.put(key=1)"),
    # one that is given already, by name or by position
    ("x = load(p, mode='r', ‸)\n", "mode='w'", ""),
    ("x = load(p, ‸)\n", "path=q", ""),
    # more than it takes
    ("x = ‸\n", "load(p, 'r', True)", "load(p, 'r')"),
    ("x = load(p, 'r', ‸)\n", "True", ""),
    ("x = ‸\n", "pair(1, 2, 3)", "pair(1, 2)"),
    ("x = ‸\n", "pair(one=1, two=2, three)", "pair(one=1, two=2)"),
    ("x = ‸\n", "load(pair(1, 2, 3))", "load(pair(1, 2))"),
    ("x = ‸\n", "make(1)", "make("),
    # where the rule must not fire
    ("x = ‸\n", "load(p, 'r', strict=True)", "load(p, 'r', strict=True)"),
    ("x = ‸\n", "load(*p, 'r', strict=True)", "load(*p, 'r', strict=True)"),
    ("x = ‸\n", "load(p, *q, **r)", "load(p, *q, **r)"),
    ("x = ‸\n", "log(a, b, c)", "log(a, b, c)"),  # *args
    ("x = ‸\n", "options(1, b=2)", "options(1, b=2)"),  # **kwargs
    ("x = ‸\n", "other(1, 2, 3, b=2)", "other(1, 2, 3, b=2)"),  # nothing is known of it
    ("x = ‸\n", "a.load(1, 2, 3)", "a.load(1, 2, 3)"),  # a method of that name
    ("x = ‸\n", "pair(lambda a, b: a, 2)", "pair(lambda a, b: a, 2)"),
    ("x = ‸\n", "pair([1, 2, 3], (4, 5))", "pair([1, 2, 3], (4, 5))"),
    ("x = ‸\n", "pair('a, b, c', 'd')", "pair('a, b, c', 'd')"),
    ("x = ‸\n", "pair(a == 1, b)", "pair(a == 1, b)"),
    ("x = ‸\n", "pair(i for i in load(p))", "pair(i for i in load(p))"),
    ("x = ‸\n", "'load(1, 2, 3)'", "'load(1, 2, 3)'"),
    ("# ‸\n", "load(1, 2, 3)", "load(1, 2, 3)"),
    ("‸\n", "def load(a, b, c, d):\n    pass", "def load(a, b, c, d):\n    pass"),
    ("‸\n", "load = other\nload(1, 2, 3, 4)", "load = other\nload(1, 2, 3, 4)"),
    ("‸\n", "for load in all:\n    load(1, 2, 3, 4)", "for load in all:\n    load(1, 2, 3, 4)"),
])  # fmt: skip
def test_cut_before_what_the_callee_does_not_take(buffer: str, middle: str, expected: str) -> None:
    assert shown(buffer, middle) == expected
    assert shown(buffer, middle, known=Certain()) == shown(buffer, middle, "python", Certain(calls={}))


@pytest.mark.parametrize(("language", "middle", "expected"), [
    ("go", "x := load(p, 1, 2)", "x := load(p, 1)"),
    ("go", "x := log(p, 1, 2)", "x := log(p, 1, 2)"),
    ("go", "func load(a, b, c int) {\n}", "func load(a, b, c int) {\n}"),
    ("typescript", "const x = load(p, 1, 2);", "const x = load(p, 1);"),
    ("typescript", "const x = load<A, B>(p, 1, 2);", "const x = load<A, B>(p, 1, 2);"),
    ("typescript", "const x = load(new Map<A, B>(), 1, 2);", "const x = load(new Map<A, B>(), 1, 2);"),
    ("typescript", "const x = new load(p, 1, 2);", "const x = new load(p, 1, 2);"),  # what that takes is not known
    ("javascript", "const x = load(p, 1, 2);", "const x = load(p, 1, 2);"),  # the rest is ignored there
])  # fmt: skip
def test_languages_without_names(language: str, middle: str, expected: str) -> None:
    after = expected if expected == middle else expected.rstrip(";")
    assert shown("‸\n", middle, language, LIMITS).rstrip(";") == after.rstrip(";")


@pytest.mark.parametrize(("middle", "ends"), [
    ("load(p, enc", ""),  # may be an argument by position
    ("load(p, encoding=", ""),  # may be a comparison
    ("load(p, encoding='", "invented"),
    ("load(p, encoding==", ""),
    ("load(p, 'r', str", ""),  # may become ``strict=``
    ("load(p, 'r', tru", "invented"),
    ("load(p, mode=m, str", ""),
    ("load(p, mode=m, q", "invented"),
    ("load(p, mode=m, *", ""),
])  # fmt: skip
def test_the_engine_stops_where_nothing_more_would_be_shown(middle: str, ends: str) -> None:
    processor = PostProcessor(at("return ‸\n", language="python"))
    processor.know(KNOWN)
    assert processor.ends(middle) == ends
    off = PostProcessor(at("return ‸\n", language="python"), ["drop_unfit_arguments"])
    off.know(KNOWN)
    assert off.ends(middle) == ""


@pytest.mark.parametrize("middle", ["load(p, 'r', True)", "load(p, mode='r', encoding='utf8')", "pair(1, 2, three, 4)"])
def test_what_was_shown_of_a_growing_middle_stays(middle: str) -> None:
    processor = PostProcessor(at("return ‸\n", language="python"))
    processor.know(KNOWN)
    end = processor.shown(middle, finished=True)
    for n in range(len(middle)):
        assert end.startswith(processor.sure(middle[:n])), middle[:n]
