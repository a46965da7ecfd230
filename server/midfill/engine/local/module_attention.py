"""The slots' attention put into transformers' own modules, through their attention interface."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from midfill.engine.local.attention import current

NAME = "midfill"


def _attention(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any,
    scaling: float | None = None, sliding_window: int | None = None, softcap: float | None = None, **kwargs: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """What a model's layer calls. Outside a step it is transformers' own, so that a loaded model still works alone."""
    step = current.step
    if step is None:
        if softcap is not None:
            kwargs["softcap"] = softcap
        return sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **kwargs)  # type: ignore[no-any-return]
    if kwargs.get("s_aux") is not None:
        raise NotImplementedError("attention sinks")
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    return step.attend(layer, query[0], key[0], value[0], scaling, sliding_window, softcap)[None], None


def _no_mask(*args: Any, **kwargs: Any) -> Any:
    return None if current.step is not None else sdpa_mask(*args, **kwargs)


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, _no_mask)
