"""Rotating cached keys to other positions (RoPE, Su et al. 2021, arXiv:2104.09864).

A rotation by p and then by d is one by p + d, so a key computed at one position is moved to another without evaluating
its token again. How a model lays out its pairs and which frequencies a layer uses is found by trying: a single token,
alone in a slot, has the same keys at any position except for their rotation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from midfill.engine.local.sequence.kv_cache import Rotate

KeysAt = Callable[[int], list[torch.Tensor]]  # keys of every layer, (kv_heads, 1, dim), of one token at a position


@dataclass(frozen=True, slots=True)
class Rotation:
    """The rotation of one layer: ``frequencies`` (pairs,) in radians per position; the two values of a pair are
    neighbours or half a head apart."""

    frequencies: torch.Tensor
    neighbours: bool

    def __call__(self, keys: torch.Tensor, by: int) -> torch.Tensor:
        """Return keys, (kv_heads, tokens, dim), turned by ``by`` positions."""
        n = len(self.frequencies)
        angle = self.frequencies.double() * by
        cos, sin = angle.cos().float(), angle.sin().float()
        turned = keys[..., : 2 * n].float()
        a, b = (turned[..., 0::2], turned[..., 1::2]) if self.neighbours else (turned[..., :n], turned[..., n:])
        out = torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1 if self.neighbours else -2)
        rotated = out.reshape(*keys.shape[:-1], 2 * n).to(keys.dtype)
        return torch.cat((rotated, keys[..., 2 * n :]), dim=-1)


def find_rotation(model: nn.Module, keys_at: KeysAt) -> Rotate | None:
    """Return how to turn the keys of ``model``, or None if its positions are not rotations."""
    here, there = keys_at(3), keys_at(40)
    names = [name for name, _ in model.named_buffers() if name.endswith("inv_freq") and "original" not in name]
    candidates = [Rotation(model.get_buffer(name), kind) for kind in (False, True) for name in names]
    layers: list[Rotation] = []
    for before, after in zip(here, there, strict=True):
        fitting = (rotation for rotation in candidates if _fits(rotation, before, after, 37))
        if (rotation := next(fitting, None)) is None:
            return None
        layers.append(rotation)
    return lambda layer, keys, by: layers[layer](keys, by)


def _fits(rotation: Rotation, before: torch.Tensor, after: torch.Tensor, by: int) -> bool:
    if 2 * len(rotation.frequencies) > before.shape[-1]:
        return False
    tolerance = 1e-3 if before.dtype == torch.float32 else 3e-2
    return float((rotation(before, by).float() - after.float()).norm()) <= tolerance * float(after.float().norm())
