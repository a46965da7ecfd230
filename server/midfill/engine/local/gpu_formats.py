"""Int8 and four-bit weights on a CUDA device, for models that do not fit it otherwise.

int8: one scale a weight row, one an activation row, as on a CPU (int8.py), and the same prepared file. The product is
the tensor cores' own int8 one, which reads each weight once, as int8. Libraries that keep int8 weights beside bfloat16
activations (optimum-quanto, torchao) widen every weight again at each step unless a compiler fuses that away: they save
memory and cost time.

int4: NF4 in blocks of 64 (QLoRA, Dettmers et al. 2023, arXiv:2305.14314) by the kernels of bitsandbytes. Embedding and
head, on which every choice depends, keep eight bits, and so do layers whose rows are no whole blocks.

Weights come to the device tensor by tensor and are quantised there, so that no more than one file is held beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from midfill.engine.local import int8, module_attention
from midfill.engine.local.int8 import FUSED, SCALE_SUFFIX, Int8Linear, Product
from midfill.engine.local.int8_kernels import STEPS
from midfill.types import MidfillError

# cuBLAS multiplies int8 matrices of more than 16 rows, and of sizes that are multiples of eight.
MIN_ROWS, MULTIPLE = 32, 8
NF4_BLOCK = 64
# Rows quantised at once: as float32 they take some memory beside the model.
CHUNK = 8192

Packed = tuple[torch.Tensor, torch.Tensor]  # int8: (rows, columns), (rows,); nf4: bytes, a scale a block


def check(form: str, device: torch.device) -> None:
    """Whether ``form`` can be had on ``device``. Raises MidfillError saying what to install or to choose."""
    if form == "int8" and torch.cuda.get_device_capability(device) < (7, 5):
        raise MidfillError("this GPU has no int8 tensor cores", 'set dtype = "float16" or "int4"')
    if form == "int4":
        _bitsandbytes()


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except Exception as error:  # besides ImportError, what its loading of CUDA libraries may raise
        reason = (
            "is not installed" if isinstance(error, ImportError) else f"does not load here ({type(error).__name__})"
        )
        raise MidfillError(
            f"four-bit weights on a GPU need bitsandbytes, which {reason}",
            'pip install "bitsandbytes>=0.50", or set dtype = "int8"',
        ) from error
    return bitsandbytes


class Builder:
    """A model with quantised weights, from its tensors in any order."""

    def __init__(self, config: Any, form: str, device: torch.device, dtype: torch.dtype) -> None:
        """``dtype``: of activations and of what is not quantised."""
        self._form, self._device, self._dtype = form, device, dtype
        with int8.weightless_linears():
            self._model = AutoModelForCausalLM.from_config(
                config, dtype=dtype, attn_implementation=module_attention.NAME
            )
        modules = dict(self._model.named_modules())
        self._paths = {id(module): path for path, module in modules.items()}
        self._head = self._paths.get(id(self._model.get_output_embeddings()), "")
        self._linears = {f"{path}.weight": path for path, module in modules.items() if type(module) is nn.Linear}
        self._embeddings = {f"{path}.weight": path for path, module in modules.items() if _is_embedding(module)}
        self._packed: dict[str, Packed] = {}  # by module path
        self._plain: dict[str, torch.Tensor] = {}
        self._ready: dict[str, dict[str, torch.Tensor]] = {}  # int8 weights as they were prepared
        self.parameters = 0

    def add(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Quantise and keep. Float tensors, or int8 ones with their scales (int8.quantise_state)."""
        for name, tensor in tensors:
            if name.endswith(SCALE_SUFFIX):
                self._prepared(name.removesuffix(SCALE_SUFFIX), "scale", tensor)
                continue
            self.parameters += tensor.numel()
            path = self._linears.get(name) or self._embeddings.get(name)
            if path is None:
                self._plain[name] = tensor.to(self._device, self._dtype if tensor.is_floating_point() else tensor.dtype)
            elif tensor.dtype == torch.int8:
                self._prepared(name, "weight", tensor)
            elif self._is_four(name, path, tensor):
                self._packed[path] = nf4(tensor.to(self._device, self._dtype))
            else:
                self._packed[path] = _int8_in_pieces(tensor, self._device)

    def _is_four(self, name: str, path: str, weight: torch.Tensor) -> bool:
        in_a_layer = name in self._linears and path != self._head
        return self._form == "int4" and in_a_layer and weight.shape[1] % NF4_BLOCK == 0

    def _prepared(self, name: str, part: str, tensor: torch.Tensor) -> None:
        path = self._linears.get(name) or self._embeddings[name]
        both = self._ready.setdefault(path, {})
        both[part] = tensor.to(self._device)
        if len(both) == 2:
            self._packed[path] = both["weight"], both["scale"]
            del self._ready[path]

    def finish(self) -> PreTrainedModel:
        """The model. Raises ValueError where tensors are missing or of other shapes."""
        source = self._paths[id(self._model.get_input_embeddings())]
        if self._head and self._head not in self._packed and source in self._packed:
            self._packed[self._head] = self._packed[source]  # one weight for both
        for path, parent in list(self._model.named_modules()):
            self._replace_children(path, parent)
        missing, unexpected = self._model.load_state_dict(self._plain, strict=False, assign=True)
        if wrong := [*missing, *unexpected, *self._packed, *self._ready]:
            raise ValueError(", ".join(wrong[:3]))
        model = self._model.to(self._device)
        assert isinstance(model, PreTrainedModel)
        return model

    def _replace_children(self, path: str, parent: nn.Module) -> None:
        children = dict(parent.named_children())
        linears = {name for name, child in children.items() if type(child) is nn.Linear}
        for group in FUSED:
            if linears.issuperset(group):
                self._replace(parent, path, group)
                linears -= set(group)
        for name in sorted(linears):
            self._replace(parent, path, (name,))
        for name, child in children.items():
            if _is_embedding(child):
                weight, scale = self._take(_join(path, name), tuple(child.weight.shape))  # type: ignore[arg-type]
                factor = float(getattr(child, "scalar_embed_scale", 1.0))
                setattr(parent, name, Int8Embedding(weight, scale * factor, self._dtype))

    def _replace(self, parent: nn.Module, path: str, names: tuple[str, ...]) -> None:
        paths = [_join(path, name) for name in names]
        layers = [parent.get_submodule(name) for name in names]
        shapes = [(int(layer.out_features), int(layer.in_features)) for layer in layers]  # type: ignore[arg-type]
        packed = [self._take(one, shape) for one, shape in zip(paths, shapes, strict=True)]
        biases = [self._plain.pop(f"{one}.bias", None) for one in paths]
        kind = Int8Product if packed[0][0].dtype == torch.int8 else Nf4Product
        product = kind(packed, biases, shapes, self._dtype)
        for index, (name, (n_out, n_in)) in enumerate(zip(names, shapes, strict=True)):
            layer = Int8Linear(product, index, n_in, n_out)
            layer.weight = torch.empty(0, dtype=self._dtype, device=self._device)
            setattr(parent, name, layer)

    def _take(self, path: str, shape: tuple[int, int]) -> Packed:
        if path not in self._packed:
            raise ValueError(f"{path}.weight is missing")
        packed = self._packed.pop(path)
        n = packed[0].numel() * (1 if packed[0].dtype == torch.int8 else 2)
        if n != shape[0] * shape[1]:
            raise ValueError(f"{path}.weight has another shape than {shape}")
        return packed


def _is_embedding(module: nn.Module) -> bool:
    """A plain one, or Gemma's, which is multiplied by a constant."""
    return type(module) is nn.Embedding or (isinstance(module, nn.Embedding) and hasattr(module, "scalar_embed_scale"))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _int8_in_pieces(weight: torch.Tensor, device: torch.device) -> Packed:
    pieces = [int8.quantise(piece.to(device)) for piece in torch.split(weight, CHUNK)]
    return torch.cat([values for values, _ in pieces]), torch.cat([scale for _, scale in pieces])


def nf4(weight: torch.Tensor) -> Packed:
    """(rows, columns) -> two weights a byte (rows * columns / 2,), a scale a block (rows * columns / 64,)."""
    packed, state = _bitsandbytes().functional.quantize_4bit(
        weight.contiguous(), blocksize=NF4_BLOCK, quant_type="nf4", compress_statistics=False
    )
    return packed.flatten(), state.absmax


class _GpuProduct(Product):
    """Rows stay in the model's format; subclasses multiply."""

    _weight: torch.Tensor
    _scale: torch.Tensor

    def __init__(self, biases: list[torch.Tensor | None], shapes: list[tuple[int, int]], dtype: torch.dtype) -> None:
        super().__init__([n_out for n_out, _ in shapes], [None] * len(shapes))
        self._dtype = dtype
        present = [bias for bias in biases if bias is not None]
        if present:
            parts = [b if b is not None else present[0].new_zeros(n) for b, n in zip(biases, self._sizes, strict=True)]
            self.bias = torch.cat(parts)

    @property
    def n_bytes(self) -> int:
        """Of the weights with their scales: what every step reads."""
        tensors = [self._weight, self._scale] if self.bias is None else [self._weight, self._scale, self.bias]
        return sum(t.numel() * t.element_size() for t in tensors)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) -> (..., out_1 + out_2 + ...)."""
        rows = x.reshape(-1, x.shape[-1])
        y = self._multiply(rows) if len(rows) else x.new_empty((0, sum(self._sizes)))
        if self.bias is not None:
            y = y + self.bias
        return y.view(*x.shape[:-1], y.shape[-1])


class Int8Product(_GpuProduct):
    """Eight-bit weights, one scale a row, by eight-bit activations, one scale a token."""

    def __init__(
        self, packed: list[Packed], biases: list[torch.Tensor | None], shapes: list[tuple[int, int]], dtype: torch.dtype
    ) -> None:
        super().__init__(biases, shapes, dtype)
        if shapes[0][1] % MULTIPLE:
            raise ValueError(f"int8 rows of {shapes[0][1]} weights are no multiple of {MULTIPLE}")
        n_more = -sum(self._sizes) % MULTIPLE
        weights = [weight for weight, _ in packed]
        weight = torch.cat(weights) if len(weights) > 1 else weights[0]  # a tied head shares the embedding's
        self._weight = nn.functional.pad(weight, (0, 0, 0, n_more)) if n_more else weight
        self._scale = torch.cat([scale for _, scale in packed])[None] / STEPS  # (1, out)

    def _multiply(self, rows: torch.Tensor) -> torch.Tensor:
        largest = torch.linalg.vector_norm(rows, torch.inf, dim=1, keepdim=True, dtype=torch.float32).clamp_(min=1e-12)
        steps = (rows * (STEPS / largest)).round_().to(torch.int8)
        n = len(rows)
        if n < MIN_ROWS:
            steps = nn.functional.pad(steps, (0, 0, 0, MIN_ROWS - n))
        sums = torch._int_mm(steps, self._weight.t())[:n, : self._scale.shape[1]]
        out: torch.Tensor = (sums * (largest * self._scale)).to(self._dtype)
        return out


class Nf4Product(_GpuProduct):
    """Four-bit weights by activations as they are."""

    def __init__(
        self, packed: list[Packed], biases: list[torch.Tensor | None], shapes: list[tuple[int, int]], dtype: torch.dtype
    ) -> None:
        super().__init__(biases, shapes, dtype)
        library = _bitsandbytes()
        self._matmul = library.matmul_4bit
        self._weight = torch.cat([values for values, _ in packed])[:, None]
        self._scale = torch.cat([scales for _, scales in packed])
        # Blocks do not straddle rows, so that layers beside each other are one.
        self._state = library.functional.QuantState(
            absmax=self._scale, shape=torch.Size((sum(self._sizes), shapes[0][1])), blocksize=NF4_BLOCK,
            quant_type="nf4", code=library.functional.get_4bit_type("nf4", device=self._scale.device), dtype=dtype,
        )  # fmt: skip

    def _multiply(self, rows: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self._matmul(rows.to(self._dtype), self._weight.t(), quant_state=self._state)
        return y


class Int8Embedding(nn.Module):
    """Rows of an int8 embedding in the model's format."""

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self._weight, self._scale, self._dtype = weight, scale, dtype
        self.num_embeddings, self.embedding_dim = weight.shape

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: (...) -> (..., embedding_dim)."""
        return (self._weight[ids] * self._scale[ids][..., None]).to(self._dtype)
