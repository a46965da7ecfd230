"""Loads a prepared folder as a model on a device."""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from midfill.engine.local.model import int8
from midfill.engine.local.model.decoder import Decoder
from midfill.engine.local.model.formats import Float, Format
from midfill.engine.local.model.read import architecture, fits, read_decoder
from midfill.engine.local.shortage import is_out_of_memory
from midfill.engine.local.store.checkpoint import Checkpoint
from midfill.engine.local.store.manifest import INT8
from midfill.engine.local.store.models import float_files
from midfill.engine.local.store.packed_checkpoint import PackedCheckpoint, packing_of
from midfill.engine.local.store.safetensors_reader import Progress, check_small_files
from midfill.tokenizer import CodeTokenizer
from midfill.types import MidfillError

log = logging.getLogger(__name__)
QUANTISED = ("int8", "int4", "float8")  # the other number formats are floats


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to run, with its tokenizer and facts."""

    name: str
    folder: Path
    model: Any  # a Decoder, or transformers' modules
    tokenizer: CodeTokenizer
    device: torch.device
    number_format: str  # of the weights: int8, bfloat16, ...
    parameters: int
    base_names: frozenset[str]  # the names that adapters may give their base

    @property
    def vocabulary(self) -> int:
        """The number of ids the model knows."""
        if isinstance(self.model, Decoder):
            return self.model.embedding.num_embeddings
        return int(self.model.get_input_embeddings().num_embeddings)

    @property
    def max_context(self) -> int:
        """The number of positions the model was made for."""
        if isinstance(self.model, Decoder):
            return self.model.max_positions
        return int(getattr(self.model.config, "max_position_embeddings", 4096))


def pick_device(wanted: str) -> torch.device:
    """Return the device of the setting ``device``, set for this thread. Raises MidfillError if it is not available."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise MidfillError(f"device {wanted!r} cannot be used here", 'set device = "auto" or "cpu"') from error
    if device.type == "cuda":
        if device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        torch.cuda.set_device(device)  # for this thread: streams and events belong to the current device
        # If flash attention is not available (windows, packed rows), cuDNN would build a plan for each new length.
        torch.backends.cuda.enable_cudnn_sdp(False)
    return device


def pick_format(wanted: str, device: torch.device) -> str:
    """Return the number format of the setting ``dtype``; "auto" is the fastest that the
    hardware multiplies (docs/log.md).

    Raises MidfillError for a format that is not available.
    """
    if wanted == "auto":
        return "int8" if device.type == "cpu" and int8.is_supported() else pick_floats(device)
    if wanted in QUANTISED and device.type == "cuda":
        from midfill.engine.local.model import linear_cuda

        linear_cuda.check(wanted, device)
    elif wanted in QUANTISED and not _is_ours(wanted, device):
        from midfill.engine.local.model import linear_quanto

        linear_quanto.check(wanted, device)
    return wanted


def _is_ours(wanted: str, device: torch.device) -> bool:
    """Whether products of ours multiply ``wanted`` on ``device``; otherwise optimum-quanto's do."""
    return wanted == "int8" and device.type == "cpu" and int8.is_supported()


def needs_floats(wanted: str, dtype: str) -> bool:
    """Whether serving with the settings ``device`` and ``dtype`` reads floats, independent
    of what this CPU can multiply.

    Raises MidfillError.
    """
    on_cpu = pick_device(wanted).type == "cpu"
    return dtype not in (("auto", "int8") if on_cpu else ("int8",))


def pick_floats(device: torch.device) -> str:
    """Return the floating-point format that ``device`` multiplies fastest."""
    if device.type == "cuda":
        with torch.cuda.device(device):  # Turing and Volta compute bfloat16 in float32, several times slower
            return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if device.type != "cpu":
        return "float16"
    return "bfloat16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"


def load(
    folder: Path, name: str, *, device: str = "auto", dtype: str = "auto", progress: Progress, modules: bool = False
) -> LoadedModel:  # fmt: skip
    """Load the model in ``folder``. Raises MidfillError naming the problem and what to do.

    ``modules``: as transformers' own modules, which can be called and trained, even if the engine does not need them.
    """
    check_small_files(folder)
    target = pick_device(device)
    chosen = pick_format(dtype, target)
    config = read_plain_config(folder)
    _warn_of_overflow(config, chosen, target)
    with ThreadPoolExecutor(1) as pool:  # the tokenizer is read while the weights are packed
        tokenizer = pool.submit(CodeTokenizer.from_file, folder / "tokenizer.json")
        model, parameters = _model(folder, config, chosen, target, progress, modules=modules)
    if not isinstance(model, Decoder):
        model.eval()
        model.requires_grad_(False)
    names = _base_names(folder, name, config)
    return LoadedModel(name, folder, model, tokenizer.result(), target, chosen, parameters, names)


def _warn_of_overflow(config: dict[str, Any], chosen: str, device: torch.device) -> None:
    """Log a warning for Gemma: it was trained in bfloat16, whose largest number is 10^33 times float16's."""
    floats = pick_floats(device) if chosen in QUANTISED and device.type != "cpu" else chosen
    if floats == "float16" and str(config.get("model_type", "")).startswith("gemma"):
        log.warning("%s has no bfloat16: Gemma's numbers may overflow in float16, and such a request fails", device)


def _model(
    folder: Path, config: dict[str, Any], chosen: str, target: torch.device, progress: Progress, *, modules: bool
) -> tuple[Any, int]:  # fmt: skip
    """Return the model and its number of weights."""
    try:
        ready = folder / INT8
        if chosen == "int8" and ready.is_file():
            return _read(Checkpoint(folder, [ready]), config, chosen, target, progress, modules=modules)
        packing = packing_of(config)
        plain = {key: value for key, value in config.items() if key != "quantization_config"}
        with float_files(folder, progress) as files:
            checkpoint = Checkpoint(folder, files) if packing is None else PackedCheckpoint(folder, files, packing)
            return _read(checkpoint, plain, chosen, target, progress, modules=modules)
    except (MemoryError, RuntimeError, ValueError, KeyError, TypeError) as error:
        if is_out_of_memory(error):
            raise _too_large(target) from error
        raise MidfillError(
            f"the weights in {folder} do not fit its config.json", "prepare or fetch the model again"
        ) from error


def _read(
    checkpoint: Checkpoint, config: dict[str, Any], chosen: str, target: torch.device, progress: Progress, *,
    modules: bool,
) -> tuple[Any, int]:  # fmt: skip
    """Return the model in the files of ``checkpoint`` and its number of weights."""
    form = make_format(chosen, target)
    wanted = None if modules else architecture(config)
    if wanted is not None and fits(wanted, checkpoint):
        return read_decoder(wanted, checkpoint, form, progress)
    from midfill.engine.local.forward import foreign
    from midfill.engine.local.model.modules import build, read_config

    attention = "sdpa" if modules else foreign.NAME
    return build(read_config(checkpoint.folder, config), checkpoint, form, attention, progress)


def make_format(chosen: str, device: torch.device) -> Format:
    """Return the packing of weights for the number format ``chosen`` (of pick_format) on ``device``."""
    if chosen not in QUANTISED:
        return Float(getattr(torch, chosen), device)
    if _is_ours(chosen, device):
        from midfill.engine.local.model.linear_int8 import Int8

        return Int8()
    floats = getattr(torch, pick_floats(device))
    if device.type == "cuda":
        from midfill.engine.local.model.linear_cuda import CudaQuantised

        return CudaQuantised(chosen, device, floats)
    from midfill.engine.local.model.linear_quanto import Quanto

    return Quanto(chosen, device, torch.float32 if _is_ours("int8", device) else floats)


def _too_large(target: torch.device) -> MidfillError:
    if target.type == "cpu":
        return MidfillError(
            "the model does not fit into this machine's memory", "close other programs, or choose a smaller one"
        )
    return MidfillError(f"the model does not fit into the memory of {target}", 'choose a smaller one or device = "cpu"')


def read_plain_config(folder: Path) -> dict[str, Any]:
    """Return the content of config.json in ``folder``. Raises MidfillError."""
    file = folder / "config.json"
    if not file.is_file():
        raise MidfillError(f"{folder} is not a model folder: it has no config.json", "check the setting model")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise MidfillError(
            f"{file} does not describe a model that transformers knows", "prepare or fetch the model again"
        ) from error
    return config


def _base_names(folder: Path, name: str, config: dict[str, Any]) -> frozenset[str]:
    recorded = str(config.get("_name_or_path") or "")
    return frozenset({str(folder), folder.name, name, recorded} - {""})
