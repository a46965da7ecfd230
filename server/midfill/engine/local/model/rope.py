"""The frequencies of rotary positions as ``config.json`` describes them, with the usual ways to stretch the context."""

from __future__ import annotations

import math
from typing import Any

import torch

from midfill.engine.local.model.decoder import Rope


def read_rope(config: dict[str, Any], head_dim: int, max_positions: int) -> Rope | None:
    """Return the rotary positions of ``config`` (of config.json), or None if this module cannot read their kind.

    ``max_positions``: the greatest number of positions.
    """
    said = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    kind = said.get("rope_type", said.get("type", "default"))
    theta = float(said.get("rope_theta") or config.get("rope_theta") or 10_000.0)
    part = said.get("partial_rotary_factor", config.get("partial_rotary_factor"))
    trained = config.get("original_max_position_embeddings") or said.get("original_max_position_embeddings")
    if part not in (None, 1.0) or any(isinstance(value, dict) for value in said.values()):
        return None  # only a part of each head turns, or each kind of layer has its own frequencies
    plain: torch.Tensor = 1.0 / theta ** (torch.arange(0, head_dim, 2).float() / head_dim)
    if kind in ("default", "dynamic"):  # dynamic NTK stretches only positions after ``max_positions``
        return Rope(plain)
    if kind == "linear":  # interpolated positions: Chen et al. 2023, arXiv:2306.15595
        return Rope(plain / said["factor"])
    if kind == "llama3":
        return Rope(_llama3(plain, said, trained or max_positions))
    if kind == "yarn":
        return _yarn(plain, said, theta, trained or max_positions, max_positions)
    return None


def _llama3(plain: torch.Tensor, said: dict[str, Any], trained: int) -> torch.Tensor:
    """Return Llama 3.1's frequencies: wavelengths of more than a part of the ``trained`` positions are stretched, with
    a blended band between (Grattafiori et al. 2024, arXiv:2407.21783)."""
    turns = trained * plain / (2 * math.pi)  # turns of each pair over the trained positions
    low, high = said["low_freq_factor"], said["high_freq_factor"]
    blend = ((turns - low) / (high - low)).clamp(0, 1)  # 1: unchanged
    stretched: torch.Tensor = plain * (blend + (1 - blend) / said["factor"])
    return stretched


def _yarn(plain: torch.Tensor, said: dict[str, Any], theta: float, trained: int, max_positions: int) -> Rope:
    """Return YaRN's positions (Peng et al. 2023, arXiv:2309.00071): pairs that turn often stay, those that turn less
    than once are stretched, with a ramp between; and attention gets a temperature."""
    factor = said.get("factor") or max_positions / trained
    n = len(plain)

    def pair_that_turns(times: float) -> float:
        return n * math.log(trained / (times * 2 * math.pi)) / math.log(theta)

    low, high = pair_that_turns(said.get("beta_fast") or 32), pair_that_turns(said.get("beta_slow") or 1)
    if said.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * n - 1)
    ramp = ((torch.arange(n) - low) / (high - low or 0.001)).clamp(0, 1)  # 1: stretched
    scale = said.get("attention_factor")
    if scale is None:
        one, all_dims = said.get("mscale"), said.get("mscale_all_dim")
        scale = _mscale(factor, one) / _mscale(factor, all_dims) if one and all_dims else _mscale(factor, 1.0)
    return Rope(plain * (1 - ramp + ramp / factor), float(scale))


def _mscale(factor: float, weight: float) -> float:
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0
