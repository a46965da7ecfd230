"""Tiny random models in float32, saved as transformers saves them, with a small tokenizer beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    Starcoder2Config,
)

from midfill.engine.local.model import load as load_module
from midfill.engine.local.model.load import LoadedModel, load
from tests.tokenizers_made import describe

VOCABULARY = 352
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 2048,
    "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
CONFIGS: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**_SIZES),
    "qwen2": lambda: Qwen2Config(**_SIZES),
    "gemma": lambda: GemmaConfig(**_SIZES),
    "qwen3": lambda: Qwen3Config(**_SIZES),
    # Windows that are smaller than the sequences of the tests; gemma3's on two of three layers.
    "mistral": lambda: MistralConfig(**_SIZES, sliding_window=16),
    "gemma3": lambda: Gemma3TextConfig(
        **_SIZES,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        query_pre_attn_scalar=16,
    ),
    "starcoder2": lambda: Starcoder2Config(**_SIZES, sliding_window=None),
}


DECODERS = ("llama", "qwen2", "gemma", "qwen3", "mistral")  # which are read without transformers


def save_tiny(
    kind: str, folder: Path, *, tokenizer: str = "qwen2.5-coder", seed: int = 0, **changes: Any
) -> Path:  # fmt: skip
    """Write a random model of ``kind``, its configuration with ``changes``, into ``folder``."""
    torch.manual_seed(seed)
    description = describe(tokenizer)
    config = CONFIGS[kind]()
    model = AutoModelForCausalLM.from_config(type(config)(**{**config.to_dict(), **changes}) if changes else config)
    for parameter in model.parameters():  # larger than the usual start: so that tokens differ and ties do not happen
        torch.nn.init.normal_(parameter, std=0.2)
    if not model.config.tie_word_embeddings:
        with torch.no_grad():  # never a control token, which would end an answer by chance
            model.get_output_embeddings().weight[len(description["model"]["vocab"]) :] = 0
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(description), encoding="utf-8")
    return folder


def load_tiny(folder: Path, dtype: str = "float32", *, modules: bool = False) -> LoadedModel:
    """Load it as the engine does; ``modules``: as training does."""
    return load(folder, folder.name, device="cpu", dtype=dtype, progress=lambda *_: None, modules=modules)


def load_modules(folder: Path, dtype: str = "float32") -> Any:
    """The same model as transformers computes it: what ours is compared with."""
    return load_tiny(folder, dtype, modules=True).model


def load_foreign(folder: Path, dtype: str = "float32") -> Any:
    """The same model as the engine would load one that is not read as a Decoder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_module, "architecture", lambda config: None)
        return load_tiny(folder, dtype).model
