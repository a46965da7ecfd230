"""wiretap.py LOG COMMAND...: runs a language server and writes every message of both sides to LOG, one on each line.

Tests give it to an editor in place of the server. The test that starts the editor chooses the server, never a file of
the workspace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

LOCK = threading.Lock()


def pass_on(source: IO[bytes], target: IO[bytes], log: Path, side: str) -> None:
    """Pass on and log every message of one side, until it ends."""
    while header := source.readline():
        length = 0
        head = header
        while header.strip():
            if header.lower().startswith(b"content-length:"):
                length = int(header.split(b":")[1])
            header = source.readline()
            head += header
        body = source.read(length)
        entry = {"side": side, "at": time.monotonic(), **json.loads(body)}
        with LOCK, log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        target.write(head + body)
        target.flush()
    target.close()


def main() -> int:
    """Run the server between standard input and output; return its exit status."""
    log, command = Path(sys.argv[1]), sys.argv[2:]
    if command[-1] != "--stdio":
        return subprocess.call(command)  # a command other than the language server
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    threads = [
        threading.Thread(target=pass_on, args=(sys.stdin.buffer, server.stdin, log, "client"), daemon=True),
        threading.Thread(target=pass_on, args=(server.stdout, sys.stdout.buffer, log, "server"), daemon=True),
    ]
    for thread in threads:
        thread.start()
    return server.wait()


if __name__ == "__main__":
    status = main()
    os._exit(status)  # the editor's side may still be read, and nothing must wait for it
