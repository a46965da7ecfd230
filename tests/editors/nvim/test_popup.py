"""The popup menu: vim.lsp.completion, enabled by the plugin or by the user's own configuration."""

from __future__ import annotations

import pytest

from tests.editors.nvim.conftest import Start
from tests.editors.nvim.editor import Neovim
from tests.editors.wire import until

METHOD = "textDocument/completion"
ONLY_POPUP = "require('midfill').setup({ popup = true, ghost_text = false })"
# As people have it for all their servers.
OWN = """
require('midfill').setup({ ghost_text = false })
vim.api.nvim_create_autocmd('LspAttach', { callback = function(args)
  vim.lsp.completion.enable(true, args.data.client_id, args.buf, { autotrigger = true })
end })
"""


def entries(editor: Neovim) -> list[str]:
    return [item["abbr"] for item in editor.call("nvim_call_function", "complete_info", [["items"]])["items"]]


@pytest.mark.parametrize("setup", [ONLY_POPUP, OWN], ids=["the plugin's", "one's own"])
@pytest.mark.parametrize(
    ("buffer", "keys", "chunks", "label", "taken"),
    [
        ("y = add‸\n", "(", ["a, b)"], "a, b)", "y = add(a, b)"),
        (
            "def area(w, h)‸\n",
            ":",
            ["\n    total = w * h", "\n    return total"],
            "total = w * h …",
            "def area(w, h):\n    total = w * h\n    return total",
        ),
    ],
    ids=["words", "lines"],
)
def test_the_whole_entry_is_put_in(
    start: Start, setup: str, buffer: str, keys: str, chunks: list[str], label: str, taken: str
) -> None:
    """Neovim itself would insert only its first word."""
    editor = start(*chunks, setup=setup)
    editor.open(buffer)
    editor.keys(keys)
    until(lambda: entries(editor), lambda found: label in found)
    editor.keys("<C-n>" * (1 + entries(editor).index(label)) + "<C-y>")
    editor.wait_lines(taken)
    assert editor.wire.wait("workspace/executeCommand")
    rows = taken.split("\n")
    assert editor.cursor() == [len(rows), len(rows[-1])]
    assert "midfill" not in editor.messages()


def test_a_cancelled_one_is_no_warning(start: Start) -> None:
    """Neovim shows an error reply to an automatic request as a warning."""
    editor = start("a", "b", "c", delay_s=0.2, setup=ONLY_POPUP)
    editor.open("‸\n")
    for n, key in enumerate(("x.", "y.", "z("), 1):
        editor.keys(key)
        editor.wire.wait(METHOD, n)
    assert until(lambda: editor.wire.cancelled(METHOD))
    for request in editor.wire.messages(method=METHOD):
        editor.wire.answer(request)
    until(lambda: entries(editor))
    assert editor.messages() == ""


@pytest.mark.parametrize("setup", [ONLY_POPUP, OWN], ids=["the plugin's", "one's own"])
def test_off_and_on(start: Start, setup: str) -> None:
    editor = start("a, b)", setup=setup)
    editor.open("y = add‸\n")
    editor.keys("<Esc>:Midfill disable<CR>A(")
    editor.wait_lines("y = add(")
    editor.keys("<Esc>:Midfill enable<CR>a<BS>")
    editor.wait_lines("y = add")
    assert not editor.wire.messages(method=METHOD)
    editor.keys("(")
    until(lambda: entries(editor), lambda found: found == ["a, b)"])


def test_ghost_text_beside_the_menu(start: Start) -> None:
    """Tab belongs to the menu while an entry is selected."""
    setup = "require('midfill').setup({ popup = true }) vim.keymap.set('i', '<Tab>', function() "
    setup += "return vim.fn.pumvisible() == 1 and '<C-n>' or '<Tab>' end, { expr = true })"
    editor = start("a, b)", setup=setup)
    editor.open("y = add‸\n")
    editor.keys("(")
    editor.wait_ghost("a, b)")
    until(lambda: entries(editor))
    editor.keys("<C-n>")
    until(lambda: editor.call("nvim_call_function", "complete_info", [["selected"]])["selected"], lambda n: n == 0)
    editor.keys("<Tab>")
    until(lambda: editor.call("nvim_call_function", "complete_info", [["selected"]])["selected"], lambda n: n != 0)
    editor.keys("<C-e>")
    editor.wait_lines("y = add(")
    editor.wait_ghost("a, b)")
    editor.keys("<Tab>")
    editor.wait_lines("y = add(a, b)")
