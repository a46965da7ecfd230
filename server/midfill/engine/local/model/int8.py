"""Weights in int8 with one scale per row: the format of prepared files, and of the products on
CPUs (linear_int8.py) and GPUs."""

from __future__ import annotations

import torch

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
