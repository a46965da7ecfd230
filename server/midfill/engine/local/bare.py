"""The embedded default's kind of decoder without transformers, whose import takes longer than loading the weights.

``lean`` computes a model's forward pass over its modules' weights; transformers is needed only to build these modules.
For the plainest decoders (Llama, Mistral and Qwen2 with ordinary rotary positions and full attention) they are built
here, with the same names. Whether the result is the same model is tried once, when a model is prepared (trial.py), and
recorded in its manifest; any other model, and one that was not tried, is built by transformers.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

KINDS = frozenset({"llama", "mistral", "qwen2"})
RECORD = "bare"  # the manifest's entry


def is_plain(config: dict[str, Any]) -> bool:
    """Whether ``config`` (of config.json) describes a decoder that BareModel builds."""
    rope = config.get("rope_parameters") or {"rope_theta": config.get("rope_theta", 10_000.0)}
    default = 4096 if config.get("model_type") == "mistral" else None  # as MistralConfig has it
    has_window = config.get("sliding_window", default) and config.get("use_sliding_window", True)
    return (
        config.get("model_type") in KINDS
        and config.get("hidden_act", "silu") == "silu"
        and rope.get("rope_type", rope.get("type", "default")) == "default"
        and not config.get("rope_scaling")
        and not config.get("mlp_bias")
        and not has_window
        and set(config.get("layer_types") or ["full_attention"]) == {"full_attention"}
    )


class BareModel(nn.Module):
    """A decoder's modules by transformers' names. It has no forward pass of its own: ``lean`` reads it."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        if not is_plain(config):
            raise ValueError(f"a {config.get('model_type')} of this kind is built by transformers")
        self.config = SimpleNamespace(**config)
        self.config.get_text_config = lambda: self.config
        self.model = _Decoder(config)
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.model.norm.weight.device

    def get_input_embeddings(self) -> nn.Module:
        """As transformers' models."""
        return self.model.embed_tokens

    def get_output_embeddings(self) -> nn.Module:
        """As transformers' models."""
        return self.lm_head


class _Decoder(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList([_Layer(config) for _ in range(config["num_hidden_layers"])])
        self.norm = _RmsNorm(config)
        self.rotary_emb = _Rotary(config)


class _Layer(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.mlp = _Mlp(config)
        self.input_layernorm = _RmsNorm(config)
        self.post_attention_layernorm = _RmsNorm(config)


class _Attention(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        hidden, heads, self.head_dim = config["hidden_size"], config["num_attention_heads"], _head_dim(config)
        kv_size = (config.get("num_key_value_heads") or heads) * self.head_dim
        # Of these layers int8.install takes the shapes; biases come with the weights, where there are any.
        self.q_proj = nn.Linear(hidden, heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(hidden, kv_size, bias=False)
        self.v_proj = nn.Linear(hidden, kv_size, bias=False)
        self.o_proj = nn.Linear(heads * self.head_dim, hidden, bias=False)
        self.scaling = self.head_dim**-0.5
        self.sliding_window = None


class _Mlp(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        hidden, inner = config["hidden_size"], config["intermediate_size"]
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)
        self.act_fn = nn.SiLU()


class _RmsNorm(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config["hidden_size"]))
        self.variance_epsilon = float(config.get("rms_norm_eps", 1e-6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., hidden)."""
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.variance_epsilon)


class _Rotary(nn.Module):
    """The angles of rotary positions (RoPE, Su et al. 2021, arXiv:2104.09864)."""

    inv_freq: torch.Tensor

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        theta = float((config.get("rope_parameters") or config).get("rope_theta", 10_000.0))
        dim = _head_dim(config)
        self.register_buffer("inv_freq", 1.0 / theta ** (torch.arange(0, dim, 2).float() / dim), persistent=False)

    def forward(self, x: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """positions: (1, rows) -> cosines and sines, (1, rows, dim), as x."""
        angles = positions[..., None].float() * self.inv_freq
        both = torch.cat((angles, angles), dim=-1)
        return both.cos().to(x.dtype), both.sin().to(x.dtype)


def _head_dim(config: dict[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
