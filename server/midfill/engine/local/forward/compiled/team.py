"""Threads that run one compiled function side by side."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

import torch
from numba import typeof

log = logging.getLogger(__name__)
Job = tuple[Callable[..., Any], tuple[Any, ...], "queue.SimpleQueue[BaseException | None]"]


class Team:
    """As many threads as torch is told to use, including the caller's (threads.py decides).
    Callers wait for each other."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._jobs: list[queue.SimpleQueue[Job]] = []
        self._compiled: set[Callable[..., Any]] = set()

    def run(self, function: Callable[..., Any], *arguments: Any, threads: int) -> None:
        """Run ``function(thread, *arguments)`` on each of ``threads``; it must release Python's lock (nogil)."""
        with self._busy:
            if function not in self._compiled:
                _compile(function, (0, *arguments))
                self._compiled.add(function)
            while len(self._jobs) < threads - 1:
                self._add()
            done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
            for number in range(1, threads):
                self._jobs[number - 1].put((function, (number, *arguments), done))
            try:
                function(0, *arguments)
            except BaseException:
                self._jobs = []  # the others may wait in it for this thread for ever, so they are not waited for
                raise
            errors = [done.get() for _ in range(1, threads)]
        for error in errors:
            if error is not None:
                raise error

    def _add(self) -> None:
        jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._jobs.append(jobs)
        threading.Thread(target=_serve, args=(jobs,), name="midfill-step", daemon=True).start()


def _serve(jobs: queue.SimpleQueue[Job]) -> None:
    while True:
        function, arguments, done = jobs.get()
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            done.put(error)
        else:
            done.put(None)


def _compile(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Compile or read ``function`` before several threads enter it: if it failed in one, the others would wait."""
    compile_for = getattr(function, "compile", None)
    if compile_for is None:
        return
    try:
        compile_for(tuple(typeof(argument) for argument in arguments))
    except OSError as error:  # it is compiled, but cannot be kept
        log.warning("compiled code is not kept: %s", error.strerror)


def n_threads() -> int:
    """Return how many threads a step may use now."""
    return torch.get_num_threads()


team = Team()
