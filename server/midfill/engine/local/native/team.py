"""Threads that run one compiled function side by side."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import torch


class Team:
    """As many threads as torch is told to use, the caller among them (threads.py decides). Callers wait for each
    other."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._jobs: list[queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]]] = []
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def run(self, function: Callable[..., Any], *arguments: Any, threads: int) -> None:
        """``function(thread, *arguments)`` on each of ``threads``; it must let the others run (nogil)."""
        with self._busy:
            while len(self._jobs) < threads - 1:
                self._add()
            for number in range(1, threads):
                self._jobs[number - 1].put((function, (number, *arguments)))
            function(0, *arguments)
            errors = [self._done.get() for _ in range(1, threads)]
        for error in errors:
            if error is not None:
                raise error

    def _add(self) -> None:
        jobs: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()
        self._jobs.append(jobs)
        threading.Thread(target=self._serve, args=(jobs,), name="midfill-step", daemon=True).start()

    def _serve(self, jobs: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        while True:
            function, arguments = jobs.get()
            try:
                function(*arguments)
            except BaseException as error:  # noqa: BLE001 - handed to whoever asked
                self._done.put(error)
            else:
                self._done.put(None)


def n_threads() -> int:
    """How many a step may use now."""
    return torch.get_num_threads()


team = Team()
