"""Steps of a plain decoder in one compiled call on each thread.

They serve models whose layers ``forward.step`` computes (Llama, Mistral, Qwen2: SiLU, no norms of queries and keys, no
window) and whose products are ours; every other model goes through torch (forward/eager.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from midfill.engine.local.forward.attention import ROWWISE, Step
from midfill.engine.local.forward.compiled import forward
from midfill.engine.local.forward.compiled.byte_tiles import GROUP
from midfill.engine.local.forward.compiled.choice import bytes_are_faster, offsets_for, takes_bytes
from midfill.engine.local.forward.compiled.product import CompiledKernel
from midfill.engine.local.forward.compiled.sharing import LINE
from midfill.engine.local.forward.compiled.team import n_threads, team
from midfill.engine.local.forward.compiled.tiles import COLUMNS, OUTPUTS
from midfill.engine.local.forward.compiled.work import StepShape, Work
from midfill.engine.local.model.decoder import Decoder, Layer, Linear
from midfill.engine.local.model.linear_int8 import Int8Linear

if TYPE_CHECKING:
    from midfill.engine.local.lora.adapter import Adapter, Block, Stack

N_PHASES = 5  # phases of a layer that divide their work among threads


class CompiledStep:
    """The tables of one model, and the buffers of its steps. Raises TypeError if the model is of another kind."""

    def __init__(self, decoder: Decoder) -> None:
        layers, norm, head, first = decoder.layers, decoder.norm, decoder.head, decoder.layers[0]
        self._decoder = decoder
        qkv, inner = first.qkv.sizes, first.gate_up.sizes[0]
        self._held: list[Any] = []  # the objects that the tables' addresses point to
        self._held_kernels: list[CompiledKernel] = []  # layer by layer, the head's last
        self._products, self._norms = self._tables(decoder)
        self._eps, self._scale = np.float32(norm.eps), np.float32(first.scale)
        dim = first.head_dim
        self._sizes = (len(layers), norm.weight.numel(), qkv[0] // dim, qkv[1] // dim, dim)
        self._vocabulary = _kernel_of(head).outputs
        self._bytes = self._offsets()
        if any(size % OUTPUTS for size in (norm.weight.numel(), inner, qkv[0])) or dim % COLUMNS:
            raise TypeError("sizes that do not fill the tiles")
        self._widths = {
            "normed": norm.weight.numel(),
            "qkv": sum(qkv),
            "attention_output": qkv[0],
            "gate_up": 2 * inner,
            "inner": inner,
        }
        self._groups = max(self._widths[name] for name in ("normed", "attention_output", "inner")) // GROUP
        self._buffers: dict[str, Any] = {}
        self._counters = np.zeros((2 + N_PHASES * len(layers), LINE), np.int64)
        self._no_adapter = np.zeros((len(layers) + 1, forward.N_PRODUCTS, forward.N_LORA), np.int64)
        self._adapter: tuple[Adapter, Any, list[Any]] | None = None

    def __call__(
        self, ids: torch.Tensor, positions: torch.Tensor, keep: torch.Tensor, step: Step, adapter: Adapter | None,
        check: Callable[[], None],
    ) -> torch.Tensor:  # fmt: skip
        """As eager.forward; ``check`` is called before each layer of a long step."""
        x = self._decoder.embedding(ids)
        cos, sin = self._decoder.rope(positions, x.dtype)
        n, threads = len(x), n_threads()
        layers, hidden, _, kv_heads, dim = self._sizes
        if x.shape != (n, hidden) or cos.shape != (n, dim) or sin.shape != (n, dim):
            raise ValueError(f"rows of {tuple(x.shape)}, angles of {tuple(cos.shape)}")
        for part in step.parts:
            part.slot.make_room(layers, kv_heads, dim)
            if int(part.positions.max()) >= len(part.slot.ids):
                raise ValueError("a position behind the end of its slot")
        slots = np.array([[_place(part.slot, i) for part in step.parts] for i in range(layers)], np.int64)
        logits = torch.empty((len(keep), -(-self._vocabulary // OUTPUTS) * OUTPUTS))
        lora = self._lora(adapter)
        in_bytes = self._bytes and n > ROWWISE
        work = Work(
            x=x.numpy(),
            places=np.repeat(np.arange(len(step.parts)), [part.rows.stop - part.rows.start for part in step.parts]),
            positions=np.concatenate([part.positions.numpy() for part in step.parts]),
            cos=cos.numpy(),
            sin=sin.numpy(),
            logit_rows=keep.numpy(),
            logits=logits.numpy(),
            lora_a=np.empty((n, int(lora[:, :, 1].max())), np.float32),
            scales=np.empty(n * self._groups if in_bytes else n, np.float32),
            counters=self._counters,
            **self._room(n),
        )
        shape = StepShape(*self._sizes, threads, int(in_bytes))
        stride = layers if n <= ROWWISE else 1
        for first in range(0, layers, stride):
            check()
            self._counters.fill(0)
            team.run(
                forward.step, shape, self._scale, self._eps, self._products, self._norms, lora, slots,
                first, first + stride, work, threads=threads,
            )  # fmt: skip
        return logits[:, : self._vocabulary]

    def _room(self, n: int) -> dict[str, Any]:
        """Return buffers of ``n`` rows."""
        if not self._buffers or len(self._buffers["normed"]) < n:
            rows = max(n, ROWWISE)
            self._buffers = {name: np.empty((rows, width), np.float32) for name, width in self._widths.items()}
            longest = max(self._widths[name] for name in ("normed", "attention_output", "inner"))
            self._buffers["quantised"] = np.empty(rows * longest, np.int16)
        return {name: buffer if name == "quantised" else buffer[:n] for name, buffer in self._buffers.items()}

    def _tables(self, decoder: Decoder) -> tuple[Any, Any]:
        """Return ``products`` and ``norms`` of forward.step."""
        layers, norm, products, norms = decoder.layers, decoder.norm, [], []
        for layer in layers:
            if not _is_silu(layer.activation) or layer.q_norm is not None or layer.window is not None:
                raise TypeError("a layer of another kind")
            if _numbers(layer) != _numbers(layers[0]):
                raise TypeError("layers of different sizes")
            products.append([self._product(linear) for linear in layer.linears])
            norms.append([self._floats(layer.before_attention.weight), self._floats(layer.before_mlp.weight)])
        nothing = [[0] * forward.N_ADDRESSES] * (forward.N_PRODUCTS - 1)
        products.append([self._product(decoder.head), *nothing])
        norms.append([self._floats(norm.weight), 0])
        return np.array(products, np.int64), np.array(norms, np.int64)

    def _offsets(self) -> bool:
        """Whether prompts use activations of bytes: the table then gets the offsets that these need."""
        kernels: list[CompiledKernel] = self._held_kernels[:-1]
        if not (all(takes_bytes(kernel.packed) for kernel in kernels) and bytes_are_faster()):
            return False
        for place, kernel in zip(np.ndindex(self._products.shape[:2]), kernels, strict=False):
            offsets = offsets_for(kernel.packed)
            self._held.append(offsets)
            self._products[place][3] = offsets.ctypes.data
        return True

    def _product(self, product: Any) -> list[int]:
        """Return the addresses of weights, scales and bias."""
        kernel = _kernel_of(product)
        self._held_kernels.append(kernel)
        if product.bias is not None and (len(product.bias) != kernel.outputs or kernel.outputs % OUTPUTS):
            raise TypeError("a bias of another size")
        bias = 0 if product.bias is None else self._floats(product.bias)
        return [kernel.packed.ctypes.data, kernel.scale.ctypes.data, bias, 0]

    def _floats(self, values: torch.Tensor) -> int:
        if values.dtype != torch.float32 or not values.is_contiguous():
            raise TypeError("numbers of another kind")
        self._held.append(values)
        return values.data_ptr()

    def _lora(self, adapter: Adapter | None) -> Any:
        if adapter is None:
            return self._no_adapter
        if self._adapter is None or self._adapter[0] is not adapter:
            table = self._no_adapter.copy()
            held: list[Any] = []
            table[:-1] = [[_part(linear, adapter, held) for linear in layer.linears] for layer in self._decoder.layers]
            self._adapter = adapter, table, held
        return self._adapter[1]


def _numbers(layer: Layer) -> tuple[Any, ...]:
    """Return the numbers that one step uses for all layers."""
    shapes = [(linear.sizes, _kernel_of(linear).inputs) for linear in layer.linears]
    norms = [(norm.eps, norm.weight.numel()) for norm in (layer.before_attention, layer.before_mlp)]
    return shapes, norms, layer.head_dim, layer.scale


def _is_silu(activation: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    x = torch.linspace(-6, 6, 25)
    return torch.allclose(activation(x), nn.functional.silu(x), atol=1e-6)


def _kernel_of(linear: Linear) -> CompiledKernel:
    if not isinstance(linear, Int8Linear) or not isinstance(linear.kernel, CompiledKernel):
        raise TypeError("products of another kind")
    if linear.kernel.depth != linear.kernel.inputs:
        raise TypeError("sizes that do not fill the tiles")
    return linear.kernel


def _place(slot: Any, layer: int) -> tuple[int, int, int]:
    """Return the addresses of a layer's keys and values, and the distance from head to head."""
    keys, values = slot.keys[layer], slot.values[layer]
    if keys.dtype != torch.bfloat16 or keys.shape != values.shape:
        raise ValueError("a slot of another model")
    return keys.data_ptr(), values.data_ptr(), keys.shape[1] * keys.shape[2]


def _part(linear: Linear, adapter: Adapter, held: list[Any]) -> list[int]:
    """Return what ``adapter`` adds to ``linear``, as forward.step needs it. The addresses are of the adapter's memory,
    and of what is put into ``held``."""
    row = [0] * forward.N_LORA
    stack = adapter.stack(linear.paths, linear.sizes)
    if stack is None:
        return row
    blocks = _without_zeros(stack, linear.sizes)
    row[:3] = stack.a.data_ptr(), len(stack.a), len(blocks)
    for number, (outputs, low, b) in enumerate(blocks):
        lines = b.t().contiguous()  # a low row's part of many outputs fills a vector
        held.append(lines)
        at = 3 + number * forward.BLOCK
        row[at : at + forward.BLOCK] = outputs.start, outputs.stop, low.start, low.stop, lines.data_ptr()
    return row


def _without_zeros(stack: Stack, sizes: list[int]) -> list[Block]:
    """Return the blocks of ``stack``, one for each of ``sizes`` outputs: torch is faster with zeros
    in one block, loops are not."""
    found = []
    for outputs, low, b in stack.blocks:
        start = outputs.start
        for size in sizes if outputs.stop - outputs.start == sum(sizes) else [outputs.stop - outputs.start]:
            mine = b[start - outputs.start : start - outputs.start + size]
            used = mine.any(0).nonzero().flatten().tolist()
            if used:
                first, last = used[0], used[-1] + 1
                found.append(
                    (slice(start, start + size), slice(low.start + first, low.start + last), mine[:, first:last])
                )
            start += size
    return found
