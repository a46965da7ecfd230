"""The members that another language server of the buffer lists after a dot, and the parameters that it knows, reach
midfill's server, and the model keeps to them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from midfill.context.knowledge.labels import MAX_SIGNATURES
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
          local completion = { triggerCharacters = { '.' } }
          local capabilities = { completionProvider = completion, signatureHelpProvider = {} }
          capabilities.typeDefinitionProvider, capabilities.hoverProvider = true, true
          callback(nil, { capabilities = capabilities })
        elseif method == 'textDocument/completion' and not vim.g.silent then
          vim.g.n_asked = (vim.g.n_asked or 0) + 1
          callback(nil, vim.json.decode([=[ITEMS]=]))
        elseif vim.g.resolved and vim.g.resolved[method] then
          callback(nil, vim.g.resolved[method])
        elseif method == 'textDocument/signatureHelp' and vim.g.signatures then
          vim.g.n_asked = (vim.g.n_asked or 0) + 1
          vim.g.asked_at = params.position
          local respond = function() callback(nil, { signatures = vim.g.signatures }) end
          if vim.g.late then vim.defer_fn(respond, vim.g.late) else respond() end
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


ONE = "{ label = '(é: int) -> None', parameters = { { label = { 1, 7 } } } }"
CALL = "def f(o, é):\n    x = é + o.find‸\n"


def told_calls(editor: Neovim) -> list[dict[str, Any]]:
    return [message["params"] for message in editor.wire.messages(method="midfill/signatures")]


def test_an_argument_too_many_is_not_suggested(start: Start) -> None:
    editor = start("1", ", 2", setup=f"vim.g.signatures = {{ {ONE} }}\n" + OTHER.replace("ITEMS", "[]"))
    editor.open(CALL)
    editor.keys("(")
    (said, *_) = until(lambda: told_calls(editor), bool)
    assert said["position"] == {"line": 1, "character": 19}
    assert said["signatures"] == [{"label": "(é: int) -> None", "parameters": [{"label": [1, 7]}]}]
    assert editor.lua("return vim.g.asked_at") == {"line": 1, "character": 19}
    editor.keys(" ")
    editor.wait_ghost("1")
    assert len(told_calls(editor)) == 1  # once for a call


@pytest.mark.parametrize("setup", [
    "vim.g.signatures = nil", "vim.g.signatures = {}", "vim.g.signatures = vim.NIL",
    f"vim.g.late = 400\nvim.g.signatures = {{ {ONE} }}",  # for another version
    f"vim.g.signatures = {{ {ONE} }}\n"
    "vim.lsp.config('midfill', { init_options = { disabledKnowledge = { 'client', 'jedi' } } })",
])  # fmt: skip
def test_a_server_that_says_nothing_of_a_call_costs_nothing(start: Start, setup: str) -> None:
    editor = start("1", ", 2", setup=setup + "\n" + OTHER.replace("ITEMS", "[]"))
    editor.open(CALL)
    editor.keys("(")
    until(lambda: editor.wire.messages(method="midfill/places"), bool)
    editor.keys(" ")
    editor.wait_ghost("1, 2")
    assert told_calls(editor) == []


def test_of_very_many_signatures_so_many_are_told_that_they_are_not_all(start: Start) -> None:
    many = f"vim.g.signatures = vim.tbl_map(function() return {ONE} end, vim.fn.range(50000))\n"
    editor = start("1", ", 2", setup=many + OTHER.replace("ITEMS", "[]"))
    editor.open(CALL)
    editor.keys("(")
    (said, *_) = until(lambda: told_calls(editor), bool)
    assert len(said["signatures"]) == MAX_SIGNATURES + 1
    editor.wait_ghost("1, 2")


RESOLVED = """
local place = { line = 3, character = 6 }
local range = { start = place, ['end'] = { line = 3, character = 12 } }
vim.g.resolved = {
  ['textDocument/typeDefinition'] = { { targetUri = 'file:///lib/shop.pyi', targetRange = range,
    targetSelectionRange = range } },
  ['textDocument/hover'] = { contents = { language = 'python', value = 'class Basket(a: int)' } },
}
"""


def told_definitions(editor: Neovim) -> list[dict[str, Any]]:
    return [message["params"] for message in editor.wire.messages(method="midfill/definitions")]


def test_what_a_name_is_reaches_the_prompt(start: Start) -> None:
    on = "vim.lsp.config('midfill', { init_options = { disabledContext = {} } })\n"
    editor = start("x", setup=on + RESOLVED + OTHER.replace("ITEMS", "[]"))
    editor.open("def f(é, order):\n    return ‸\n")
    editor.keys("order.")
    until(lambda: told_definitions(editor), lambda found: len(found) == 2)
    first, second = told_definitions(editor)
    span = {"start": {"line": 3, "character": 6}, "end": {"line": 3, "character": 12}}
    assert first["targets"] == second["targets"] == [{"uri": "file:///lib/shop.pyi", "range": span}]
    assert first["position"] == second["position"] == {"line": 1, "character": 11}
    assert (first["hover"], second["hover"]) == ("", "```python\nclass Basket(a: int)\n```")

    def sources() -> list[str]:
        """Ask for a suggestion at another place, and return what its prompt has."""
        editor.keys(" ")
        ask = "return vim.lsp.get_clients({ name = 'midfill' })[1]:request_sync('midfill/explain', {}).result"
        return [one["source"] for one in editor.lua(ask)["trace"]["snippets"]]

    assert until(sources, bool) == ["definitions"]


def test_nobody_is_asked_what_a_name_is_by_default(start: Start) -> None:
    editor = start("uno due", setup=RESOLVED + OTHER.replace("ITEMS", "[]"))
    editor.open("def f(order):\n    return ‸\n")
    editor.keys("order.")
    editor.wait_ghost("uno due")
    until(lambda: editor.wire.messages(method="midfill/places"), bool)
    assert told_definitions(editor) == []
