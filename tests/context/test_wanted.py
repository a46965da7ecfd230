"""Which names are probably about to be written."""

from __future__ import annotations

import pytest

from midfill.context.wanted import MAX_NAMES, wanted
from tests.support import at

MANY = ", ".join(f"name{i}" for i in range(MAX_NAMES + 1))


@pytest.mark.parametrize(
    ("language", "buffer", "names"),
    [
        ("python", "from a import load, save\nload()\nx = ‸\n", ("save",)),
        ("python", "from a import load, save\nload()\n‸\n", ()),  # a line may begin with anything
        ("python", "from a import save\nx.‸\n", ()),
        ("python", "from a import save\nfrom b import ‸\n", ()),
        ("python", "from a import save\nsave()\nx = ‸\n", ()),
        ("python", f"from a import {MANY}\nx = ‸\n", ()),
        ("javascript", "import { load, save } from './a.js';\nload();\nreturn ‸\n", ("save",)),
        ("plaintext", "from a import save\nx = ‸\n", ()),
    ],
)  # fmt: skip
def test_unused_imports(language: str, buffer: str, names: tuple[str, ...]) -> None:
    assert wanted(at(buffer, language=language)) == names
