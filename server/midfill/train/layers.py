"""Calls between the layers of a model while it trains, as a step on a CPU takes many seconds."""

from __future__ import annotations

from collections.abc import Callable

import torch


def before_each(model: torch.nn.Module, call: Callable[[], None]) -> None:
    """Call ``call`` before each layer of ``model``, forward and backward. An error that it raises ends the pass."""
    stacks = (module for module in model.modules() if isinstance(module, torch.nn.ModuleList) and len(module) > 1)
    for at, layer in enumerate(next(stacks, ())):
        layer.register_forward_pre_hook(lambda *_: call())
        if at:  # on the way back the first layer is the last, and torch warns if its input has no gradient
            layer.register_full_backward_pre_hook(lambda *_: call())
