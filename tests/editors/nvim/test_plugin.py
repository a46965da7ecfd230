"""Around the ghost text: options, switches, the command, the statusline, health, help, and a hostile workspace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.editors.nvim.conftest import Start
from tests.editors.nvim.editor import PLUGIN, Neovim
from tests.editors.tools import neovim
from tests.editors.wire import until

METHOD = "midfill/inlineCompletion"


def statusline(editor: Neovim) -> str:
    return str(editor.lua("return require('midfill').statusline()"))


@pytest.mark.parametrize("scope", ["here", "filetype", "everywhere"])
def test_off_and_on(start: Start, scope: str) -> None:
    editor = start("one")
    editor.open("x =‸\n")
    editor.keys(" ")
    editor.wait_ghost("one")
    editor.keys(f"<Esc>:Midfill disable {scope}<CR>")
    editor.wait(lambda: statusline(editor), "midfill: off")
    n_asked = len(editor.wire.messages(method=METHOD))
    editor.keys("A 1")
    editor.wait_lines("x =  1")
    if scope != "here":  # a request that Escape cancels first tells nothing
        until(lambda: any("result" in editor.wire.answer(one) for one in editor.wire.messages(method=METHOD)[n_asked:]))
    editor.keys("<Esc>")
    editor.wait(lambda: editor.call("nvim_get_mode")["mode"], "n")
    assert editor.frames()[-1] == ""
    if scope != "here":  # the server says so
        for request in editor.wire.messages(method=METHOD)[n_asked:]:
            assert editor.wire.items(request) == []
    else:
        assert len(editor.wire.messages(method=METHOD)) == n_asked
    editor.keys(":Midfill explain<CR>")
    window = until(editor.lines, lambda lines: lines.startswith("Nothing was shown"))
    assert "off" in window
    editor.keys(f"q:Midfill enable {scope}<CR>")
    editor.ready()
    editor.keys("A +")
    editor.wait_ghost("one")


def off_for(editor: Neovim) -> list[list[str]]:
    """Return the lists of languages that the server got."""
    told = editor.wire.messages(method="workspace/didChangeConfiguration")
    return [one["params"]["settings"]["midfill"]["disabledLanguages"] for one in told]


def test_a_filetype_is_the_servers_language(start: Start) -> None:
    editor = start("one", setup="vim.lsp.config('midfill', { init_options = { disabledLanguages = { 'js' } } })")
    editor.open("x =‸\n", "main.sh")
    editor.keys("<Esc>:Midfill disable filetype<CR>")
    editor.wait(lambda: statusline(editor), "midfill: off")
    assert off_for(editor) == [["javascript", "shellscript"]]
    told = editor.command("Midfill")
    assert "midfill: automatic suggestions are off for Shell (disabled_languages); turn it back on with" in told
    editor.keys("A <M-Bslash>")  # by hand it comes
    editor.wait_ghost("one")
    editor.keys("<Esc>:Midfill restart<CR>")
    editor.wire.wait("initialize", 2)
    editor.wait(lambda: statusline(editor), "midfill: off")  # the new server is told again
    editor.keys(":Midfill enable filetype<CR>")
    editor.ready()
    assert off_for(editor)[1:] == [["javascript", "shellscript"], ["javascript"]]


def test_off_by_a_setting_of_the_servers(start: Start) -> None:
    editor = start("one", setup="vim.lsp.config('midfill', { init_options = { disabledFiles = { '*.gen.py' } } })")
    editor.command(f"edit {editor.workspace / 'a.gen.py'}")
    editor.wait(lambda: statusline(editor), "midfill: off")
    assert editor.command("Midfill") == "midfill: automatic suggestions are off for this file (disabled_files)"


def test_off_for_a_filetype_leaves_the_others(start: Start) -> None:
    editor = start("one")
    editor.open("x =‸\n")
    editor.keys("<Esc>:Midfill disable filetype<CR>")
    editor.wait(lambda: statusline(editor), "midfill: off")
    editor.command(f"edit {editor.workspace / 'other.py'}")
    editor.wait(lambda: statusline(editor), "midfill: off")
    editor.open("x =‸\n", "main.lua")
    editor.keys(" ")
    editor.wait_ghost("one")


def test_the_command_completes(start: Start) -> None:
    editor = start("one")
    editor.open("‸\n")
    rows = {
        "Midfill ": ["adapter", "disable", "eagerness", "enable", "explain", "lines", "log", "model", "restart",
                     "snooze", "stats", "status"],
        "Midfill e": ["eagerness", "enable", "explain"],
        "Midfill eagerness ": ["balanced", "eager", "quiet"],
        "Midfill lines ": ["auto", "one"],
        "Midfill snooze ": ["0", "15", "5", "60"],
        "Midfill enable ": ["everywhere", "filetype", "here"],
        "Midfill disable f": ["filetype"],
        "Midfill adapter ": ["auto", "none"],
        "Midfill stats ": [],
    }  # fmt: skip
    found = {line: editor.call("nvim_call_function", "getcompletion", [line, "cmdline"]) for line in rows}
    assert found == rows


def test_the_command_says(start: Start) -> None:
    editor = start("one")
    editor.open("x =‸\n")
    editor.keys(" ")
    editor.wait_ghost("one")
    editor.keys("<Esc>")
    editor.wait_ghost("")
    editor.ready()
    assert editor.command("Midfill") == "midfill: ready\n  model scripted, adapter none, device cpu"
    assert "unknown subcommand: nonsense" in editor.command("Midfill nonsense")
    assert "expected one of" in editor.command("Midfill disable nonsense")
    assert editor.command("Midfill adapter") == "midfill: current adapter: none (available: auto, none)"
    for subcommand, begins in (("explain", "Shown: 3 characters"), ("stats", ""), ("log", "")):
        n_windows = len(editor.call("nvim_list_wins"))
        if subcommand == "log" and not (Path(editor.folder) / "state/log").exists():
            continue
        editor.command(f"Midfill {subcommand}")
        until(lambda n=n_windows: len(editor.call("nvim_list_wins")) > n)  # type: ignore[misc]
        assert editor.lines().startswith(begins)
        editor.command("close")


def test_another_adapter(start: Start) -> None:
    editor = start("one")
    editor.open("‸\n")
    editor.command("Midfill adapter mine")
    (told,) = editor.wire.wait("workspace/didChangeConfiguration")
    assert told["params"]["settings"] == {"midfill": {"adapter": "mine"}}


@pytest.mark.parametrize(("setting", "value", "usual"), [("eagerness", "quiet", "balanced"), ("lines", "one", "auto")])
def test_the_knob_is_turned(start: Start, setting: str, value: str, usual: str) -> None:
    editor = start("one")
    editor.open("‸\n")
    assert f"midfill: current {setting}: {usual} (available: " in editor.command(f"Midfill {setting}")
    assert "expected one of" in editor.command(f"Midfill {setting} loud")
    editor.command(f"Midfill {setting} {value}")
    (told,) = editor.wire.wait("workspace/didChangeConfiguration")
    assert told["params"]["settings"] == {"midfill": {setting: value}}
    until(lambda: editor.command(f"Midfill {setting}"), lambda says: f"midfill: current {setting}: {value} (" in says)


def test_a_snooze(start: Start) -> None:
    editor = start("one")
    editor.open("x =‸\n")
    editor.command("Midfill snooze 15")
    editor.wait(lambda: statusline(editor), "midfill: snoozed 15 min")
    editor.keys(" ")
    editor.wait_lines("x = ")
    for request in editor.wire.messages(method=METHOD)[1:]:
        assert editor.wire.items(request) == []
    assert editor.ghost() == ""
    editor.wait(lambda: "snoozed" in editor.command("Midfill"), True)  # once the request is refused
    editor.keys("<M-Bslash>")  # by hand it comes
    editor.wait_ghost("one")
    editor.command("Midfill snooze 0")
    editor.ready()
    editor.keys("+ ")
    editor.wait_ghost("one")
    assert "expected a number of minutes" in editor.command("Midfill snooze soon")


def test_the_model_is_chosen(start: Start) -> None:
    setup = "vim.ui.select = function(items, options, choose) _G.picked = vim.tbl_map(options.format_item, items) "
    editor = start("one", setup=setup + "choose(items[#items]) end")
    editor.open("‸\n")
    editor.command("Midfill model")
    (told,) = editor.wire.wait("workspace/didChangeConfiguration")
    offered = editor.lua("return _G.picked")
    assert "Qwen/Qwen2.5-Coder-1.5B: 3.1 GB to download, needs about 2.1 GB of memory" in offered
    assert offered[-1].startswith(told["params"]["settings"]["midfill"]["model"])


RECORDS = """{"all": {"shown": 120, "accepted": 30, "shown_acceptance": 0.283, "kept_300": null,
"latency_p50_s": 0.2104},
"language": {"typescriptreact": {"shown": 80, "shown_acceptance": 0.3}}}"""
STORY = "Shown: 3.\n\n  place      file:///some/where/a.py:1:2 python\n  ended by   stop  here"


@pytest.mark.parametrize("columns", [40, 60])
def test_reports_in_a_narrow_window(start: Start, columns: int) -> None:
    editor = start("one")
    editor.command(f"set columns={columns}")
    lines = editor.lua("return require('midfill.reports').statistics(...)", RECORDS)
    assert max(map(len, lines)) <= 30
    assert [" ".join(line.split()) for line in lines if line.startswith("  ")] == [
        "shown 120", "accepted 30", "rate 28%", "answer, p50 210 ms", "typescriptreact 80, 30%",
    ]  # fmt: skip
    assert "no such" in editor.lua("return require('midfill.reports').statistics(...)", "no such program")[-1]
    story = editor.lua("return require('midfill.reports').story(...)", STORY)
    assert story == ["Shown: 3.", "", "place", "  file:///some/where/a.py:1:2 python", "ended by", "  stop  here"]
    editor.lua("require('midfill.window').show('explain', ...)", story)
    assert editor.lua("return { vim.wo.wrap, vim.wo.linebreak, vim.wo.breakindent }") == [True, True, True]


def test_restart(start: Start) -> None:
    editor = start("one")
    editor.open("x =‸\n")
    editor.keys("<Esc>:Midfill restart<CR>")
    editor.wire.wait("initialize", 2)
    editor.ready()
    editor.keys("A ")
    editor.wait_ghost("one")


def test_a_killed_server_leaves_no_ghost(start: Start) -> None:
    editor = start("one")
    editor.open("x =‸\n")
    editor.keys(" ")
    editor.wait_ghost("one")
    editor.lua("vim.lsp.get_clients()[1]:stop(true)")
    editor.wait_ghost("")
    editor.keys("<Tab>.")
    editor.wait(lambda: editor.lines().replace(" ", "").replace("\t", ""), "x=.")


def test_health(start: Start) -> None:
    editor = start("one")
    editor.open("‸\n")
    editor.keys("<Esc>")
    editor.wait(lambda: editor.call("nvim_get_mode")["mode"], "n")
    editor.ready()
    editor.command("checkhealth midfill")
    report = editor.lines()
    assert "ERROR" not in report.replace("does not start", ""), report
    for line in ("ghost text: by this plugin", "<Tab>: accept", "midfill: ready", "not enabled"):
        assert (line in report) == (line != "not enabled"), report


def test_wrong_options_are_said(start: Start) -> None:
    editor = start("one")
    rows = {
        "{ ghost = true }": "unknown option ghost",
        "{ keymaps = { take = 'x' } }": "unknown option keymaps.take",
        "{ ghost_text = 'yes' }": "ghost_text",
        "{ popup = 1 }": "popup",
    }
    for options, says in rows.items():
        ok, error = editor.lua(f"return {{ pcall(require('midfill').setup, {options}) }}")
        assert not ok
        assert says in error


BUILTIN = """
-- Neovim 0.12's vim.lsp.inline_completion as far as its documentation tells; 0.12 itself is not to be had here.
local calls, shown = {}, nil
_G.calls = calls
local namespace = vim.api.nvim_create_namespace('nvim.lsp.inline_completion')
vim.lsp.inline_completion = {
  enable = function(on, filter) table.insert(calls, { 'enable', on, filter.bufnr }) end,
  select = function(options) table.insert(calls, { 'select', options.count }) end,
  get = function(options)
    table.insert(calls, { 'get', options.bufnr })
    if options.on_accept then
      options.on_accept(_G.item)
    end
    return true
  end,
}
function _G.present(item)
  _G.item = item
  vim.api.nvim_buf_set_extmark(0, namespace, 0, 0, { virt_text = { { 'ghost' } } })
end
function _G.draw(row, col, lines)
  local first, rest = { { lines[1], 'ComplHint' } }, {}
  for i = 2, #lines do
    rest[i - 1] = { { lines[i], 'ComplHint' } }
  end
  table.insert(#rest > 0 and rest[#rest] or first, { ' (1/2)', 'ComplHintMore' })
  vim.api.nvim_buf_set_extmark(0, namespace, row, col, { virt_text = first, virt_lines = rest })
end
"""


@pytest.mark.parametrize("range_", ["{ start = { row = 0, col = 4 } }", "{ start_row = 0, start_col = 4 }", "nil"])
def test_ghost_text_by_neovim_itself(start: Start, range_: str) -> None:
    """Only the plugin's side of it: which functions it calls, and what it takes for a piece."""
    editor = start("one", setup=BUILTIN)
    editor.open("x = ‸\n")
    editor.lua(
        f"_G.present({{ insert_text = 'one two', range = {range_}, command = {{ arguments = {{ 'id', 0 }} }} }})"
    )
    for key in ("<M-n>", "<C-]>", "<M-Right>"):
        editor.keys(key)
    editor.wait_lines("x = one")
    (part,) = editor.wire.wait("textDocument/didPartiallyAcceptCompletion")
    assert part["params"] == {"item": {"command": {"arguments": ["id", 0]}}, "acceptedLength": 3}
    editor.keys("<Tab>")
    called = [["enable", True, 1], ["select", 1], ["enable", False, 1], ["enable", True, 1], ["get", 1], ["get", 1]]
    editor.wait(lambda: editor.lua("return _G.calls"), called)
    assert not editor.wire.messages(method=METHOD)


def test_what_neovim_shows_is_dismissed(start: Start) -> None:
    """By its key and by Escape, not by CTRL-O; also where it left out what stands behind the cursor."""
    editor = start("one", setup=BUILTIN)
    editor.open("é = ‸()\n")

    def told() -> list[object]:
        messages = editor.wire.messages(method="midfill/dismissed")
        return [(one["params"]["position"]["character"], one["params"]["text"]) for one in messages]

    editor.lua("_G.draw(0, 5, { 'one', '  two' })")
    editor.keys("<C-]>")
    editor.wait(told, [(4, "one\n  two")])
    editor.lua("vim.api.nvim_buf_clear_namespace(0, -1, 0, -1)")
    editor.lua("_G.draw(0, 6, { 'three)' })")
    editor.keys("<C-o>")
    editor.keys("l")
    editor.keys("<Left>")
    editor.keys("<Esc>")
    editor.wait(told, [(4, "one\n  two"), (4, "(three)")])


def test_own_keys(start: Start) -> None:
    setup = "require('midfill').setup({ keymaps = { accept = '<C-l>', word = false } })"
    editor = start("one two", setup=setup)
    editor.open("x =‸\n")
    editor.keys(" ")
    editor.wait_ghost("one two")
    assert editor.call("nvim_call_function", "maparg", ["<M-Right>", "i"]) == ""
    editor.keys("<C-l>")
    editor.wait_lines("x = one two")


def test_help_tags(tmp_path: Path) -> None:
    tags = tmp_path / "doc"
    tags.mkdir()
    (tags / "midfill.txt").write_bytes((PLUGIN / "doc/midfill.txt").read_bytes())
    done = subprocess.run(
        [neovim(), "--headless", "-u", "NONE", "-c", f"helptags {tags}", "-c", "quit"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    found = {line.split("\t")[0] for line in (tags / "tags").read_text().splitlines()}
    assert {"midfill.txt", ":Midfill", "<Plug>(midfill-accept)", "midfill.setup()", "midfill-server"} <= found


def test_a_workspace_names_no_program(tmp_path: Path) -> None:
    """A repository may hold a program called midfill, and the PATH may have a relative entry."""
    workspace, marker = tmp_path / "workspace", tmp_path / "ran"
    for folder in (workspace, workspace / ".venv/bin", workspace / "bin", workspace / "node_modules/.bin"):
        folder.mkdir(parents=True, exist_ok=True)
        trap = folder / "midfill"
        trap.write_text(f"#!/bin/sh\ntouch {marker}\n")
        trap.chmod(0o755)
    (workspace / "main.py").write_text("x = \n")
    (workspace / ".nvim.lua").write_text(f"io.open('{marker}', 'w'):close()")
    lua = "io.write(vim.inspect(require('midfill.program').command()))"
    done = subprocess.run(
        [neovim(), "--headless", "-u", "NONE", "--cmd", f"set rtp^={PLUGIN}", "main.py", "-c", f"lua {lua}",
         "-c", "lua vim.lsp.enable('midfill')", "-c", "edit", "-c", "quitall!"],
        capture_output=True, text=True, check=True, cwd=workspace,
        env={"PATH": ".:bin:.venv/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert str(workspace) not in done.stdout
    assert '{ "midfill", "lsp", "--stdio" }' in done.stdout
    assert "midfill is not installed" in done.stderr
    assert not marker.exists()


def test_a_program_of_the_users_is_found(tmp_path: Path) -> None:
    """pipx and uv put it into a folder that is not always on the PATH of a Neovim with its own window."""
    program = tmp_path / ".local/bin/midfill"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    lua = "io.write(require('midfill.program').find())"
    done = subprocess.run(
        [neovim(), "--headless", "-u", "NONE", "--cmd", f"set rtp^={PLUGIN}", "-c", f"lua {lua}", "-c", "quitall!"],
        capture_output=True, text=True, check=True,
        env={"PATH": os.defpath, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout == str(program)


def test_the_server_runs_at_home(start: Start) -> None:
    """And not in the workspace, where Python may look for modules: the system's list of processes tells."""
    editor = start("one")
    editor.open("x =‸\n")
    mine = str(editor.wire.log).encode()
    folders = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if mine in arguments and b"--stdio" in arguments:
                folders.add((entry / "cwd").readlink())
        except OSError:
            continue  # it has ended meanwhile, or is another user's
    assert folders == {Path(str(editor.lua("return vim.uv.os_homedir()")))}
