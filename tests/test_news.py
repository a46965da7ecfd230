"""A message that waits for the user is given once."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
import sys

from midfill import news, paths


def test_said_once_in_its_order() -> None:
    assert news.take() == []
    news.leave("one")
    news.leave("two\x1b[31m\nlines")
    file = paths.state_dir() / news.FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    first, second = news.take()
    assert first == "one"
    assert "\n" not in second
    assert "\x1b" not in second
    assert news.take() == []
    assert not list(paths.state_dir().glob("news*"))


def test_only_the_last_ones_are_kept_and_a_damaged_file_does_not_hurt() -> None:
    for number in range(50):
        news.leave(f"line {number} " + "x" * 2000)
    found = news.take()
    assert found[-1].startswith("line 49")
    assert len(found) <= news.MAX_LINES
    (paths.state_dir() / news.FILE).write_bytes(b"\xff\xfe\0\n" * 9)
    assert all(isinstance(line, str) for line in news.take())


def test_a_command_says_it_to_a_terminal_only() -> None:
    news.leave("mine is better")
    command = [sys.executable, "-P", "-m", "midfill", "adapters", "list"]
    piped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "mine is better" not in piped.stderr
    main, side = pty.openpty()
    subprocess.run(command, stderr=side, stdout=subprocess.DEVNULL, check=True)
    os.close(side)
    assert b"midfill: mine is better" in os.read(main, 4096)
    os.close(main)
    assert news.take() == []
