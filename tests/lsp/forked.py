"""Servers that start at once, since they are forked from a process that has imported midfill.

Importing is nearly all of a server's start, and hundreds of tests start one. In everything else a forked server is what
an editor starts: it has a process id, standard streams, an environment, a folder and an exit status of its own.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["midfill.commands.lsp", "tests.lsp.fakes"])


class Inherited:
    """A descriptor that the new process gets."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> Any:
        return _detached, (DupFd(self.descriptor),)


def _detached(passed: Any) -> int:
    number: int = passed.detach()
    return number


def _serve(env: Mapping[str, str], cwd: Path, streams: Sequence[int], with_fakes: bool) -> None:
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout, sys.stderr = (open(n, "rw"[n > 0], closefd=False) for n in range(3))  # noqa: SIM115
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    from midfill import cli
    from midfill.lsp import server, transport
    from tests.lsp import fakes

    if with_fakes:
        transport.serve_stdio(lambda: server.MidfillServer(None, fakes.make_link))
    sys.argv = ["midfill", "lsp", "--stdio"]
    sys.exit(cli.main())


class ForkedServer:
    """What tests use of ``subprocess.Popen``."""

    def __init__(self, env: Mapping[str, str], cwd: Path, *, with_fakes: bool) -> None:
        (theirs_in, ours_in), (ours_out, theirs_out) = os.pipe(), os.pipe()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        streams = [Inherited(each) for each in (theirs_in, theirs_out, nowhere)]
        self._process = FORKS.Process(target=_serve, args=(dict(env), cwd, streams, with_fakes))
        self._process.start()
        for each in (theirs_in, theirs_out, nowhere):
            os.close(each)
        self.stdin, self.stdout = os.fdopen(ours_in, "wb", 0), os.fdopen(ours_out, "rb", 0)
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if (code := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired("midfill lsp", timeout or 0.0)
        return code

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()
