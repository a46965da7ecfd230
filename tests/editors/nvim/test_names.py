"""The members that another language server of the buffer lists after a dot reach midfill's server, and the model keeps
to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.editors.nvim.conftest import Start
from tests.editors.nvim.editor import Neovim
from tests.editors.wire import until

# A language server in the editor itself: it answers completion with ITEMS, a list or a CompletionList.
OTHER = """
vim.api.nvim_create_autocmd('FileType', { callback = function(args)
  vim.lsp.start({ name = 'other', cmd = function(dispatchers)
    local closing = false
    return {
      request = function(method, params, callback)
        if method == 'initialize' then
          callback(nil, { capabilities = { completionProvider = { triggerCharacters = { '.' } } } })
        elseif method == 'textDocument/completion' and not vim.g.silent then
          vim.g.n_asked = (vim.g.n_asked or 0) + 1
          callback(nil, vim.json.decode([=[ITEMS]=]))
        elseif method == 'shutdown' then
          callback(nil, vim.NIL)
        end
        return true, 1
      end,
      notify = function(method) if method == 'exit' then dispatchers.on_exit(0, 0) end end,
      is_closing = function() return closing end,
      terminate = function() closing = true end,
    }
  end }, { bufnr = args.buf })
end })
"""


LONG = [f"name_{number}" for number in range(73)]  # no server cuts there
MANY = [f"name_{number}" for number in range(50)]  # as many as some servers cut a list to


def told(editor: Neovim) -> list[tuple[list[str], bool, dict[str, int]]]:
    params = [message["params"] for message in editor.wire.messages(method="midfill/names")]
    return [(one["names"], one["complete"], one["position"]) for one in params]


@pytest.mark.parametrize(("items", "names", "complete"), [
    ('[{"label": "price", "kind": 5}, {"label": "lines", "kind": 2}]', ["price", "lines"], True),
    ('{"isIncomplete": true, "items": [{"label": "price", "kind": 5}]}', ["price"], True),
    (json.dumps({"isIncomplete": True, "items": [{"label": name, "kind": 5} for name in MANY]}), MANY, False),
    (json.dumps({"isIncomplete": True, "items": [{"label": name, "kind": 5} for name in LONG]}), LONG, True),
    ('[{"label": "price", "kind": 5}, {"label": "a word", "kind": 1}]', ["price"], False),
    ('[{"label": "• price", "filterText": "price", "kind": 5}, {"label": "if", "kind": 14}]', ["price"], True),
])  # fmt: skip
def test_a_list_is_told_once_for_a_place(start: Start, items: str, names: list[str], complete: bool) -> None:
    editor = start("x", setup=OTHER.replace("ITEMS", items))
    editor.open("def f(order):\n    return ‸\n")
    editor.keys("order.")
    wanted: list[Any] = [(names, complete, {"line": 1, "character": 17})]
    until(lambda: told(editor), lambda found: found == wanted)
    editor.keys("pr")
    editor.wait_lines("def f(order):\n    return order.pr")
    assert told(editor) == wanted


def test_what_is_in_scope_is_not_told(start: Start) -> None:
    """pyright lists what is in scope after a dot in a line that it reads in another way."""
    words = [{"label": f"word_{number}", "kind": 14} for number in range(6)]
    editor = start("uno due", setup=OTHER.replace("ITEMS", json.dumps([{"label": "len", "kind": 3}, *words])))
    editor.open("def f(order):\n    return ‸\n")
    editor.keys("order.")
    editor.wait_ghost("uno due")
    until(lambda: editor.lua("return vim.g.n_asked"), bool)
    assert told(editor) == []


def test_a_server_that_says_nothing_costs_nothing(start: Start) -> None:
    editor = start("uno due", setup="vim.g.silent = true\n" + OTHER.replace("ITEMS", "[]"))
    editor.open("def f(order):\n    return ‸\n")
    editor.keys("order.")
    editor.wait_ghost("uno due")
    assert told(editor) == []


def test_what_is_used_near_the_cursor_is_asked_for_too(start: Start) -> None:
    editor = start("x", setup=OTHER.replace("ITEMS", '[{"label": "price", "kind": 5}]'))
    editor.open("def f(é, order):\n    é.price; order.price\n    ‸\n")
    editor.keys("x")
    wanted = [(["price"], True, {"line": 1, "character": 6}), (["price"], True, {"line": 1, "character": 19})]
    until(lambda: told(editor), lambda found: sorted(found, key=str) == sorted(wanted, key=str))


def test_nobody_is_asked_while_it_is_off(start: Start) -> None:
    off = "vim.lsp.config('midfill', { init_options = { disabledKnowledge = { 'client' } } })\n"
    editor = start("uno due", setup=off + OTHER.replace("ITEMS", '[{"label": "price", "kind": 5}]'))
    editor.open("def f(order):\n    order.price\n    return ‸\n")
    editor.keys("order.")
    editor.wait_ghost("uno due")
    until(lambda: editor.wire.messages(method="midfill/places"), bool)
    assert told(editor) == []
    assert editor.lua("return vim.g.n_asked") in (None, 0)
