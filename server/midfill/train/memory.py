"""How much memory training takes, known before anything is loaded."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from midfill.engine.local.model.load import pick_floats
from midfill.engine.local.store.models import float_bytes
from midfill.train.base import number_format
from midfill.train.steps import BEHIND_HEAD, PIECE
from midfill.types import MidfillError

# Bytes per weight in four bits: NF4 in blocks of 64, whose scales have eight bits and a float32 for 256 of them.
QUANTISED = 0.5 + 1 / 64 + 4 / (64 * 256)
# Bytes that a layer keeps of a token for the way back, by its width and its inner width: with LoRA on every linear
# layer, and dropout. Counted in tests/train/test_memory.py. LoRA's float32 weights make float32 copies of their inputs,
# unless everything is computed in sixteen bits (steps.in_sixteen_bits).
KEPT, KEPT_WITH_COPIES = (36, 10), (46, 11)
# A layer that is computed again has its gradients besides what it keeps.
AGAIN = 1.5
# Bytes per logit: the logit, its float32, its probability, and the gradients of all.
LOGIT = 16


@dataclass(frozen=True, slots=True)
class Need:
    """The bytes that training takes, about, and the bytes available."""

    weights: int
    work: int
    there: int
    where: str

    @property
    def total(self) -> int:
        """The bytes of weights and work together."""
        return self.weights + self.work


def need(folder: Path, device: torch.device, n_tokens: int, *, quantised: bool, checkpointing: bool = False) -> Need:
    """Return what training on ``folder`` needs with ``n_tokens`` at once. Reads no weights. Raises MidfillError."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        n_weights = float_bytes(folder) // 2
    except (OSError, ValueError) as error:
        raise MidfillError(f"{folder} is not a model folder", "check the setting model") from error
    if device.type == "cpu":
        chosen = number_format(folder, device)
        weights, work = _on_cpu(config, n_weights, n_tokens, chosen, checkpointing=checkpointing)
    else:
        floats = pick_floats(device)
        weights, work = _on_gpu(config, n_weights, n_tokens, floats, quantised=quantised, checkpointing=checkpointing)
    return Need(weights, work, *_there(device))


def _sizes(config: dict[str, Any]) -> tuple[int, int, int, int]:
    """Return hidden width, inner width, layers and vocabulary."""
    hidden = int(config.get("hidden_size", 1024))
    inner = int(config.get("intermediate_size", 4 * hidden))
    return hidden, inner, int(config.get("num_hidden_layers", 24)), int(config.get("vocab_size", 32_000))


def _tied(config: dict[str, Any]) -> bool:
    """Whether the head has the embedding's weights."""
    return bool(config.get("tie_word_embeddings", config.get("model_type") == "gemma"))


def _on_cpu(
    config: dict[str, Any], n_weights: int, n_tokens: int, chosen: str, *, checkpointing: bool
) -> tuple[int, int]:  # fmt: skip
    """Return (weights, work) in bytes. Measured: memory that is freed stays with the process."""
    hidden, inner, layers, vocabulary = _sizes(config)
    # Int8 weights are in memory twice, for both ways, and an embedding that is not the head's once more.
    wide, more = 4 if chosen == "float32" else 2, 0 if chosen != "int8" or _tied(config) else vocabulary * hidden
    # For each token and layer about twelve vectors of the width and five of the inner width, in float32, in
    # which the adapter computes; with int8 weights ten and four.
    of_width, of_inner = (10, 4) if chosen == "int8" else (12, 5)
    each = n_tokens * (of_width * hidden + of_inner * inner) * 4
    kept = each + n_tokens * layers * hidden * (2 if chosen == "bfloat16" else 4) if checkpointing else each * layers
    return n_weights * wide + more, kept + n_tokens // 4 * vocabulary * 10 + (2 << 30)


def _on_gpu(
    config: dict[str, Any], n_weights: int, n_tokens: int, floats: str, *, quantised: bool, checkpointing: bool
) -> tuple[int, int]:
    """Return (weights, work) in bytes."""
    hidden, inner, layers, vocabulary = _sizes(config)
    n_whole = min(n_weights, vocabulary * hidden * (1 if _tied(config) else 2))  # embedding and head are not quantised
    weights = int((n_weights - n_whole) * QUANTISED + n_whole * 2) if quantised else n_weights * 2
    heads = int(config.get("num_attention_heads", 1)) * int(config.get("head_dim") or 0)
    by_width, by_inner = KEPT if floats == "bfloat16" else KEPT_WITH_COPIES
    layer = n_tokens * (by_width * max(hidden, heads) + by_inner * inner)
    kept = int(AGAIN * layer) + n_tokens * layers * hidden * 2 if checkpointing else layer * layers
    widened = 2 * hidden * inner * 2 if quantised else 0  # one weight in sixteen bits, forward or back
    n_rows = n_tokens if any(config.get(name) is not None for name in BEHIND_HEAD) else min(n_tokens, PIECE)
    return weights, kept + widened + n_rows * vocabulary * LOGIT + (1 << 30)


def _there(device: torch.device) -> tuple[int, str]:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]), f"free on {torch.cuda.get_device_name(device)}"
    try:
        with Path("/proc/meminfo").open(encoding="ascii") as lines:
            values = dict(line.split(":", 1) for line in lines)
        return int(values["MemAvailable"].split()[0]) << 10, "of memory free"
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "of memory in all"


def check(need: Need) -> None:
    """Raise MidfillError, before anything is loaded, if memory is too small."""
    if need.total > need.there:
        raise MidfillError(
            f"training needs about {need.total / 1e9:.1f} GB ({need.weights / 1e9:.1f} for the base), "
            f"{need.there / 1e9:.1f} GB are {need.where}",
            "use fewer --tokens, --quantise on a GPU, or a smaller base: --model embedded needs 4 to 6 GB",
        )
