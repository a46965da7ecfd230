"""Dropout for a CPU: drawing a random number for each of 125 million activations of a
pass took a quarter of its time."""

from __future__ import annotations

import functools

import torch
from peft import PeftModel
from torch import nn

POOL = 4  # the pool is at least this many times the activation, so a mask may begin at many places


class WindowDropout(nn.Module):
    """Dropout (Srivastava et al. 2014) whose masks are windows at random places of a pool of random bits.

    Two masks may overlap, shifted against each other; no trained weight could make use of that. Masks depend only on
    torch's generator and the size of the activation.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` with about a share ``p`` of it zero and the rest scaled up while training; else ``x`` itself."""
        if not self.training or not self.p:
            return x
        return x * window(self.p, x.shape, x.dtype)


def window(p: float, shape: torch.Size, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return a mask of ``shape``, zero at about a share ``p`` of its places and 1 / (1 - p) elsewhere: not to be
    written to."""
    n = shape.numel()
    pool = _pool(p, 1 << (POOL * n - 1).bit_length(), dtype)
    at = int(torch.randint(pool.numel() - n, ()))
    return pool[at : at + n].view(shape)


@functools.cache
def _pool(p: float, size: int, dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.bernoulli(torch.full((size,), 1 - p), generator=generator).div_(1 - p).to(dtype)


def use_windows(model: PeftModel) -> None:
    """Replace the dropout of every LoRA layer."""
    for module in model.modules():
        dropouts = getattr(module, "lora_dropout", None)
        if not isinstance(dropouts, nn.ModuleDict):
            continue
        for name, present in dropouts.items():
            if isinstance(present, nn.Dropout):
                dropouts[name] = WindowDropout(present.p)
