"""LoRA adapters in PEFT's format, checked before they touch the model, switched per request without merging.

LoRA: Hu et al. 2021, arXiv:2106.09685; the scale of rank-stabilised LoRA: Kalajdzievski 2023, arXiv:2312.03732.
The format is PEFT's: ``adapter_config.json`` and ``adapter_model.safetensors``. The computation follows PEFT's own, so
the output equals its forward pass: the low-rank path runs in float32 beside the base's number format.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from midfill.engine.local.int8 import Int8Linear
from midfill.engine.local.weights import read_safetensors
from midfill.types import MidfillError

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
MAX_CONFIG_BYTES, MAX_WEIGHTS_BYTES = 1 << 20, 4 << 30
MAX_RANK = 1024
PLAIN_INITS = (True, False, None, "gaussian", "orthogonal", "eva")
_KEY = re.compile(r"base_model\.model\.(?P<module>[\w.]{1,300})\.lora_(?P<side>[AB])(?:\.default)?\.weight")
_SUFFIXES = re.compile(r"-(instruct|base|it|gguf|awq|gptq|hf|q\d\w*)$")


@dataclass(frozen=True, slots=True)
class LoraPair:
    """One target: ``a`` is (rank, in_features), ``b`` (out_features, rank), both float32."""

    a: torch.Tensor
    b: torch.Tensor
    scale: float

    def delta(self, x: torch.Tensor) -> torch.Tensor:
        """What the adapter adds, in float32. x: (..., in_features) -> (..., out_features)."""
        return nn.functional.linear(nn.functional.linear(x.to(self.a.dtype), self.a), self.b) * self.scale


@dataclass(frozen=True, slots=True)
class Adapter:
    """A checked adapter in memory. Later changes of its files do not reach it."""

    name: str
    folder: Path
    base: str
    rank: int
    alpha: float
    digest: str  # of config and weights
    pairs: dict[str, LoraPair]  # by module path

    stacks: dict[tuple[str, ...], tuple[torch.Tensor, torch.Tensor] | None] = field(default_factory=dict)

    def add_to(self, y: torch.Tensor, x: torch.Tensor, paths: tuple[str, ...], sizes: list[int]) -> torch.Tensor:
        """y of the layers ``paths`` with what the adapter adds. x: (rows, in); y: (rows, out_1 + out_2 + ...)."""
        if paths not in self.stacks:
            self.stacks[paths] = _stack([self.pairs.get(path) for path in paths], sizes)
        stack = self.stacks[paths]
        if stack is None:
            return y
        a, b = stack
        low = nn.functional.linear(x.to(a.dtype), a)
        if y.dtype == a.dtype:
            return torch.addmm(y, low, b.t())
        return (y + nn.functional.linear(low, b)).to(y.dtype)

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return sum(pair.a.numel() + pair.b.numel() for pair in self.pairs.values())


def _stack(pairs: list[LoraPair | None], sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Several pairs as one: a (ranks, in), b (out_1 + out_2 + ..., ranks), block by block, with the scales in b."""
    present = [pair for pair in pairs if pair is not None]
    if not present:
        return None
    a = torch.cat([pair.a for pair in present])
    b = a.new_zeros((sum(sizes), len(a)))
    row = column = 0
    for pair, size in zip(pairs, sizes, strict=True):
        if pair is not None:
            rank = len(pair.a)
            b[row : row + size, column : column + rank] = pair.b * pair.scale
            column += rank
        row += size
    return a, b


def _refuse(folder: Path, reason: str, remedy: str) -> MidfillError:
    return MidfillError(f"adapter {folder.name} cannot be used: {reason}", remedy)


def read_adapter(name: str, folder: Path, model: nn.Module, base_names: Iterable[str]) -> Adapter:
    """Read and check the adapter in ``folder`` against ``model``. Raises MidfillError; the model is not touched."""
    config_bytes = _read_regular(folder, CONFIG_FILE, MAX_CONFIG_BYTES)
    config = _parse_config(folder, config_bytes)
    _check_base(folder, str(config.get("base_model_name_or_path") or ""), base_names)
    _check_regular(folder, WEIGHTS_FILE, MAX_WEIGHTS_BYTES)
    tensors = read_safetensors(folder / WEIGHTS_FILE)
    pairs = _pair_up(folder, tensors, config, model)
    digest = hashlib.sha256(config_bytes)
    for key in sorted(tensors):
        digest.update(key.encode() + tensors[key].contiguous().view(torch.uint8).numpy().tobytes())
    return Adapter(
        name, folder, str(config.get("base_model_name_or_path") or ""), int(config["r"]), float(config["lora_alpha"]),
        digest.hexdigest(), pairs,
    )  # fmt: skip


def _check_regular(folder: Path, name: str, limit: int) -> None:
    """A plain file inside ``folder``: no pipe to hang on, no link out of the folder, no absurd size."""
    file = folder / name
    try:
        info = file.stat()
        inside = file.resolve(strict=True).is_relative_to(folder.resolve(strict=True))
    except OSError:
        raise _refuse(folder, f"{name} is missing", "the folder must hold a PEFT adapter") from None
    if not stat.S_ISREG(info.st_mode) or not inside:
        raise _refuse(folder, f"{name} is not a plain file in the folder", "copy the file itself there")
    if info.st_size > limit:
        raise _refuse(folder, f"{name} is larger than {limit >> 20} MiB", "that is no LoRA adapter")


def _read_regular(folder: Path, name: str, limit: int) -> bytes:
    _check_regular(folder, name, limit)
    try:
        with (folder / name).open("rb") as stream:
            return stream.read(limit)
    except OSError as error:
        raise _refuse(folder, f"{name}: {error.strerror}", "make it readable") from error


def _parse_config(folder: Path, raw: bytes) -> dict[str, Any]:
    try:
        config = json.loads(raw)
    except (ValueError, RecursionError):
        raise _refuse(folder, f"{CONFIG_FILE} is not JSON", "save the adapter again with PEFT") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise _refuse(folder, "it is not a LoRA adapter", "midfill serves PEFT adapters of type LORA")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        raise _refuse(folder, f"rank {str(rank)[:20]} is not a number from 1 to {MAX_RANK}", "train it again")
    if not isinstance(alpha, (int, float)) or not 0 < alpha <= 1e6:
        raise _refuse(folder, f"lora_alpha {str(alpha)[:20]} is not sensible", "train it again")
    for key, plain in (
        ("use_dora", False), ("modules_to_save", None), ("bias", "none"), ("fan_in_fan_out", False),
        ("lora_bias", False), ("trainable_token_indices", None), ("target_parameters", None),
        ("layer_replication", None), ("alora_invocation_tokens", None), ("use_qalora", False), ("use_bdlora", None),
        ("monteclora_config", None), ("arrow_config", None), ("kasa_config", None), ("velora_config", None),
    ):  # fmt: skip
        if config.get(key, plain) not in (plain, None, False, [], {}):
            raise _refuse(folder, f"{key} = {str(config[key])[:40]} is not supported", f"train with {key} = {plain}")
    if config.get("init_lora_weights", True) not in PLAIN_INITS:  # the others change the base's own weights as well
        raise _refuse(
            folder,
            f"init_lora_weights = {str(config['init_lora_weights'])[:40]} changes the base",
            "save it with path_initial_model_for_weight_conversion, which makes a plain LoRA of it",
        )
    return config


def _check_base(folder: Path, recorded: str, base_names: Iterable[str]) -> None:
    if recorded and _plain_name(recorded) not in {_plain_name(name) for name in base_names}:
        raise _refuse(
            folder,
            f"it was trained on {recorded[:100]}, another base than the engine's",
            f"set model to {recorded[:100]}; if both are the same model, mend base_model_name_or_path in {CONFIG_FILE}",
        )


def _plain_name(name: str) -> str:
    """``Qwen/Qwen2.5-Coder-0.5B-Instruct`` and a prepared folder's ``qwen2.5-coder-0.5b-1a2b3c4d5e6f`` are one base."""
    plain = name.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1].lower()
    plain = re.sub(r"-[0-9a-f]{12}$", "", plain)
    while (shorter := _SUFFIXES.sub("", plain)) != plain:
        plain = shorter
    return plain


def _pair_up(
    folder: Path, tensors: dict[str, torch.Tensor], config: dict[str, Any], model: nn.Module
) -> dict[str, LoraPair]:
    sides: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise _refuse(folder, f"unexpected tensor {key[:100]}", "only lora_A and lora_B weights of linear layers")
        pair = sides.setdefault(match["module"], {})
        if match["side"] in pair:
            raise _refuse(folder, f"{match['module'][:100]} has two lora_{match['side']}", "save the adapter again")
        pair[match["side"]] = tensor
    if not sides:
        raise _refuse(folder, "it holds no weights", "train it again")
    modules = dict(model.named_modules())
    return {module: _pair(folder, module, pair, config, modules.get(module)) for module, pair in sorted(sides.items())}


def _pair(
    folder: Path, module: str, pair: dict[str, torch.Tensor], config: dict[str, Any], target: nn.Module | None
) -> LoraPair:
    if isinstance(target, LoraLinear):
        target = target.base
    if not isinstance(target, (nn.Linear, Int8Linear)):
        raise _refuse(folder, f"the model has no linear layer {module[:100]}", "the adapter is for another base")
    if pair.keys() != {"A", "B"}:
        raise _refuse(folder, f"{module[:100]} lacks lora_{'B' if 'A' in pair else 'A'}", "save the adapter again")
    a, b = pair["A"], pair["B"]
    rank = _for_module(folder, config.get("rank_pattern"), module, config["r"])
    alpha = _for_module(folder, config.get("alpha_pattern"), module, config["lora_alpha"])
    wanted = (rank, target.in_features), (target.out_features, rank)
    if (tuple(a.shape), tuple(b.shape)) != wanted:
        raise _refuse(
            folder,
            f"{module[:100]} has shapes {tuple(a.shape)}, {tuple(b.shape)} instead of {wanted[0]}, {wanted[1]}",
            "rank or base differ from adapter_config.json",
        )
    if not (a.is_floating_point() and b.is_floating_point() and bool(a.isfinite().all()) and bool(b.isfinite().all())):
        raise _refuse(
            folder, f"{module[:100]} holds NaN, infinity or integers", "the training diverged: train it again"
        )
    device = target.weight.device
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return LoraPair(a.float().to(device), b.float().to(device), float(scale))


def _for_module(folder: Path, pattern: Any, module: str, default: Any) -> Any:
    """PEFT's rank_pattern and alpha_pattern: the entry whose key ends the module's path. Keys are taken literally."""
    if not pattern:
        return default
    if not isinstance(pattern, dict) or not all(re.fullmatch(r"[\w.]{1,200}", str(key)) for key in pattern):
        raise _refuse(folder, "rank_pattern or alpha_pattern holds regular expressions", "name the modules literally")
    for key, value in pattern.items():
        if module == key or module.endswith("." + key):
            if not isinstance(value, (int, float)) or not 0 < value <= 1e6:
                raise _refuse(folder, f"pattern of {key} is not a sensible number", "train it again")
            return value
    return default


class LoraLinear(nn.Module):
    """A linear layer beside which ``switch.active`` takes part."""

    def __init__(self, base: nn.Linear | Int8Linear, path: str, switch: AdapterSwitch) -> None:
        super().__init__()
        self.base = base
        self._path = path
        self._switch = switch

    @property
    def weight(self) -> torch.Tensor:
        """The base's weight, for code that asks for its dtype or device."""
        return self.base.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., in_features) -> (..., out_features), in the base's dtype."""
        y: torch.Tensor = self.base(x)
        pair = self._switch.active.pairs.get(self._path) if self._switch.active is not None else None
        return y if pair is None else (y + pair.delta(x)).to(y.dtype)


class AdapterSwitch:
    """The adapters resident beside one model. ``active`` is set before each step by the worker thread alone.

    A request keeps its Adapter: one that is replaced or removed meanwhile answers it to its end.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.active: Adapter | None = None
        self.adapters: dict[str, Adapter] = {}

    def add(self, adapter: Adapter) -> None:
        """Make ``adapter`` usable under its name, replacing one of the same name whole."""
        for path in adapter.pairs:
            self._wrap(path)
        self.adapters[adapter.name] = adapter

    def remove(self, name: str) -> None:
        """Forget an adapter. An unknown name is no error."""
        self.adapters.pop(name, None)

    def _wrap(self, path: str) -> None:
        layer = self._model.get_submodule(path)
        if isinstance(layer, LoraLinear):
            return
        assert isinstance(layer, (nn.Linear, Int8Linear))
        parent, _, child = path.rpartition(".")
        setattr(self._model.get_submodule(parent), child, LoraLinear(layer, path, self))
