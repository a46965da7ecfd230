"""The forward pass of transformers' own modules over slots, for architectures that are not read as a Decoder.

The slots' attention is registered in transformers' attention interface, and receives its step by a keyword that the
layers pass on. The adapter's additions and the check whether to stop are hooks that last as long as the call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from midfill.engine.local.forward.attention import Attends
from midfill.engine.local.lora.adapter import Adapter, LoraPair

NAME = "midfill"


def _attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, _mask: Any,
    scaling: float | None = None, sliding_window: int | None = None, softcap: float | None = None, **kwargs: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """The attention that a model's layer calls."""
    step: Attends = kwargs["midfill_step"]
    if kwargs.get("s_aux") is not None:
        raise NotImplementedError("attention sinks")
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    return step.attend(layer, query[0], key[0], value[0], scaling, sliding_window, softcap)[None], None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, lambda *_, **__: None)


class Foreign:
    """The pass over one model, built with attention NAME (modules.build)."""

    def __init__(self, model: Any) -> None:
        self._model, self._modules = model, dict(model.named_modules())
        self._layers = max((m for m in model.modules() if isinstance(m, nn.ModuleList)), key=len)

    def __call__(
        self, ids: torch.Tensor, positions: torch.Tensor, keep: torch.Tensor, step: Attends, adapter: Adapter | None,
        check: Callable[[], None],
    ) -> torch.Tensor:  # fmt: skip
        """As eager.forward."""
        with self._hooked(adapter, check):
            output = self._model(
                input_ids=ids[None], position_ids=positions[None], use_cache=False, logits_to_keep=keep,
                midfill_step=step,
            )  # fmt: skip
        logits: torch.Tensor = output.logits[0]
        return logits

    @contextlib.contextmanager
    def _hooked(self, adapter: Adapter | None, check: Callable[[], None]) -> Iterator[None]:
        with contextlib.ExitStack() as hooks:
            for layer in self._layers:
                hooks.callback(layer.register_forward_pre_hook(lambda *_: check()).remove)
            for path, pair in adapter.pairs.items() if adapter is not None else ():
                hooks.callback(self._modules[path].register_forward_hook(adding(pair)).remove)
            yield


def adding(pair: LoraPair) -> Any:
    """Return a hook that adds ``pair`` to a linear layer's output, in the layer's format."""

    def add(_module: nn.Module, inputs: tuple[torch.Tensor, ...], y: torch.Tensor) -> torch.Tensor:
        return (y + pair.delta(inputs[0])).to(y.dtype)

    return add
