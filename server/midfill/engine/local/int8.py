"""Int8 weights on a CPU: half of bfloat16's memory traffic, and products of whole numbers.

Each weight row has one scale, each activation row another: x / absmax(x) in 127 or more steps, product of whole
numbers, times both scales. One scale for a whole call (torch's stock dynamic quantisation) loses quality; a scale a row
keeps it, and makes a row's result independent of the rows beside it. What multiplies, by CPU, is in int8_kernels.
Activations stay float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from midfill.engine.local import int8_kernels, models
from midfill.engine.local.int8_kernels import STEPS

GROUP = 32  # columns that share a scale in four bits
FILE = models.INT8
SCALE_SUFFIX = "_scale"  # of a tensor name: "...weight" is int8 beside "...weight_scale"
# Layers that read the same input are one product: fewer calls, and none so narrow that oneDNN's threads cost more
# than the work (a product 128 wide took ten times as long as one 1152 wide).
FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


def is_supported() -> bool:
    """Whether this CPU multiplies int8 fast, and what is installed knows how."""
    return int8_kernels.best() is not None


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(int8, scale a row) of a float weight: (rows, columns) -> (rows, columns), (rows,)."""
    values = weight.float()  # the weight itself where it is float32: not to be written to
    scale = values.abs().amax(dim=1).clamp_(min=1e-12).div_(STEPS)
    return (values / scale[:, None]).round_().to(torch.int8), scale


def quantise_state(weights: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """``weights`` with those of linear layers and of a plain embedding in int8, the others in float32.

    Empties ``weights`` on the way, so that the two are never in memory together.
    """
    names = {f"{path}.weight" for path, module in model.named_modules() if _is_quantised(module)}
    state: dict[str, torch.Tensor] = {}
    for name in list(weights):
        tensor = weights.pop(name)
        if name in names:
            state[name], state[name + SCALE_SUFFIX] = quantise(tensor)
        else:
            state[name] = tensor.float() if tensor.is_floating_point() else tensor
    return state


def is_quantised_state(weights: dict[str, torch.Tensor]) -> bool:
    """Whether ``weights`` come from quantise_state."""
    return any(name.endswith(".weight" + SCALE_SUFFIX) for name in weights)


def count(weights: dict[str, torch.Tensor]) -> int:
    """How many weights quantise_state was given."""
    return sum(tensor.numel() for name, tensor in weights.items() if not name.endswith(SCALE_SUFFIX))


@contextlib.contextmanager
def weightless_linears() -> Iterator[None]:
    """Inside, linear layers and embeddings are made without memory; everything else is real."""
    kinds: tuple[Any, ...] = (nn.Linear, nn.Embedding)
    originals = [(kind, kind.__init__, kind.reset_parameters) for kind in kinds]

    def on_meta(original: Any) -> Any:
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **{**kwargs, "device": "meta"})

        return init

    for kind, init, _ in originals:
        kind.__init__ = on_meta(init)
        kind.reset_parameters = lambda self: None  # random numbers without memory: torch imports its compiler for them
    try:
        yield
    finally:
        for kind, init, reset in originals:
            kind.__init__, kind.reset_parameters = init, reset


def install(model: nn.Module, state: dict[str, torch.Tensor], *, bits: int = 8) -> None:
    """Put ``state`` (of quantise_state) into ``model`` (made under weightless_linears). Raises ValueError.

    ``bits`` 4 makes the layers' weights four-bit ones; the head, on which every choice depends, keeps eight.

    A head without weights of its own takes the embedding's. What stays unpacked is copied: tensors of one file share
    its memory, and one of them would hold all of it.
    """
    tied = _share_tied_head(model, state)
    for path, parent in list(model.named_modules()):
        children = dict(parent.named_children())
        linears = {name for name, child in children.items() if type(child) is nn.Linear}
        for group in FUSED:
            if linears.issuperset(group):
                _replace(parent, path, group, state, bits)
                linears -= set(group)
        for name in sorted(linears):
            _replace(parent, path, (name,), state, bits if parent is not model else 8)
        for name, child in children.items():
            if type(child) is nn.Embedding:
                weight, scale = _take(state, _join(path, name))
                head = model.get_output_embeddings() if child is tied else None  # type: ignore[operator]
                setattr(parent, name, Int8Embedding(weight, scale.clone(), head))
    copies = {name: state.pop(name).clone() for name in list(state)}
    missing, unexpected = model.load_state_dict(copies, strict=False, assign=True)
    if missing or unexpected:
        raise ValueError(", ".join([*missing, *unexpected][:3]))


def _is_quantised(module: nn.Module) -> bool:
    return type(module) in (nn.Linear, nn.Embedding)  # a subclass computes something of its own


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _take(state: dict[str, torch.Tensor], path: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The int8 weight and scale of the module ``path``. Raises ValueError."""
    try:
        return state.pop(f"{path}.weight"), state.pop(f"{path}.weight{SCALE_SUFFIX}")
    except KeyError as error:
        raise ValueError(str(error)) from None


def _share_tied_head(model: nn.Module, state: dict[str, torch.Tensor]) -> nn.Module | None:
    """Give a head without weights those of the embedding, which is returned."""
    paths = {id(module): path for path, module in model.named_modules()}
    source = paths.get(id(model.get_input_embeddings()))  # type: ignore[operator]
    head = paths.get(id(model.get_output_embeddings()))  # type: ignore[operator]
    if source is None or head is None or f"{head}.weight" in state or f"{source}.weight" not in state:
        return None
    weight, scale = state[f"{source}.weight"], state.get(f"{source}.weight{SCALE_SUFFIX}")
    if scale is None:  # an embedding with a forward of its own stays float
        weight, scale = quantise(weight)
    state[f"{head}.weight"], state[f"{head}.weight{SCALE_SUFFIX}"] = weight, scale
    return model.get_submodule(source)


def _replace(parent: nn.Module, path: str, names: tuple[str, ...], state: dict[str, torch.Tensor], bits: int) -> None:
    weights, scales, biases = [], [], []
    for name in names:
        weight, scale = _take(state, _join(path, name))
        linear = parent.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        if tuple(weight.shape) != (linear.out_features, linear.in_features):
            raise ValueError(f"{_join(path, name)} has shape {tuple(weight.shape)}")
        weights.append(weight)
        scales.append(scale)
        biases.append(state.pop(_join(path, name) + ".bias", None))
    kind = Int4Product if bits == 4 and weights[0].shape[1] % GROUP == 0 else Int8Product
    stacked = weights[0] if len(weights) == 1 else torch.cat(weights)  # kernels copy what they keep
    product = kind(stacked, torch.cat(scales), biases, [len(weight) for weight in weights])
    for index, (name, weight) in enumerate(zip(names, weights, strict=True)):
        setattr(parent, name, Int8Linear(product, index, weight.shape[1], weight.shape[0]))


class Product:
    """The product of one input with one or several weights stacked: (tokens, in) -> (tokens, out_1 + out_2 + ...)."""

    def __init__(self, sizes: list[int], biases: list[torch.Tensor | None]) -> None:
        bias = [b.float() if b is not None else torch.zeros(n) for b, n in zip(biases, sizes, strict=True)]
        self.bias = torch.cat(bias) if any(b is not None for b in biases) else None
        self._sizes = sizes
        self._input: torch.Tensor | None = None
        self._parts: tuple[torch.Tensor, ...] = ()

    def part(self, x: torch.Tensor, index: int) -> torch.Tensor:
        """The output of the layer ``index``. The first one asked for an input computes all of them."""
        if len(self._sizes) == 1:
            return self.compute(x)
        if self._input is not x:
            self._input, self._parts = x, torch.split(self.compute(x), self._sizes, dim=-1)
        y = self._parts[index]
        if index == len(self._sizes) - 1:
            self._input, self._parts = None, ()
        return y

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """All outputs beside each other."""
        if not x.numel():  # a piece of a prompt that wants no logits
            return x.new_empty((*x.shape[:-1], sum(self._sizes)))
        y = self._multiply(x.reshape(-1, x.shape[-1]).float())
        if self.bias is not None:
            y += self.bias
        out: torch.Tensor = y.to(x.dtype).view(*x.shape[:-1], -1)
        return out

    def _multiply(self, rows: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class Int8Product(Product):
    """Eight-bit weights, one scale a row, by eight-bit activations, one scale a token."""

    def __init__(
        self, weight: torch.Tensor, scale: torch.Tensor, biases: list[torch.Tensor | None], sizes: list[int]
    ) -> None:
        super().__init__(sizes, biases)
        kernel = int8_kernels.best()
        if kernel is None:
            raise ValueError("this CPU has no int8 products")
        self.kernel = kernel(weight, scale)

    def compute_normed(self, x: torch.Tensor, weight: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
        """All outputs for x / sqrt(sum(x²) + least²) * weight, x: (tokens, in). The roots only change the rows' scales:
        no normed row is ever written."""
        root = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        y = self.kernel(x * weight, torch.hypot(root, least).reciprocal_())
        return y if self.bias is None else y.add_(self.bias)

    def _multiply(self, rows: torch.Tensor) -> torch.Tensor:
        return self.kernel(rows)


class Int4Product(Product):
    """Four-bit weights in groups of GROUP columns, each with its scale and its zero, by bfloat16 activations.

    Takes the int8 weights: their own error is a sixteenth of what four bits add.
    """

    def __init__(
        self, weight: torch.Tensor, scale: torch.Tensor, biases: list[torch.Tensor | None], sizes: list[int]
    ) -> None:
        super().__init__(sizes, biases)
        groups = (weight.float() * scale[:, None]).view(len(weight), -1, GROUP)  # (rows, groups, GROUP)
        low, high = groups.amin(-1), groups.amax(-1)
        step = ((high - low) / 15).clamp_(min=1e-12)
        levels = ((groups - low[..., None]) / step[..., None]).round_().to(torch.int32)
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels.view(weight.shape), 1)
        # The kernel computes (level - 8) * step + zero.
        self._scales = torch.stack((step, low + 8 * step), -1).transpose(0, 1).contiguous().bfloat16()

    def _multiply(self, rows: torch.Tensor) -> torch.Tensor:
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows.bfloat16(), self._packed, GROUP, self._scales)
        out: torch.Tensor = y.float()
        return out


class Int8Linear(nn.Module):
    """A linear layer whose product may be shared with its neighbours."""

    def __init__(self, product: Product, index: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.product, self._index = product, index
        self.in_features, self.out_features = in_features, out_features
        self.weight = torch.empty(0)  # for code that asks for its dtype or device

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., in_features) -> (..., out_features)."""
        return self.product.part(x, self._index)


class Int8Embedding(nn.Module):
    """Rows of an int8 embedding as float32; out of the packed weights of a ``head`` that has the same, if they can be
    read: they are then in memory once."""

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor, head: nn.Module | None = None) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = weight.shape
        self._scale = scale
        kernel: Any = getattr(getattr(head, "product", None), "kernel", None)
        if hasattr(kernel, "rows"):
            self._rows = kernel.rows
        else:
            copy = weight.clone()
            self._rows = lambda ids: copy[ids]

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: (...) -> (..., embedding_dim)."""
        rows: torch.Tensor = self._rows(ids).float()
        return rows.mul_(self._scale[ids][..., None])
