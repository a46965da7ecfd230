"""Ghost text: growth, typing along, cancelling, accepting, undo. A scripted engine, the real editor and server."""

from __future__ import annotations

from random import Random

import pytest

from tests.editors.nvim.conftest import Start
from tests.editors.nvim.editor import Neovim
from tests.editors.wire import until

ADD = ("add(", "1, ", "2, ", "3)")
BODY = ("total = w * h\n", "    return total")
METHOD = "midfill/inlineCompletion"
# What plugins for brackets do.
PAIRS = """
vim.keymap.set('i', '(', '()<Left>')
vim.keymap.set('i', '"', '""<Left>')
"""
TAB_REMAPPED = "vim.keymap.set('i', '<Tab>', '<Plug>(t)', { remap = true }) vim.keymap.set('i', '<Plug>(t)', 'AGAIN')"


def test_it_grows_and_tab_takes_it(start: Start) -> None:
    editor = start(*ADD, delay_s=0.1)
    file = editor.open("x =‸\n")
    editor.keys(" ")
    editor.wait_ghost("add(1, 2, 3)")
    grown = [frame for frame in editor.frames() if frame]
    assert grown == sorted(grown, key=len)
    assert len(set(grown)) >= 3
    assert editor.lines() == "x = "
    editor.keys("<Tab>")
    editor.wait_lines("x = add(1, 2, 3)")
    assert editor.cursor() == [1, 16]
    shown = editor.wire.wait("textDocument/didShowCompletion")[0]
    accepted = editor.wire.wait("workspace/executeCommand")[0]["params"]
    assert accepted["command"] == "midfill.accepted"
    assert accepted["arguments"] == shown["params"]["item"]["command"]["arguments"]
    editor.command("write")
    assert file.read_text() == "x = add(1, 2, 3)\n"


def test_several_lines_stand_below(start: Start) -> None:
    editor = start(*BODY, delay_s=0.05)
    editor.open("def area(w, h):\n    ‸\n")
    editor.wait_ghost("total = w * h\n    return total")
    editor.keys("<Tab>")
    editor.wait_lines("def area(w, h):\n    total = w * h\n    return total")
    assert editor.cursor() == [3, 16]


def test_the_next_key_cancels_on_the_wire(start: Start) -> None:
    editor = start(*["a"] * 200, delay_s=0.1)
    editor.open("x =‸\n")
    editor.keys(" ")
    until(editor.ghost)
    asked = editor.wire.messages(method=METHOD)[-1]
    editor.keys("#")
    assert editor.wire.answer(asked)  # whether as cancelled, or as outdated before that
    until(lambda: [m["id"] for m in editor.wire.cancelled(METHOD)], lambda ids: asked["id"] in ids)
    editor.keys("<Esc>")
    until(lambda: editor.wire.cancelled(METHOD), lambda found: len(found) == len(editor.wire.messages(method=METHOD)))
    editor.wait_ghost("")


def test_typing_along_never_flickers(start: Start) -> None:
    editor = start(*ADD)
    editor.open("x =‸\n")
    editor.keys(" ")
    editor.wait_ghost("add(1, 2, 3)")
    n_asked, n_frames = len(editor.wire.messages(method=METHOD)), len(editor.frames())
    for key in "add(1":
        editor.keys(key)
    editor.wait_ghost(", 2, 3)")
    editor.keys("<BS>")
    editor.wait_ghost("1, 2, 3)")
    assert "" not in editor.frames()[n_frames:]
    assert len(editor.wire.messages(method=METHOD)) == n_asked  # nothing had to be asked
    editor.keys("<Tab>")
    editor.wait_lines("x = add(1, 2, 3)")


def test_keys_faster_than_the_screen(start: Start) -> None:
    """A macro types on and presses Tab before anything is drawn: the ghost text still belongs to an earlier place."""
    editor = start(*ADD)
    editor.open("x =‸\n")
    editor.keys(" ")
    editor.wait_ghost("add(1, 2, 3)")
    editor.lua("vim.api.nvim_feedkeys(vim.keycode('🙂<Tab>.'), 't', false)")
    editor.wait(lambda: editor.lines().replace(" ", "").replace("\t", ""), "x=🙂.")
    editor.keys("<Esc>ccx = ")
    editor.wait_ghost("add(1, 2, 3)")
    editor.lua("vim.api.nvim_feedkeys(vim.keycode('ad<Tab>.'), 't', false)")
    editor.wait_lines("x = add(1, 2, 3).")


def test_typing_along_what_still_grows(start: Start) -> None:
    editor = start(*ADD, delay_s=0.25)
    editor.open("x =‸\n")
    editor.keys(" ")
    until(editor.ghost)
    n_frames = len(editor.frames())
    editor.keys("a")
    editor.wait_ghost("dd(1, 2, 3)")
    frames = editor.frames()[n_frames:]
    assert "" not in frames
    assert frames == sorted(frames, key=len)


def test_a_line_typed_along_goes_on_below(start: Start) -> None:
    editor = start("if w:\n", "        return w\n", "    return 0")
    editor.open("def area(w):\n    ‸\n")
    editor.wait_ghost("if w:\n        return w\n    return 0")
    n_frames = len(editor.frames())
    editor.keys("if w:<CR>")
    editor.wait_ghost("return w\n    return 0")
    assert "" not in editor.frames()[n_frames:]
    editor.keys("<Tab>")
    editor.wait_lines("def area(w):\n    if w:\n        return w\n    return 0")


@pytest.mark.parametrize(
    ("buffer", "chunks", "key", "ghost", "taken"),
    [
        ("y = add(‸)\n", ["a, ", "b)"], "", "a, b", "y = add(a, b)"),
        ("items[‸]\n", ["0]"], "", "0", "items[0]"),
        # Closed by a plugin while the suggestion is typed along: replaced, not doubled.
        ("y = add‸\n", ["(a, b)"], "(", "a, b", "y = add(a, b)"),
        ('y = ‸\n', ['"abc"'], '"', "abc", 'y = "abc"'),
    ],
)  # fmt: skip
def test_brackets_that_closed_by_themselves(
    start: Start, buffer: str, chunks: list[str], key: str, ghost: str, taken: str
) -> None:
    editor = start(*chunks, setup=PAIRS)
    editor.open(buffer)
    if key:
        editor.wait_ghost("".join(chunks))
        n_frames = len(editor.frames())
        editor.keys(key)
        editor.wait_ghost(ghost)
        assert "" not in editor.frames()[n_frames:]
    editor.wait_ghost(ghost)
    editor.keys("<Tab>")
    editor.wait_lines(taken)


def test_word_and_line(start: Start) -> None:
    editor = start("total = w * h\n", "    return total")
    editor.open("def area(w, h):\n    ‸\n")
    editor.wait_ghost("total = w * h\n    return total")
    n_frames = len(editor.frames())
    editor.keys("<M-Right>")
    editor.wait_lines("def area(w, h):\n    total")
    editor.wait_ghost(" = w * h\n    return total")
    editor.keys("<M-Down>")
    editor.wait_lines("def area(w, h):\n    total = w * h")
    editor.wait_ghost("\n    return total")
    assert "" not in editor.frames()[n_frames:]
    editor.keys("<M-Down>")
    editor.wait_lines("def area(w, h):\n    total = w * h\n    return total")
    parts = editor.wire.wait("textDocument/didPartiallyAcceptCompletion", 2)
    assert [part["params"]["acceptedLength"] for part in parts] == [5, 13]
    assert editor.wire.wait("workspace/executeCommand")


def test_next_and_previous(start: Start) -> None:
    editor = start("one", others=[["two"], ["three"]])
    editor.open("x =‸\n")
    editor.keys(" ")
    editor.wait_ghost("one")
    for key, ghost in (("<M-n>", "two"), ("<M-n>", "three"), ("<M-n>", "one"), ("<M-p>", "three")):
        editor.keys(key)
        editor.wait_ghost(ghost)
    invoked = [m for m in editor.wire.messages(method=METHOD) if m["params"]["context"]["triggerKind"] == 1]
    assert len(invoked) == 1
    editor.keys("<Tab>")
    editor.wait_lines("x = three")
    assert editor.wire.wait("workspace/executeCommand")[0]["params"]["arguments"][1] == 2


def test_dismiss_and_by_hand(start: Start) -> None:
    editor = start("one")
    editor.open("x =‸\n")
    editor.keys(" ")
    editor.wait_ghost("one")
    editor.keys("<C-]>")
    editor.wait_ghost("")
    n_asked = len(editor.wire.messages(method=METHOD))
    editor.keys("<Tab>")  # nothing is shown: Tab is Tab
    editor.wait(lambda: editor.lines().expandtabs(8), "x =     ")
    editor.wire.wait(METHOD, n_asked + 1)
    editor.keys("<BS>")
    editor.wire.wait(METHOD, n_asked + 2)
    editor.keys("<C-]>")
    editor.wait_ghost("")
    editor.keys("<M-Bslash>")
    editor.wait_ghost("one")


def test_one_undo_takes_back_what_was_taken(start: Start) -> None:
    editor = start(*BODY)
    editor.open("def area(w, h):\n    ‸\n")
    editor.keys("# so:<CR>")
    editor.wait_ghost("total = w * h\n    return total")
    editor.keys("<Tab>")
    taken = "def area(w, h):\n    # so:\n    total = w * h\n    return total"
    editor.wait_lines(taken)
    editor.keys(" + 1<Esc>")
    editor.wait_lines(taken + " + 1")
    for key, lines in (
        ("u", taken),
        ("u", "def area(w, h):\n    # so:\n    "),
        ("<C-r>", taken),
        ("<C-r>", taken + " + 1"),
    ):
        editor.keys(key)
        editor.wait_lines(lines)


@pytest.mark.parametrize(
    ("setup", "typed"),
    [
        ("", "\t"),
        ("vim.keymap.set('i', '<Tab>', 'TAB')", "TAB"),
        ("vim.keymap.set('i', '<Tab>', function() return 'EXPR' end, { expr = true })", "EXPR"),
        ("vim.keymap.set('i', '<Tab>', function() vim.api.nvim_put({ 'CALL' }, 'c', true, true) end)", "CALL"),
        (TAB_REMAPPED, "AGAIN"),
        ("vim.cmd('imap <Tab> abc') vim.cmd('inoremap b B')", "aBc"),
        ("vim.cmd('imap <Tab> <Tab>x')", "\tx"),
        ("vim.cmd('source ' .. vim.env.TEST_PLUGIN .. '/../../tests/editors/nvim/tab.vim')", "SCRIPT"),
        ("vim.api.nvim_create_autocmd('FileType', { callback = function() vim.keymap.set('i', '<Tab>', 'OWN', "
         "{ buffer = true }) end })", "OWN"),
    ],
    ids=["none", "keys", "expr", "function", "remapped", "keys again", "itself", "of a script", "of the buffer"],
)  # fmt: skip
def test_tab_does_what_it_did_before(start: Start, setup: str, typed: str) -> None:
    """That includes Neovim's own map of Tab, which the first row has."""
    editor = start(setup=setup)
    editor.open("‸\n")
    editor.command("setlocal noexpandtab")
    editor.keys("<Tab>.")
    editor.wait(lambda: editor.lines().strip("."), typed)


def test_the_story_of_wide_characters(start: Start) -> None:
    """The server counts in UTF-16, the editor in bytes."""
    editor = start("'", "é🙂", "'")
    editor.open("s = '🙂é' +‸\n")
    editor.keys(" ")
    editor.wait_ghost("'é🙂'")
    editor.keys("<M-Right>")
    editor.wait_ghost("é🙂'")
    editor.keys("<M-Right><Tab>")
    editor.wait_lines("s = '🙂é' + 'é🙂'")
    parts = editor.wire.wait("textDocument/didPartiallyAcceptCompletion", 2)
    assert [part["params"]["acceptedLength"] for part in parts] == [1, 3]


def test_tabs_are_drawn_as_wide_as_they_are(start: Start) -> None:
    editor = start("total := 0\n", "\treturn total", setup="vim.o.tabstop = 4")
    editor.open("func sum() int {\n\tlog()\n\t‸\n}\n", "sum.go")
    editor.wait_ghost("total := 0\n    return total")
    editor.keys("<Tab>")
    editor.wait_lines("func sum() int {\n\tlog()\n\ttotal := 0\n\treturn total\n}")


def test_the_window_makes_room_for_it(start: Start) -> None:
    """Neovim does not scroll for virtual lines."""
    editor = start("if w:\n", "        return w\n", "    return 0")
    editor.open("#\n" * 60 + "def area(w):\n    ‸\n")
    editor.wait_ghost("if w:\n        return w\n    return 0")
    height, row = editor.lua("return { vim.api.nvim_win_get_height(0), vim.fn.winline() }")
    assert height - row >= 2


KEYS = [
    *"ab =.,:(é🙂",
    "<CR>",
    "<BS>",
    "<Left>",
    "<Tab>",
    "<M-Right>",
    "<M-Down>",
    "<M-n>",
    "<C-]>",
    "<Esc>o",
    "<Esc>ui",
]
SERVERS_TEXT = """
local client = vim.lsp.get_clients({ bufnr = 0 })[1]
local params = { uri = vim.uri_from_bufnr(0) }
local buf = vim.api.nvim_get_current_buf() -- not 0: with that, Neovim 0.11.4 does not send changes first
return client:request_sync('midfill/debugDocumentText', params, 10000, buf).result.text
"""


@pytest.mark.parametrize("seed", [0, 2])
def test_whatever_is_pressed_both_have_the_same_text(start: Start, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_DEBUG_METHODS", "1")
    editor = start("a = (b", ",\n    é)", "\n", "    b.a()", delay_s=0.005, others=[["a.b"], ["é🙂"]])
    # With a last line: where the last two are empty and are joined, Neovim 0.11.4 itself tells nothing of it.
    editor.open("‸\nlast\n")
    random = Random(seed)
    for _ in range(80):
        editor.keys("".join(random.choices(KEYS, k=random.randint(1, 4))))
        if random.random() < 0.3:
            editor.keys("<Cmd>redraw<CR>")
            settle(editor)
    editor.keys("<Esc>:let g:all_pressed = 1<CR>")
    editor.wait(lambda: editor.lua("return vim.g.all_pressed"), 1)
    assert editor.lua(SERVERS_TEXT) == editor.lines() + "\n"
    assert editor.ghost() == ""


def settle(editor: Neovim) -> None:
    """Wait until every request is answered."""
    for request in editor.wire.messages(method=METHOD):
        editor.wire.answer(request)


def test_a_burst_of_keys_leaves_no_message(start: Start) -> None:
    editor = start(*ADD, delay_s=0.02)
    editor.open("‸\n")
    for word in ("for ", "x ", "in ", "range(", "10", ")", ":"):
        editor.keys(word)
    editor.wait_lines("for x in range(10):")
    settle(editor)
    editor.keys("<Esc>")
    assert editor.messages() == ""
