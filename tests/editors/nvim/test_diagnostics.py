"""Diagnostics of other language servers near the cursor reach midfill's server."""

from __future__ import annotations

from typing import Any

from tests.editors.nvim.conftest import Start
from tests.editors.wire import until

SET = """
vim.diagnostic.set(vim.api.nvim_create_namespace('other'), 0, {
  { lnum = 1, col = 11, severity = 1, message = 'no member' }, { lnum = 0, col = 0, severity = 3, message = 'a hint' },
  { lnum = 90, col = 0, severity = 2, message = 'far away' },
})
"""


def test_errors_and_warnings_near_the_cursor(start: Start) -> None:
    editor = start("x")
    editor.open("def f(order):\n    return order.nett‸\n" + "\n" * 100)
    editor.lua(SET)

    def told() -> list[dict[str, Any]]:
        return [message["params"] for message in editor.wire.messages(method="midfill/diagnostics")]

    (params, *_) = until(told, bool)
    found = [(one["message"], one["severity"], one["range"]["start"]["line"]) for one in params["diagnostics"]]
    assert found == [("no member", 1, 1)]
    editor.lua("vim.diagnostic.reset()")
    until(told, lambda all_told: all_told[-1]["diagnostics"] == [])
