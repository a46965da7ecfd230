"""Training gives way to engines while they generate: for GPUs, which have no idle class."""

from __future__ import annotations

import threading
import time

import torch

from midfill.train.engines import Engines
from midfill.train.layers import before_each

LOOK_EVERY_S = 0.05
WAIT_S = 0.01
MAX_WAIT_S = 5.0  # an engine that never rests: training continues all the same, slowly


class Throttle:
    """Knows whether an engine of this user has requests, and waits meanwhile."""

    def __init__(self) -> None:
        self._busy, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="midfill-throttle", daemon=True)

    def start(self) -> Throttle:
        """Begin to watch the engines."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

    @property
    def is_busy(self) -> bool:
        """Whether an engine has requests."""
        return self._busy.is_set()

    def attach(self, model: torch.nn.Module) -> None:
        """Wait between the layers of ``model``, forward and backward. Work already queued
        on the device is done first."""
        before_each(model, self.wait)

    def wait(self) -> None:
        """Wait until every engine rests, at most MAX_WAIT_S."""
        if not self._busy.is_set():
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        end = time.monotonic() + MAX_WAIT_S
        while time.monotonic() < end and self._busy.is_set():
            time.sleep(WAIT_S)

    def _watch(self) -> None:
        engines = Engines()
        while not self._closed.wait(LOOK_EVERY_S):
            if engines.are_busy:
                self._busy.set()
            else:
                self._busy.clear()
        engines.close()
