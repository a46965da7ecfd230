"""Lists of other language servers that are not what they seem; each kind was seen with a real one."""

from __future__ import annotations

import dataclasses

import pytest

from midfill.context.knowledge.doubts import is_misread, may_have_more
from midfill.types import Snapshot
from tests import support


def at(buffer: str, language: str = "python") -> Snapshot:
    return dataclasses.replace(support.at(buffer, language=language), uri="file:///a")


@pytest.mark.parametrize("buffer", [
    "f(\n    self.reader.‸\n    self.reader.read,\n)\n",
    "f(v.qx.‸\n  other)\n",
    "f(a=v.qx.‸\n  b=v)\n",
    "x = [\n    v.items.‸\n    v.more,\n]\n",
    "f(v.qx.‸ v.qy)\n",
    "x = v.qx.‸ other\n",
])  # fmt: skip
def test_pyright_took_the_name_behind_the_cursor_for_the_member(buffer: str) -> None:
    assert is_misread(at(buffer), ["reader", "wz"])
    assert not is_misread(at(buffer), ["self", "other", "b", "v"])  # the name is a member


@pytest.mark.parametrize("buffer", [
    "f(\n    self.reader.‸\n)\n",
    "f(v.qx.‸, v.qy)\n",
    'f(v.qx.‸\n  "other")\n',
    "f({1: v.qx.‸\n   2: v})\n",
    "v.‸\nv.qy()\n",  # statements
    "def f(v):\n    v.‸\n\ndef g(): ...\n",
    "v.‸find()\n",  # the begun word
    "x = v.qx.‸ if other else 1\n",
    "g(\n    v.qx.‸\n    for a in other)\n",
    "v.‸",
])  # fmt: skip
def test_pyright_understood(buffer: str) -> None:
    assert not is_misread(at(buffer), ["reader", "wz"])


def test_other_languages_end_no_statement_at_a_line_end() -> None:
    assert not is_misread(at("f(\n  this.reader.‸\n  this.reader.read\n)", "typescript"), ["reader"])


ARRAY = ["concat", "every", "filter", "forEach", "indexOf", "lastIndexOf", "length"]


@pytest.mark.parametrize(("language", "receiver", "names", "expected"), [
    ("python", "args", ["__doc__", "__getattr__", "_get_args"], True),  # argparse.Namespace
    ("python", "body", ["__doc__", "__class__"], True),  # an object
    ("python", "item", ["__doc__", "__getattribute__", "price"], False),
    ("typescript", "process.env", ["TZ"], True),
    ("typescript", "import.meta.env", ["MODE", "DEV"], True),
    ("typescript", "order", ["TZ"], False),
    ("typescript", "items", ARRAY, True),  # ES5's
    ("typescript", "items", [*ARRAY, "find", "includes"], False),
    ("javascript", "Object", ["apply", "bind", "defineProperty", "getOwnPropertyNames", "keys"], True),
    ("javascript", "Object", ["apply", "assign", "defineProperty", "getOwnPropertyNames", "keys"], False),
    ("go", "os.env", ["Get"], False),
])  # fmt: skip
def test_members_that_a_list_leaves_out(language: str, receiver: str, names: list[str], expected: bool) -> None:
    assert may_have_more(language, receiver, names) is expected
