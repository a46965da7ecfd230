"""A training run: from texts to an adapter's folder, with checkpoints, so that a kill loses little."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from peft import PeftModel

from midfill.engine.local.model.load import LoadedModel
from midfill.train import checkpoint
from midfill.train.base import Lora
from midfill.train.checkpoint import Progress
from midfill.train.examples import MIDDLE, Example, Loss, Maker, batch
from midfill.train.layers import before_each
from midfill.train.steps import DivergedError, Stepper, losses

log = logging.getLogger(__name__)

SAVE_EVERY_S = 45.0  # a kill may lose at most a minute
LOOK_SHARE = 4  # how often the held-out loss is measured on the way: each takes as long as twenty steps
N_TIMED = 3  # steps from which the total time is estimated
DIVERGED = 3.0  # times the initial loss, over as many steps as are smoothed
SMOOTHED = 20


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """How to train. ``n_tokens``: in one pass; ``accumulate``: passes per step. ``minutes`` bounds the steps."""

    lora: Lora = field(default_factory=Lora)
    n_steps: int = 300
    n_tokens: int = 512
    accumulate: int = 1
    rate: float = 3e-4
    seed: int = 1
    minutes: float = 0.0
    checkpointing: bool = False
    quantise: bool = False
    start: str = ""  # the adapter to continue from, with the start of its digest
    loss: Loss = MIDDLE
    on_top_of: str = ""  # the adapter that is frozen in the base, with the start of its digest
    draw: str = "even"  # one of weights.DRAWS
    start_share: float = 0.0  # of the start in the average of the weights at the end
    number_format: str = ""  # of the base's weights in training: float32, bfloat16, int8, nf4; empty: not known


@dataclass(frozen=True, slots=True)
class StepReport:
    """What the user sees after each step. Seconds are of the whole run, including the time before a kill."""

    step: int
    n_steps: int
    loss: float
    held_out: float | None
    tokens_per_s: float
    left_s: float
    seconds: float


@dataclass(slots=True)
class Trained:
    """A finished run."""

    model: PeftModel
    progress: Progress
    before: list[float]  # losses of the held-out examples, in nats per token
    after: list[float]


class Interrupted(Exception):  # noqa: N818 - not an error
    """The user asked to stop; the checkpoint is written."""


class Run:
    """Trains ``model`` on what ``maker`` draws. All randomness comes from the seed and the step."""

    def __init__(
        self, loaded: LoadedModel, model: PeftModel, maker: Maker, held_out: Sequence[Example],
        settings: Hyperparameters, folder: Path, data: str, *, on_step: Callable[[StepReport], None],
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        """``data`` identifies the texts; ``folder`` holds the checkpoints."""
        self._device, self._model, self._maker, self._held_out = loaded.device, model, maker, held_out
        self._settings, self._folder = settings, folder
        self._on_step, self._is_stopped = on_step, is_stopped
        before_each(model, self._stop_here)
        weights = ((name, one) for name, one in model.named_parameters() if one.requires_grad)
        self._start = {name: one.detach().clone() for name, one in weights} if settings.start_share else {}
        self._progress = Progress(identity(settings, loaded.name, data), n_steps=settings.n_steps)
        self._saved_s = 0.0

    def run(self, *, resume: bool = True) -> Trained:
        """Train to the end. Raises Interrupted, DivergedError and MidfillError.

        The run stops between two layers. The work of the current step is dropped, and the state after the previous step
        is saved.
        """
        found = checkpoint.latest(self._folder, self._progress.identity) if resume else None
        if found is not None:
            self._progress = found[0]
        progress = self._progress
        stepper = Stepper(
            self._model, self._device, rate=self._settings.rate, n_steps=progress.n_steps, done=progress.step
        )
        if not progress.before:
            progress.before = self._measured()  # at its beginning; a fresh adapter adds nothing
        if found is not None:
            stepper.restore(found[1], progress.step)
        if not progress.history:
            progress.history.append({"step": 0, "held_out": _mean(progress.before)})
        start = time.monotonic()
        done_before, first = progress.seconds, progress.step
        while progress.step < progress.n_steps:
            try:
                self._stop_here()
                loss = self._step(stepper)
            except Interrupted:
                self._save(stepper)
                raise
            progress.seconds = done_before + time.monotonic() - start
            if progress.step - first == N_TIMED and self._settings.minutes and found is None:
                stepper = self._fit_into_time(stepper)
            self._tell(stepper, loss)
            if time.monotonic() - start - self._saved_s > SAVE_EVERY_S:
                self._save(stepper)
                self._saved_s = time.monotonic() - start
        self._save(stepper)
        self._average(stepper)
        after = self._measured()
        return Trained(self._model, progress, progress.before, after)

    def _average(self, stepper: Stepper) -> None:
        """Move the weights back towards where they began (WiSE-FT, Wortsman et al. 2022, arXiv:2109.01903).

        Training on one repository goes too far: it learns the names, and uses the suffix less. Half of the way has most
        of the gain and none of the loss (docs/log.md, 2026-12-01).
        """
        with torch.no_grad():
            for name, start in self._start.items():
                stepper.weights[name].lerp_(start, self._settings.start_share)

    def _stop_here(self) -> None:
        """Raise Interrupted as soon as the user asks to stop."""
        if self._is_stopped():
            raise Interrupted

    def _measured(self) -> list[float]:
        """Return the held-out losses. Raises Interrupted."""
        found = []
        for loss in losses(self._model, self._held_out, self._device):
            self._stop_here()
            found.append(loss)
        return found

    def _step(self, stepper: Stepper) -> float:
        settings, progress = self._settings, self._progress
        at = progress.step * settings.accumulate
        batches = [
            batch(self._maker, at + i, settings.n_tokens, settings.seed, settings.loss)
            for i in range(settings.accumulate)
        ]
        torch.manual_seed((settings.seed << 32) + progress.step)  # for the dropout
        loss = stepper.step(batches)
        progress.step += 1
        progress.n_tokens += sum(len(one.ids) for one in batches)
        progress.n_examples += sum(one.n_examples for one in batches)
        return loss

    def _fit_into_time(self, stepper: Stepper) -> Stepper:
        """Set as many steps as ``minutes`` allow at the speed of the first ones, and a schedule over these."""
        progress, settings = self._progress, self._settings
        n_steps = int(settings.minutes * 60 / (progress.seconds / progress.step))
        progress.n_steps = max(N_TIMED + 1, min(settings.n_steps, n_steps))
        again = Stepper(self._model, self._device, rate=settings.rate, n_steps=progress.n_steps, done=progress.step)
        again.restore(stepper.state(), progress.step)
        return again

    def _tell(self, stepper: Stepper, loss: float) -> None:
        progress = self._progress
        entry = {"step": progress.step, "loss": loss, "rate": stepper.rate, "seconds": progress.seconds}
        held_out = None
        is_long = progress.n_steps >= 2 * LOOK_SHARE  # otherwise measuring would take longer than the steps
        if is_long and progress.step % (progress.n_steps // LOOK_SHARE) == 0 and self._held_out:
            held_out = entry["held_out"] = _mean(self._measured())
        progress.history.append(entry)
        self._check()
        each = progress.seconds / progress.step
        self._on_step(
            StepReport(
                progress.step, progress.n_steps, loss, held_out, progress.n_tokens / progress.seconds,
                (progress.n_steps - progress.step) * each, progress.seconds,
            )
        )  # fmt: skip

    def _check(self) -> None:
        """Raise DivergedError if the loss has grown far above its beginning."""
        values = [entry["loss"] for entry in self._progress.history if "loss" in entry]
        if len(values) >= 2 * SMOOTHED and _mean(values[-SMOOTHED:]) > DIVERGED * _mean(values[:SMOOTHED]):
            raise DivergedError("training diverged: the loss grew threefold", "use a smaller --rate")

    def _save(self, stepper: Stepper) -> None:
        try:
            checkpoint.save(self._folder, self._progress, stepper.state())
        except OSError as error:
            log.warning("no checkpoint could be written (%s); training goes on", error.strerror or error)


def identity(settings: Hyperparameters, base: str, data: str) -> str:
    """Return a digest of what a resumed run must share with the one that wrote the checkpoint."""
    said = {**asdict(replace(settings, minutes=0.0)), "base": base, "data": data}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
