"""LoRA adapters in PEFT's format, checked before they touch the model, switched per request without merging.

LoRA: Hu et al. 2021, arXiv:2106.09685; the scale of rank-stabilised LoRA: Kalajdzievski 2023, arXiv:2312.03732. The
format is PEFT's: ``adapter_config.json`` and ``adapter_model.safetensors``. The computation follows PEFT's own, so the
output equals its forward pass: the low-rank path runs in float32 beside the base's number format.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from midfill.engine.local.lora.files import (
    CONFIG_FILE,
    KEY,
    MAX_WEIGHTS_BYTES,
    WEIGHTS_FILE,
    check_base,
    check_regular,
    digest_of,
    read_config,
    refusal,
)
from midfill.engine.local.lora.targets import targets
from midfill.engine.local.model.decoder import HEAD, Decoder
from midfill.engine.local.store.checkpoint import read_tensors

MAX_STACKED_RANK = 16  # measured in docs/log.md


@dataclass(frozen=True, slots=True)
class LoraPair:
    """One target: ``a`` is (rank, in_features), ``b`` (out_features, rank): float32, on a GPU in the base's format."""

    a: torch.Tensor
    b: torch.Tensor
    scale: float

    def delta(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the adapter adds, in float32. x: (..., in_features) -> (..., out_features)."""
        return nn.functional.linear(nn.functional.linear(x.to(self.a.dtype), self.a), self.b) * self.scale


Block = tuple[slice, slice, torch.Tensor]  # outputs, places in the low rank, (outputs, rank) including the scale


@dataclass(frozen=True, slots=True)
class Stack:
    """The pairs of layers that read the same input. ``a``: (rank_1 + rank_2 + ..., in). ``places``: the
    outputs and low ranks of each path.

    Small ranks share one block, with zeros where a pair adds nothing to another's outputs: one product instead of
    several. Large ranks have a block each, as the zeros would have to be read.
    """

    a: torch.Tensor
    blocks: list[Block]
    places: dict[str, tuple[slice, slice]]

    @property
    def pairs(self) -> dict[str, LoraPair]:
        """The pairs by path, as parts of the stack, which includes their scales."""
        return {path: LoraPair(self.a[low], self._b(outputs, low), 1.0) for path, (outputs, low) in self.places.items()}

    def _b(self, outputs: slice, low: slice) -> torch.Tensor:
        rows, columns, b = next(block for block in self.blocks if block[0].start <= outputs.start < block[0].stop)
        return b[
            outputs.start - rows.start : outputs.stop - rows.start, low.start - columns.start : low.stop - columns.start
        ]

    def add_to(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """As Adapter.add_to."""
        low = nn.functional.linear(x.to(self.a.dtype), self.a)
        for rows, columns, b in self.blocks:
            part = y[:, rows]
            if y.dtype == b.dtype:
                part.addmm_(low[:, columns], b.t())
            else:
                part += nn.functional.linear(low[:, columns], b)  # added in float32, then rounded
        return y

    def to(self, device: torch.device, dtype: torch.dtype) -> Stack:
        """Return the same in the memory of ``device``, in the format ``dtype``."""
        blocks = [(rows, columns, b.to(device, dtype)) for rows, columns, b in self.blocks]
        return Stack(self.a.to(device, dtype), blocks, self.places)


@dataclass(frozen=True, slots=True)
class Adapter:
    """A checked adapter in memory. Later changes of its files do not affect it."""

    name: str
    folders: tuple[Path, ...]  # several: it is the sum of what they hold
    base: str
    rank: int
    alpha: float
    digest: str  # of config and weights
    pairs: dict[str, LoraPair]  # by module path

    stacks: dict[tuple[str, ...], Stack | None] = field(default_factory=dict)

    def add_to(self, y: torch.Tensor, x: torch.Tensor, paths: tuple[str, ...], sizes: list[int]) -> torch.Tensor:
        """Return y of the layers ``paths`` plus what the adapter adds. x: (rows, in); y: (rows, out_1 + out_2 + ...).

        y may be written to.
        """
        stack = self.stack(paths, sizes)
        return y if stack is None else stack.add_to(y, x)

    def stack(self, paths: tuple[str, ...], sizes: list[int]) -> Stack | None:
        """Return the pairs of ``paths`` as one, None if there are none. Made once; call it
        ahead of use if time matters."""
        if paths not in self.stacks:
            stack = self.stacks[paths] = _stack(paths, [self.pairs.get(path) for path in paths], sizes)
            self.pairs.update(stack.pairs if stack is not None else {})
        return self.stacks[paths]

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Adapter:
        """Return the same adapter in the memory of ``device``, in the format ``dtype``.

        Each weight is copied once: the pairs of a stack are parts of it there as well.
        """
        stacks = {paths: stack and stack.to(device, dtype) for paths, stack in self.stacks.items()}
        pairs = {path: pair for stack in stacks.values() if stack for path, pair in stack.pairs.items()}
        for path, pair in self.pairs.items():
            if path not in pairs:
                pairs[path] = LoraPair(pair.a.to(device, dtype), pair.b.to(device, dtype), pair.scale)
        return dataclasses.replace(self, pairs=pairs, stacks=stacks)

    @property
    def n_bytes(self) -> int:
        """The bytes it takes in memory; stacks count as a whole, with the zeros in them."""
        pairs = [pair for path, pair in self.pairs.items() if not any(path in paths for paths in self.stacks)]
        tensors = [t for pair in pairs for t in (pair.a, pair.b)]
        for stack in self.stacks.values():
            tensors += [stack.a, *(b for _, _, b in stack.blocks)] if stack is not None else []
        return sum(t.numel() * t.element_size() for t in tensors)

    @property
    def parameters(self) -> int:
        """The number of its weights."""
        return sum(pair.a.numel() + pair.b.numel() for pair in self.pairs.values())


def _stack(paths: tuple[str, ...], pairs: list[LoraPair | None], sizes: list[int]) -> Stack | None:
    """Return several pairs as one, None if there are none."""
    present = [pair for pair in pairs if pair is not None]
    if not present:
        return None
    a = torch.cat([pair.a for pair in present])
    whole = a.new_zeros((sum(sizes), len(a))) if max(len(pair.a) for pair in present) <= MAX_STACKED_RANK else None
    blocks: list[Block] = []
    places: dict[str, tuple[slice, slice]] = {}
    row = column = 0
    for path, pair, size in zip(paths, pairs, sizes, strict=True):
        if pair is not None:
            rows, columns = slice(row, row + size), slice(column, column + len(pair.a))
            if whole is not None:
                torch.mul(pair.b, pair.scale, out=whole[rows, columns])
            else:
                blocks.append((rows, columns, pair.b * pair.scale))
            places[path] = rows, columns
            column += len(pair.a)
        row += size
    return Stack(a, [(slice(0, row), slice(0, column), whole)] if whole is not None else blocks, places)


@dataclass(frozen=True, slots=True)
class Targets:
    """The parts of a model that an adapter may change: the names of all parts, and (out, in) of its linear layers
    except the head, which has a field of its own."""

    names: list[str]
    linears: dict[str, tuple[int, int]]
    head: str

    @classmethod
    def of(cls, model: Decoder | nn.Module) -> Targets:
        """Return the targets of ``model``."""
        if isinstance(model, Decoder):
            found = {
                path: (size, linear.in_features)
                for linear in model.linears for path, size in zip(linear.paths, linear.sizes, strict=True)
            }  # fmt: skip
            return cls(model.module_names, found, HEAD)
        modules = dict(model.named_modules())
        head_of = getattr(model, "get_output_embeddings", None)
        head = head_of() if callable(head_of) else None
        linears = {
            path: (module.out_features, module.in_features)
            for path, module in modules.items()
            if isinstance(module, nn.Linear)
        }
        return cls(list(modules), linears, next((path for path, module in modules.items() if module is head), ""))


def read_adapter(name: str, folder: Path, model: Decoder | nn.Module, base_names: Iterable[str]) -> Adapter:
    """Read and check the adapter in ``folder`` against ``model``. Raises MidfillError.

    The model is not touched, so any thread may do this while the model runs. The weights are in the CPU's memory.
    """
    config_bytes, config = read_config(folder)
    base = str(config.get("base_model_name_or_path") or "")
    check_base(folder, base, base_names)
    tensors = _read_tensors(folder)
    return _adapter(name, folder, config_bytes, config, tensors, Targets.of(model))


def read_alone(folder: Path) -> Adapter:
    """Read and check the adapter in ``folder`` without a model to compare it with. Raises MidfillError."""
    config_bytes, config = read_config(folder)
    tensors = _read_tensors(folder)
    sizes: dict[str, dict[str, int]] = {}
    for key, tensor in tensors.items():
        if (match := KEY.fullmatch(key)) is not None and tensor.dim() == 2:
            side = match["side"]
            sizes.setdefault(match["module"], {})[side] = tensor.shape[0 if side == "B" else 1]
    linears = {module: (size.get("B", 0), size.get("A", 0)) for module, size in sizes.items()}
    return _adapter(folder.name, folder, config_bytes, config, tensors, Targets(list(linears), linears, ""))


def _read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    check_regular(folder, WEIGHTS_FILE, MAX_WEIGHTS_BYTES)
    return read_tensors(folder / WEIGHTS_FILE)


def _adapter(
    name: str, folder: Path, config_bytes: bytes, config: dict[str, Any], tensors: dict[str, torch.Tensor],
    model: Targets,
) -> Adapter:  # fmt: skip
    base = str(config.get("base_model_name_or_path") or "")
    pairs = _pair_up(folder, tensors, config, model)
    digest = hashlib.sha256(config_bytes)
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].contiguous().flatten().view(torch.uint8).numpy().data)
    return Adapter(name, (folder,), base, int(config["r"]), float(config["lora_alpha"]), digest.hexdigest(), pairs)


def summed(name: str, parts: Sequence[Adapter]) -> Adapter:
    """Return the adapter that adds what all of ``parts`` add.

    Their low ranks stand one after another, so a sum is one adapter of a larger rank and costs one pass: B1 A1 x +
    B2 A2 x = (B1 B2) (A1; A2) x. Ranks, scales and layers may differ; the scales are in B.
    """
    if len(parts) == 1:
        return parts[0]
    paths = sorted({path for part in parts for path in part.pairs})
    pairs = {path: _joined([part.pairs[path] for part in parts if path in part.pairs]) for path in paths}
    folders = tuple(folder for part in parts for folder in part.folders)
    rank = sum(part.rank for part in parts)
    return Adapter(name, folders, parts[0].base, rank, float(rank), digest_of(part.digest for part in parts), pairs)


def _joined(pairs: Sequence[LoraPair]) -> LoraPair:
    return LoraPair(torch.cat([pair.a for pair in pairs]), torch.cat([pair.b * pair.scale for pair in pairs], 1), 1.0)


def _pair_up(
    folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any], model: Targets
) -> dict[str, LoraPair]:
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = KEY.fullmatch(key)
        if match is None:
            raise refusal(folder, f"unexpected tensor {key[:100]}", "only lora_A and lora_B weights of linear layers")
        pair = sides.setdefault(match["module"], {})
        if match["side"] in pair:
            raise refusal(folder, f"{match['module'][:100]} has two lora_{match['side']}", "save the adapter again")
        pair[match["side"]] = tensor
    if not sides:
        raise refusal(folder, "it holds no weights", "train it again")
    _check_targets(folder, config, set(sides), model)
    return {
        module: _pair(folder, module, pair, config, model.linears[module]) for module, pair in sorted(sides.items())
    }


def _check_targets(folder: Path, config: dict[str, Any], adapted: set[str], model: Targets) -> None:
    """Check that target_modules names exactly the adapted modules: PEFT adapts those it
    names and ignores other tensors."""
    unknown = sorted(path for path in adapted if path not in model.linears)
    if unknown:
        raise refusal(folder, f"the model has no linear layer {unknown[0][:100]}", "the adapter is for another base")
    try:
        named = targets(config, model.names, [path for path in model.linears if path != model.head])
    except ValueError as error:
        raise refusal(folder, str(error), f"name the adapted layers in target_modules of {CONFIG_FILE}") from None
    remedy = f"save it again with PEFT, or mend target_modules in {CONFIG_FILE}"
    if untold := sorted(adapted - named):
        reason = f"it has weights for {untold[0][:100]}, which target_modules does not name"
        raise refusal(folder, reason, remedy)
    if empty := sorted(named - adapted):
        raise refusal(folder, f"target_modules names {empty[0][:100]}, for which it has no weights", remedy)


def _pair(
    folder: Path, module: str, pair: dict[str, torch.Tensor], config: dict[str, Any], target: tuple[int, int]
) -> LoraPair:
    if pair.keys() != {"A", "B"}:
        raise refusal(folder, f"{module[:100]} lacks lora_{'B' if 'A' in pair else 'A'}", "save the adapter again")
    a, b = pair["A"], pair["B"]
    rank = _for_module(folder, config.get("rank_pattern"), module, config["r"])
    alpha = _for_module(folder, config.get("alpha_pattern"), module, config["lora_alpha"])
    wanted = (rank, target[1]), (target[0], rank)
    if (tuple(a.shape), tuple(b.shape)) != wanted:
        raise refusal(
            folder,
            f"{module[:100]} has shapes {tuple(a.shape)}, {tuple(b.shape)} instead of {wanted[0]}, {wanted[1]}",
            "rank or base differ from adapter_config.json",
        )
    if not (a.is_floating_point() and b.is_floating_point() and bool(a.isfinite().all()) and bool(b.isfinite().all())):
        raise refusal(
            folder, f"{module[:100]} holds NaN, infinity or integers", "the training diverged: train it again"
        )
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return LoraPair(a.float(), b.float(), float(scale))


def _for_module(folder: Path, pattern: Any, module: str, default: Any) -> Any:
    """Return the value of PEFT's rank_pattern or alpha_pattern: that of the first entry whose key ends the module's
    path; a dot in the key matches any character, as in PEFT. Other expressions are refused."""
    if not pattern:
        return default
    if not isinstance(pattern, dict) or not all(re.fullmatch(r"[\w.]{1,200}", str(key)) for key in pattern):
        raise refusal(folder, "rank_pattern or alpha_pattern holds regular expressions", "name the modules literally")
    for key, value in pattern.items():
        if re.match(rf"(.*\.)?({key})$", module):
            if type(value) not in (int, float) or not 0 < value <= 1e6:
                raise refusal(folder, f"pattern of {key} is not a sensible number", "train it again")
            return value
    return default


class ResidentAdapters:
    """The adapters resident beside one model on ``device``.

    A request keeps its Adapter: one that is replaced or removed meanwhile still answers it to its end.
    """

    def __init__(self, model: Decoder | nn.Module) -> None:
        if isinstance(model, Decoder):
            self._device, self._dtype = model.device, model.kv_dtype
        else:
            like = next((one for one in model.parameters() if one.is_floating_point()), torch.empty(0))
            self._device, self._dtype = like.device, like.dtype  # on a GPU all of a model's numbers have one format
        self.adapters: dict[str, Adapter] = {}  # replaced as a whole, never changed: other threads read it at any time

    def add(self, adapter: Adapter) -> None:
        """Make ``adapter`` usable under its name; it replaces one of the same name as a whole."""
        if self._device.type != "cpu":
            adapter = adapter.to(self._device, self._dtype)
        self.adapters = {**self.adapters, adapter.name: adapter}

    def remove(self, name: str) -> None:
        """Forget an adapter. An unknown name is not an error."""
        self.adapters = {other: adapter for other, adapter in self.adapters.items() if other != name}
