"""A middle by hand goes on until the text below follows: the real model, engine and scores."""

from __future__ import annotations

import pytest

from midfill.commands.session import session
from midfill.config import Config
from tests.support import LETTERS, at

pytestmark = pytest.mark.usefixtures("own_runtime")

GO = """package shop

func word(n int) string {
	switch n {
	case 1:
		return "one"
	case 2:
		return "two"
	‸
		return "six"
	case 7:
		return "seven"
	}
	return "many"
}
"""


@pytest.mark.model
@pytest.mark.parametrize(("language", "buffer", "missing", "last"), [
    ("python", LETTERS, ("C", "D", "E"), "60:"),
    ("go", GO, ("three", "four", "five"), "6:"),
])  # fmt: skip
async def test_what_is_missing_up_to_the_text_below(
    language: str, buffer: str, missing: tuple[str, ...], last: str
) -> None:
    said: dict[tuple[str, ...], str] = {}
    for disabled in ((), ("go_on",)):
        config = Config(model="embedded", engine_idle_exit_s=60, disabled_rules=disabled)
        async with session(config) as completer:
            said[disabled] = (await completer.last(at(buffer, language=language))).text
    assert "return" not in said["go_on",]  # the model stops after a line that opens what stands below
    assert [word for word in missing if f'return "{word}"' in said[()]] == list(missing)
    assert said[()].count("return") == len(missing)
    assert said[()].endswith(last)
