"""Weights in int8 with one scale per row: the format of prepared files, and of the products on
CPUs (linear_int8.py) and GPUs."""

from __future__ import annotations

import torch
from torch import nn

from midfill.engine.local.model import int8_kernels
from midfill.engine.local.model.int8_kernels import LEVELS

SCALE_SUFFIX = "_scale"  # suffix of a tensor name: "...weight" is int8 beside "...weight_scale"


def is_supported() -> bool:
    """Whether this CPU multiplies int8 fast, and an installed library can do it."""
    return int8_kernels.best() is not None


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (int8, one scale per row) of a float weight: (rows, columns) -> (rows, columns), (rows,)."""
    values = weight.float()  # this is the weight itself if it is float32, so it must not be written to
    scale = values.abs().amax(dim=1).clamp_(min=1e-12).div_(LEVELS)
    return (values / scale[:, None]).round_().to(torch.int8), scale


def quantise_state(weights: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Return ``weights`` with those of linear layers and of a plain embedding in int8, the others in float32.

    Empties ``weights`` on the way, so that both are never in memory together.
    """
    names = {f"{path}.weight" for path, module in model.named_modules() if type(module) in (nn.Linear, nn.Embedding)}
    state: dict[str, torch.Tensor] = {}
    for name in list(weights):
        tensor = weights.pop(name)
        if name in names:
            state[name], state[name + SCALE_SUFFIX] = quantise(tensor)
        else:
            state[name] = tensor.float() if tensor.is_floating_point() else tensor
    return state
