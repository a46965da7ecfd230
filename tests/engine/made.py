"""Tiny random models in float32, saved as transformers saves them, with a small tokenizer."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    Starcoder2Config,
)

from midfill.engine.local.model import int8, int8_kernels
from midfill.engine.local.model import load as load_module
from midfill.engine.local.model.load import LoadedModel, load
from midfill.engine.local.store.manifest import INT8
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
    for parameter in model.parameters():  # larger initial values than usual: tokens differ and ties do not happen
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
    """Return the same model as transformers computes it, which ours is compared with."""
    return load_tiny(folder, dtype, modules=True).model


def load_rounding(folder: Path) -> Any:
    """Return transformers' float model, with which int8 is compared. Gemma's has int8's weights and
    reads rounded rows where this CPU's kernel rounds rows to 8 bits: tiny ones feel that more than the bound allows.

    What 8 bits cost is no fault of the pass. The embedded model's own test bounds it (test_int8).
    """
    model = load_modules(folder)
    if model.config.model_type != "gemma" or int8_kernels.best() is not int8_kernels.OneDnn:
        return model
    seen: set[int] = set()  # a tied weight is rounded once
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(lambda _, given: (_rounded(given[0]), *given[1:]))
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding) and id(module.weight) not in seen:
            seen.add(id(module.weight))
            values, scale = int8.quantise(module.weight)
            with torch.no_grad():
                module.weight.copy_(values.float() * scale[:, None])
    return model


def _rounded(rows: torch.Tensor) -> torch.Tensor:
    level = rows.abs().amax(-1, keepdim=True).clamp(min=1e-12) / int8_kernels.LEVELS
    return (rows / level).round() * level


def load_foreign(folder: Path, dtype: str = "float32") -> Any:
    """Return the same model as the engine would load one that it does not read as a Decoder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_module, "architecture", lambda config: None)
        return load_tiny(folder, dtype).model


def save_int8(folder: Path) -> dict[str, torch.Tensor]:
    """Write the weights of the model in ``folder`` in int8 beside its floats, and return them: those of linear layers
    and of a plain embedding, the others in float32."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    kinds = (torch.nn.Linear, torch.nn.Embedding)
    names = {f"{path}.weight" for path, module in model.named_modules() if type(module) in kinds}
    state: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if name in names:
            state[name], state[name + int8.SCALE_SUFFIX] = int8.quantise(tensor)
        else:
            state[name] = tensor.float()
    save_file(state, folder / INT8)
    return state


@dataclass(frozen=True)
class Gptq:
    """How ``save_gptq`` packs: rounded to the nearest level, since the layout does not depend on how codes were
    found."""

    bits: int = 4
    group_size: int = 32  # -1: a row is one group
    act_order: bool = False  # a group may be made of any inputs
    version: int = 1  # zeros minus one
    has_index: bool = True

    def parts(self, weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Return the tensors of a layer with ``weight``, (out, in), and the floats that they represent."""
        n_in, levels = weight.shape[1], 2**self.bits - 1
        size = self.group_size if self.group_size > 0 else n_in
        group_of = np.arange(n_in) // size
        if self.act_order:
            group_of = np.random.default_rng(n_in).permutation(group_of)
        values = weight.float().numpy()
        codes, stands_for = np.zeros((n_in, len(values)), np.uint32), np.zeros_like(values)
        zeros = np.zeros((n_in // size, len(values)), np.uint32)
        scales = np.zeros(zeros.shape, np.float16)
        for group in range(len(zeros)):
            some = values[:, group_of == group]
            least, most = np.minimum(some.min(1), 0), np.maximum(some.max(1), 0)
            scales[group] = (most - least) / levels
            scale = scales[group].astype(np.float32)
            zeros[group] = np.clip(np.round(-least / scale), 1, levels)
            found = np.clip(np.round(some / scale[:, None]) + zeros[group][:, None], 0, levels)
            codes[group_of == group] = found.T
            stands_for[:, group_of == group] = (found - zeros[group][:, None]) * scale[:, None]
        kept = zeros - (self.version == 1)
        parts = {"qweight": _packed(codes, self.bits), "qzeros": _packed(kept.T, self.bits).T.contiguous()}
        parts |= {"scales": torch.from_numpy(scales)}
        parts |= {"g_idx": torch.from_numpy(group_of.astype(np.int32))} if self.has_index else {}
        return parts, torch.from_numpy(stands_for)

    @property
    def config(self) -> dict[str, Any]:
        """Return the entry about it in config.json."""
        said = {"quant_method": "gptq", "bits": self.bits, "group_size": self.group_size, "desc_act": self.act_order}
        return said if self.version == 1 else {**said, "checkpoint_format": "gptq_v2"}


def _packed(codes: Any, bits: int) -> torch.Tensor:
    """Return rows packed into int32, the first in the lowest bits."""
    n = 32 // bits
    words = np.zeros((len(codes) // n, codes.shape[1]), np.uint32)
    for row in range(len(codes)):
        words[row // n] |= codes[row].astype(np.uint32) << np.uint32(row % n * bits)
    return torch.from_numpy(words.view(np.int32))


def save_gptq(floats: Path, folder: Path, packing: Any) -> Path:
    """Save the model in ``floats`` with the linear layers of its blocks packed by ``packing`` (a Gptq or similar).
    Those in ``floats`` are replaced by the floats that the codes represent."""
    state = load_file(floats / "model.safetensors")
    packed = dict[str, torch.Tensor]()
    for name, tensor in list(state.items()):
        path = name.removesuffix(".weight")
        if tensor.dim() == 2 and ".layers." in name:
            parts, state[name] = packing.parts(tensor)
            packed |= {f"{path}.{part}": value for part, value in parts.items()}
        else:
            packed[name] = tensor
    folder.mkdir()
    save_file(state, floats / "model.safetensors")
    save_file(packed, folder / "model.safetensors")
    config = json.loads((floats / "config.json").read_text("utf-8"))
    config["quantization_config"] = packing.config
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    shutil.copy(floats / "tokenizer.json", folder)
    return folder
