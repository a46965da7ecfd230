"""A decoder's forward pass with nothing between the products.

Beside the products of a small model, transformers' modules spend much of a step in Python and in small operations
(docs/log.md). For the usual decoder (pre-norm, rotary positions, gated MLP: Llama, Mistral, Qwen2, Qwen3, Gemma) the
same computation is written here once, over the modules' own weights, with products that share an input made one.
Whether it is the same is checked on the loaded model; any other architecture runs through its own modules.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from midfill.engine.local.adapters import Adapter, AdapterSwitch
from midfill.engine.local.attention import Step
from midfill.engine.local.bare import BareModel
from midfill.engine.local.int8 import Int4Product, Int8Linear, Int8Product
from midfill.engine.local.int8 import Product as Quantised
from midfill.engine.local.int8_kernels import OneDnn

if TYPE_CHECKING:
    from midfill.engine.local.native.step import NativeStep


class Product:
    """One or several linear layers that read the same input, with what the active adapter adds to them."""

    def __init__(self, parent: nn.Module, path: str, names: tuple[str, ...], switch: AdapterSwitch) -> None:
        layers = [_base(parent.get_submodule(name)) for name in names]
        self.paths = tuple(f"{path}.{name}" for name in names)
        self.sizes = [layer.out_features for layer in layers]
        self._switch = switch
        self.quantised = _product(layers) if isinstance(layers[0], Int8Linear) else None
        self._compute = self.quantised.compute if self.quantised is not None else _fused(layers)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x: (rows, in) -> (rows, out_1 + out_2 + ...)."""
        y = self._compute(x)
        adapter = self._switch.active
        return y if adapter is None else adapter.add_to(y, x, self.paths, self.sizes)

    def of_normed(self, x: torch.Tensor, norm: Norm) -> torch.Tensor:
        """The product of ``norm(x)``."""
        if isinstance(self.quantised, Int8Product) and self._switch.active is None:
            return self.quantised.compute_normed(x, *norm.of_sum)
        return self(norm(x))

    @property
    def rounds_activations(self) -> bool:
        """Whether what it reads is rounded to eight bits or to bfloat16."""
        return isinstance(self.quantised, Int8Product | Int4Product)


def _base(layer: nn.Module) -> Any:
    return getattr(layer, "base", layer)


def _product(layers: list[Any]) -> Quantised:
    product: Quantised = layers[0].product
    if any(layer.product is not product for layer in layers):
        raise TypeError("int8 layers that were not fused")
    return product


def _fused(layers: list[Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Stack the weights; the modules' own become views of the stack, so that nothing is held twice."""
    if any(type(layer) is not nn.Linear for layer in layers):
        raise TypeError("not plain linear layers")
    if len(layers) == 1:
        return layers[0]  # type: ignore[no-any-return]
    weight = torch.cat([layer.weight for layer in layers])
    has_bias = layers[0].bias is not None
    bias = torch.cat([layer.bias for layer in layers]) if has_bias else None
    sizes = [layer.out_features for layer in layers]
    for layer, part in zip(layers, torch.split(weight, sizes), strict=True):
        layer.weight = nn.Parameter(part, requires_grad=False)
    return lambda x: functional.linear(x, weight, bias)


@dataclass
class Norm:
    """Root mean square norm (Zhang and Sennrich 2019, arXiv:1910.07467), its weight as it is multiplied."""

    weight: torch.Tensor
    eps: float

    @classmethod
    def of(cls, module: nn.Module) -> Norm:
        """From a model's own module, whether it multiplies by its weight or by one more than that."""
        weight = module.weight
        eps = float(getattr(module, "variance_epsilon", getattr(module, "eps", 1e-6)))
        assert isinstance(weight, torch.Tensor)
        x = torch.linspace(-1, 2, weight.numel(), device=weight.device, dtype=weight.dtype)[None]
        expected = module(x).float()
        for candidate in (weight, 1 + weight.float()):
            norm = cls(candidate.to(weight.dtype), eps)
            if torch.allclose(norm(x).float(), expected, rtol=2e-2, atol=1e-3):
                return norm
        raise TypeError("a norm of another kind")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., features)."""
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.eps)

    @functools.cached_property
    def of_sum(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The weight, and the root of epsilon, with which the sum of squares stands for their mean."""
        n = self.weight.numel()
        return self.weight * n**0.5, self.weight.new_tensor((self.eps * n) ** 0.5)


@dataclass(slots=True)
class Layer:
    """One layer's weights and numbers."""

    before_attention: Norm
    qkv: Product
    head_dim: int
    scale: float
    window: int | None
    q_norm: Norm | None
    k_norm: Norm | None
    output: Product
    before_mlp: Norm
    gate_up: Product
    activation: Callable[[torch.Tensor], torch.Tensor]
    down: Product


class LeanModel:
    """The forward pass of one loaded model. Raises TypeError where the model is built otherwise."""

    def __init__(self, model: Any, switch: AdapterSwitch) -> None:
        decoder = model.model
        if type(model).__name__ not in SUPPORTED and not isinstance(model, BareModel):
            raise TypeError(type(model).__name__)
        self._embed, self._rotary = decoder.embed_tokens, decoder.rotary_emb
        self._layers = [_layer(layer, f"model.layers.{i}", switch) for i, layer in enumerate(decoder.layers)]
        self._norm = Norm.of(decoder.norm)
        self._model, self._switch = model, switch
        self._native = self._native_step()

    def _native_step(self) -> NativeStep | None:
        """The compiled way, where the products are its own and the layers what it computes."""
        head = _base(self._model.lm_head)
        kernel = getattr(getattr(head, "product", None), "kernel", None)
        if kernel is None or isinstance(kernel, OneDnn):
            return None
        from midfill.engine.local.native.step import NativeStep

        try:
            return NativeStep(self._layers, self._norm, head)
        except TypeError:
            return None

    def make_ready(self, adapter: Adapter) -> None:
        """Lay out ``adapter`` as the products want it, so that its first use costs no more than the next."""
        for layer in self._layers:
            for product in (layer.qkv, layer.output, layer.gate_up, layer.down):
                adapter.stack(product.paths, product.sizes)

    def __call__(
        self, ids: torch.Tensor, positions: torch.Tensor, keep: torch.Tensor, step: Step, check: Callable[[], None]
    ) -> torch.Tensor:
        """ids, positions: (1, rows); the logits of the rows ``keep``: (kept, vocabulary). ``check`` may raise."""
        x = self._embed(ids)
        cos, sin = self._rotary(x, positions)  # (1, rows, dim)
        x, cos, sin = x[0], cos[0], sin[0]
        adapter = self._switch.active
        native = self._native if adapter is None or HEAD not in adapter.pairs else None
        if native is not None and isinstance(step, Step):
            return native(x, cos, sin, keep, step, adapter, check)
        cos, sin = cos[:, None], sin[:, None].clone()
        sin[..., : sin.shape[-1] // 2].neg_()  # rotating halves is then a roll and one multiplication
        for number, layer in enumerate(self._layers):
            check()
            x = _run(layer, number, x, cos, sin, step)
        if not len(keep):
            return torch.empty((0, 0))
        kept = self._norm(x[keep])
        logits: torch.Tensor = self._model.lm_head(kept)  # looked up now: an adapter may take part in it
        return logits

    @property
    def is_compiled(self) -> bool:
        """Whether steps go through compiled loops, which are compiled or read when the first one is made."""
        return self._native is not None

    @property
    def rounds_activations(self) -> bool:
        """Whether any product rounds what it reads."""
        return any(product.rounds_activations for product in self.products)

    @property
    def products(self) -> list[Product]:
        """Every product an adapter may take part in."""
        return [p for layer in self._layers for p in (layer.qkv, layer.output, layer.gate_up, layer.down)]


HEAD = "lm_head"
SUPPORTED = frozenset(
    {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "GemmaForCausalLM"}
)


def _layer(layer: Any, path: str, switch: AdapterSwitch) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    q_norm, k_norm = getattr(attention, "q_norm", None), getattr(attention, "k_norm", None)
    return Layer(
        before_attention=Norm.of(layer.input_layernorm),
        qkv=Product(attention, f"{path}.self_attn", ("q_proj", "k_proj", "v_proj"), switch),
        head_dim=int(attention.head_dim),
        scale=float(attention.scaling),
        window=_window(attention),
        q_norm=Norm.of(q_norm) if q_norm is not None else None,
        k_norm=Norm.of(k_norm) if k_norm is not None else None,
        output=Product(attention, f"{path}.self_attn", ("o_proj",), switch),
        before_mlp=Norm.of(layer.post_attention_layernorm),
        gate_up=Product(mlp, f"{path}.mlp", ("gate_proj", "up_proj"), switch),
        activation=mlp.act_fn,
        down=Product(mlp, f"{path}.mlp", ("down_proj",), switch),
    )


def _window(attention: Any) -> int | None:
    """How many positions it sees; None: all. Mistral's modules leave it to their configuration."""
    where = attention if hasattr(attention, "sliding_window") else getattr(attention, "config", None)
    return getattr(where, "sliding_window", None)


def _run(layer: Layer, number: int, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, step: Step) -> torch.Tensor:
    """x: (rows, hidden) through ``layer``."""
    n = len(x)
    y = layer.qkv.of_normed(x, layer.before_attention)
    n_rotated = layer.qkv.sizes[0] + layer.qkv.sizes[1]
    qk = y[:, :n_rotated].view(n, -1, layer.head_dim)
    n_heads = layer.qkv.sizes[0] // layer.head_dim
    if layer.q_norm is not None and layer.k_norm is not None:
        qk = torch.cat((layer.q_norm(qk[:, :n_heads]), layer.k_norm(qk[:, n_heads:])), dim=1)
    qk = torch.addcmul(qk * cos, qk.roll(layer.head_dim // 2, -1), sin).transpose(0, 1)  # (heads, rows, dim)
    v = y[:, n_rotated:].view(n, -1, layer.head_dim).transpose(0, 1)
    if layer.qkv.rounds_activations:  # half the memory to read, and far less is lost than by the products' rounding
        qk, v = qk.bfloat16(), v.bfloat16()
    seen = step.attend(number, qk[:n_heads], qk[n_heads:], v, layer.scale, layer.window, None).to(x.dtype)
    x = layer.output(seen.reshape(n, -1)).add_(x)
    gate, up = torch.split(layer.gate_up.of_normed(x, layer.before_mlp), layer.gate_up.sizes, dim=1)
    return layer.down(layer.activation(gate).mul_(up)).add_(x)
