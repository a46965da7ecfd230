"""A middle by hand goes on until the text below follows: the real model, engine and scores."""

from __future__ import annotations

import pytest

from midfill.commands.session import session
from midfill.config import Config
from tests.support import at

pytestmark = pytest.mark.usefixtures("own_runtime")

PYTHON = """def letter(score):
    if score < 10:
        return "A"
    elif score < 20:
        return "B"
    ‸
        return "F"
    elif score < 70:
        return "G"
    return "Z"
"""
GO = """package shop

func letter(score int) string {
	switch {
	case score < 10:
		return "A"
	case score < 20:
		return "B"
	‸
		return "F"
	case score < 70:
		return "G"
	}
	return "Z"
}
"""


@pytest.mark.model
@pytest.mark.parametrize(("language", "buffer"), [("python", PYTHON), ("go", GO)])
async def test_what_is_missing_up_to_the_text_below(language: str, buffer: str) -> None:
    said = {}
    for disabled in ((), ("go_on",)):
        config = Config(model="embedded", engine_idle_exit_s=60, disabled_rules=disabled)
        async with session(config) as completer:
            said[disabled] = (await completer.last(at(buffer, language=language))).text
    assert '"C"' not in said["go_on",]  # the model stops after the line that opens what stands below
    for letter in "CDE":
        assert f'return "{letter}"' in said[()]
    assert '"F"' not in said[()]
    assert said[()].endswith("60:")
