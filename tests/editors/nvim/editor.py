"""The real Neovim, headless, with the plugin of this repository and midfill's real server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.editors.tools import REPOSITORY, neovim
from tests.editors.wire import TIMEOUT_S, WireLog, environment, until

HERE = Path(__file__).parent
PLUGIN = REPOSITORY / "editors/neovim"
GHOST = """
local ns = vim.api.nvim_get_namespaces()['midfill']
local mark = ns and vim.api.nvim_buf_get_extmarks(0, ns, 0, -1, { details = true })[1]
if not mark then return '' end
local lines = { mark[4].virt_text[1][1] }
for _, line in ipairs(mark[4].virt_lines or {}) do lines[#lines + 1] = line[1][1] end
return table.concat(lines, '\\n')
"""


def settings(folder: Path, wire: WireLog, setup: str = "") -> dict[str, str]:
    """Return the environment of an editor."""
    home = {f"XDG_{name}_HOME": str(folder / "home") for name in ("CONFIG", "DATA", "STATE", "CACHE")}
    test = {"TEST_PLUGIN": str(PLUGIN), "TEST_COMMAND": json.dumps(wire.command), "TEST_SETUP": setup}
    return {**os.environ, **home, **test}


class Neovim:
    """One editor. Keys go through its real input."""

    def __init__(
        self, folder: Path, script: dict[str, Any] | None, setup: str = "", server: list[str] | None = None,
        init: Path = HERE / "init.lua", **env: str,
    ) -> None:  # fmt: skip
        """``server``: the command line of another server than midfill; ``init``: another configuration."""
        self.wire = WireLog(folder / "wire.jsonl", server)
        self.folder, self.workspace = folder, folder / "workspace"
        self.workspace.mkdir()
        self.env = {**settings(folder, self.wire, setup), **environment(folder, script), **env}
        self._process = subprocess.Popen(
            [neovim(), "-l", str(HERE / "bridge.lua"), str(init)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.env,
            cwd=self.workspace,
            text=True,
        )

    def call(self, method: str, *params: Any) -> Any:
        """Call a function of Neovim's API and return its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"method": method, "params": params}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["ok"], answer["result"]
        return answer["result"]

    def lua(self, code: str, *arguments: Any) -> Any:
        """Run Lua in the editor."""
        return self.call("nvim_exec_lua", code, list(arguments))

    def command(self, command: str) -> str:
        """Run an Ex command; return its output."""
        return str(self.call("nvim_exec2", command, {"output": True}).get("output", ""))

    def keys(self, keys: str) -> None:
        """Press keys."""
        self.call("nvim_input", keys)

    def open(self, text: str, name: str = "main.py", patience_s: float = TIMEOUT_S) -> Path:
        """Open a file with the cursor at ``‸``, in insert mode, as soon as the server is ready."""
        file = self.workspace / name
        before, _, after = text.partition("‸")
        file.write_text(before + after, encoding="utf-8")
        self.command(f"edit {file}")
        self.ready(patience_s)
        row, column = before.count("\n") + 1, len(before.rsplit("\n", 1)[-1].encode())
        at_end = column > 0 and after.startswith("\n")
        self.keys(f"<Cmd>call cursor({row}, {column + 1})<CR>" + ("A" if at_end else "i"))
        self.wait(lambda: [self.call("nvim_get_mode")["mode"], self.cursor()], ["i", [row, column]])
        return file

    def ready(self, patience_s: float = TIMEOUT_S) -> None:
        """Wait for the server."""
        line = "return require('midfill').statusline()"
        until(lambda: self.lua(line), lambda said: said == "midfill", timeout_s=patience_s)

    def lines(self) -> str:
        """Return the buffer."""
        return "\n".join(self.call("nvim_buf_get_lines", 0, 0, -1, False))

    def cursor(self) -> list[int]:
        """Return the row from 1 and the column in bytes from 0."""
        return list(self.call("nvim_win_get_cursor", 0))

    def ghost(self) -> str:
        """Return the ghost text on the screen."""
        return str(self.lua(GHOST))

    def frames(self) -> list[str]:
        """Return all ghost text that was ever shown, '' where it was removed."""
        return list(self.lua("return _G.frames"))

    def wait(self, value: Callable[[], Any], wanted: Any) -> None:
        """Wait until ``value`` is ``wanted``."""
        until(value, lambda found: found == wanted)

    def wait_ghost(self, text: str) -> None:
        """Wait for ghost text."""
        self.wait(self.ghost, text)

    def wait_lines(self, text: str) -> None:
        """Wait for a buffer."""
        self.wait(self.lines, text)

    def messages(self) -> str:
        """Return what Neovim told the user."""
        return self.command("messages")

    def close(self) -> None:
        """Close the editor, and with it the server."""
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()  # the bridge exits, and its editor with it
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
