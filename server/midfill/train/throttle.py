"""Training gives way to engines while they generate: on a GPU, which knows no idle class."""

from __future__ import annotations

import threading
import time

import torch

from midfill.train.engines import Engines
from midfill.train.layers import before_each

LOOK_EVERY_S = 0.05
WAIT_S = 0.01
MAX_WAIT_S = 5.0  # an engine that never rests: training goes on all the same, slowly


class Throttle:
    """Knows whether an engine of this user has requests, and waits meanwhile."""

    def __init__(self) -> None:
        self._busy, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="midfill-throttle", daemon=True)

    def start(self) -> Throttle:
        """Begin to look."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    @property
    def is_busy(self) -> bool:
        """Whether a request is waiting for an engine."""
        return self._busy.is_set()

    def attach(self, model: torch.nn.Module) -> None:
        """Wait between the layers of ``model``, forward and backward. What the device has queued is done first."""
        before_each(model, self.wait)

    def wait(self) -> None:
        """Until every engine rests, at most MAX_WAIT_S."""
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
