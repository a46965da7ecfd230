"""A real terminal: tmux runs the program, receives the keys, and its screen is read and drawn."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from tests.editors.tools import program
from tests.editors.wire import until


class Terminal:
    """One program in a window of its own."""

    def __init__(
        self, command: list[str], env: Mapping[str, str], cwd: Path, columns: int = 80, rows: int = 24
    ) -> None:
        self._tmux = [program("tmux", "tmux"), "-u", "-L", f"midfill-{uuid.uuid4().hex[:12]}", "-f", "/dev/null"]
        size = ["-x", str(columns), "-y", str(rows)]
        settings = ["set", "-g", "default-terminal", "tmux-256color", ";", "set", "-g", "escape-time", "0", ";"]
        settings += ["set", "-ga", "terminal-features", ",*:RGB", ";", "set", "-g", "status", "off", ";"]
        variables = [part for name, value in env.items() for part in ("-e", f"{name}={value}")]
        start = [*settings, "new-session", "-d", *size, *variables, "-c", str(cwd), *command]
        subprocess.run([*self._tmux, *start], check=True, env={**env, "TERM": "xterm-256color"})

    def keys(self, *keys: str) -> None:
        """Press keys by tmux's names, such as Escape or Tab."""
        self._run("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type characters."""
        self._run("send-keys", "-l", text)

    def screen(self) -> str:
        """Return the text on the screen."""
        return self._run("capture-pane", "-p")

    def styled(self) -> str:
        """Return the screen with its colours as escape sequences."""
        return self._run("capture-pane", "-p", "-e")

    def cursor(self) -> tuple[int, int]:
        """Return column and row, from 0."""
        column, row = self._run("display-message", "-p", "#{cursor_x} #{cursor_y}").split()
        return int(column), int(row)

    def wait(self, text: str, timeout_s: float = 60.0) -> str:
        """Wait until ``text`` is on the screen; return the screen."""
        return until(self.screen, lambda screen: text in screen, timeout_s)

    def close(self) -> None:
        """Kill the terminal with everything that runs in it."""
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run([*self._tmux, *arguments], check=True, capture_output=True, text=True)
        return done.stdout
