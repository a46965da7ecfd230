"""The forward pass over slots: tokens of one or several sequences in, logits out. It can be stopped between layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from midfill.engine.local.forward import eager
from midfill.engine.local.forward.attention import Attends, Rows, Step
from midfill.engine.local.forward.cuda_graphs import Backpressure, StaticDecoder
from midfill.engine.local.lora.adapter import Adapter
from midfill.engine.local.model.decoder import HEAD, Decoder
from midfill.engine.local.model.int8_kernels import OneDnn
from midfill.engine.local.sequence.kv_cache import Rotate, Slot
from midfill.engine.local.sequence.rope_shift import Rotation, find_rotation
from midfill.types import MidfillError

Stop = Callable[[], bool]


class Cancelled(Exception):  # noqa: N818 - not an error: the user typed on
    """Raised between layers once ``stop`` says that no request waits for the step."""


class Runner:
    """Runs one model: a Decoder eagerly or compiled, or transformers' modules (built with foreign.NAME) as they are."""

    def __init__(self, model: Decoder | nn.Module) -> None:
        self.model = model
        self.static: StaticDecoder | None = None  # takes the steps that fit its shapes
        self.compiled = _compiled(model) if isinstance(model, Decoder) else None
        if isinstance(model, Decoder):
            self.device, self.n_layers = model.device, len(model.layers)
            self._foreign: Callable[..., torch.Tensor] | None = None
        else:
            from midfill.engine.local.forward.foreign import Foreign

            config: Any = model.config
            self.device, self.n_layers = model.device, int(config.get_text_config().num_hidden_layers)  # type: ignore[assignment]
            self._foreign = Foreign(model)

    def forward(
        self, batch: Sequence[Rows], adapter: Adapter | None = None, stop: Stop | None = None
    ) -> list[torch.Tensor]:  # fmt: skip
        """Evaluate ``batch``; return (n_logits, vocabulary) for the last ``n_logits`` of each of its rows.

        Raises Cancelled as soon as ``stop()`` is true; after that or any error, no token counts as known.
        """
        if self.static is not None and self.static.takes(batch, adapter):
            if stop is not None and stop():
                raise Cancelled
            logits = [self.static.step(batch[0], adapter)]
        else:
            logits = self._dynamic(batch, adapter, stop)
        for rows in batch:
            for at in rows.positions:
                rows.slot.known[at] = 1
        return logits

    def _dynamic(self, batch: Sequence[Rows], adapter: Adapter | None, stop: Stop | None) -> list[torch.Tensor]:
        """Run a step of any shape."""
        ids = torch.tensor([token for rows in batch for token in rows.ids], device=self.device)
        positions = torch.tensor([at for rows in batch for at in rows.positions], device=self.device)
        wanted: list[int] = []
        end = 0
        for rows in batch:
            end += len(rows.ids)
            wanted += range(end - rows.n_logits, end)
        keep = torch.tensor(wanted, dtype=torch.long, device=self.device)
        pace = Backpressure() if self.device.type == "cuda" and stop is not None else None

        def check() -> None:
            if pace is not None:
                pace()
            if stop is not None and stop():
                raise Cancelled

        check()
        kept = self.run(ids, positions, keep, Step.of(batch, self.device), adapter, check)
        return list(torch.split(kept, [rows.n_logits for rows in batch]))

    def run(
        self, ids: torch.Tensor, positions: torch.Tensor, keep: torch.Tensor, step: Attends, adapter: Adapter | None,
        check: Callable[[], None] = lambda: None,
    ) -> torch.Tensor:  # fmt: skip
        """Evaluate like eager.forward, by the pass that suits this model."""
        if self._foreign is not None:
            return self._foreign(ids, positions, keep, step, adapter, check)
        assert isinstance(self.model, Decoder)
        if self.compiled is not None and isinstance(step, Step) and (adapter is None or HEAD not in adapter.pairs):
            logits: torch.Tensor = self.compiled(ids, positions, keep, step, adapter, check)
            return logits
        return eager.forward(self.model, ids, positions, keep, step, adapter, check)

    def warm_up(self) -> None:
        """Evaluate one token, so that everything compiled or set up at first use is ready."""
        slot = Slot()
        slot.begin([1], None, None)
        with torch.inference_mode():
            self.forward([Rows(slot, slot.ids, [0])])

    def make_ready(self, adapter: Adapter) -> None:
        """Lay out ``adapter`` for the products, so that its first use costs no more than later ones."""
        for linear in self.model.linears if isinstance(self.model, Decoder) else ():
            adapter.stack(linear.paths, linear.sizes)

    def find_rotation(self) -> Rotate | None:
        """Return how to move cached keys to other positions; None if the model has no such rotation."""
        if isinstance(self.model, Decoder):
            rotation = Rotation(self.model.rope.frequencies, neighbours=False)
            return lambda _layer, keys, by: rotation(keys, by)
        with torch.inference_mode():
            return find_rotation(self.model, self.keys_at)

    def keys_at(self, position: int) -> list[torch.Tensor]:
        """Return each layer's keys, (kv_heads, 1, dim), of one token alone at ``position``. Raises MidfillError."""
        probe, none = _Probe(), torch.empty(0, dtype=torch.long, device=self.device)
        one = torch.ones(1, dtype=torch.long, device=self.device)
        self.run(one, one * position, none, probe, None)
        if len(probe.keys) != self.n_layers:
            name = type(self.model).__name__
            raise MidfillError(f"{name} has layers without attention over keys and values", "choose another model")
        return probe.keys


def _compiled(decoder: Decoder) -> Any:
    """Return the compiled pass if it supports the model's products and layers, else None."""
    kernel = getattr(decoder.head, "kernel", None)
    if kernel is None or isinstance(kernel, OneDnn):
        return None
    from midfill.engine.local.forward.compiled.step import CompiledStep

    try:
        return CompiledStep(decoder)
    except TypeError:
        return None


class _Probe:
    """A step of one token that sees only itself; it keeps the keys."""

    def __init__(self) -> None:
        self.keys: list[torch.Tensor] = []

    def attend(self, _layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *_: Any) -> torch.Tensor:
        """Like Step.attend."""
        self.keys.append(k)
        return v.repeat_interleave(q.shape[0] // v.shape[0], dim=0).transpose(0, 1)
