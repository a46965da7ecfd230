"""Dropout for a CPU, where drawing a random number for each of 125 million activations a pass took a quarter of it."""

from __future__ import annotations

import torch
from peft import PeftModel
from torch import nn

POOL = 4  # times the largest activation: so many places where a mask may begin


class WindowDropout(nn.Module):
    """Dropout (Srivastava et al. 2014) whose masks are windows at random places of one pool of random bits.

    Two masks may overlap, shifted against each other; nothing that is trained could make use of that.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self._pool = torch.empty(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` with about a share ``p`` of it zero, and the rest scaled up, while training."""
        if not self.training or not self.p:
            return x
        n = x.numel()
        if self._pool.numel() < 2 * n:
            self._pool = torch.bernoulli(torch.full((POOL * n,), 1 - self.p)).div_(1 - self.p)
        at = int(torch.randint(self._pool.numel() - n, ()))
        return x * self._pool[at : at + n].view(x.shape).to(x.dtype)


def use_windows(model: PeftModel) -> None:
    """Replace the dropout of every LoRA layer; layers with the same input width share a pool."""
    shared: dict[tuple[int, float], WindowDropout] = {}
    for module in model.modules():
        dropouts = getattr(module, "lora_dropout", None)
        if not isinstance(dropouts, nn.ModuleDict):
            continue
        for name, present in dropouts.items():
            if isinstance(present, nn.Dropout):
                width = int(getattr(module, "in_features", 0))
                dropouts[name] = shared.setdefault((width, present.p), WindowDropout(present.p))
