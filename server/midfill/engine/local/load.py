"""A prepared folder into a model on a device."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from midfill.engine.local import attention, gpu_formats, int8
from midfill.engine.local.models import read_manifest, weight_files
from midfill.engine.local.weights import read_safetensors
from midfill.tokenizer import CodeTokenizer
from midfill.types import MidfillError

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to run, and what goes with it."""

    name: str
    folder: Path
    model: PreTrainedModel
    tokenizer: CodeTokenizer
    device: torch.device
    number_format: str  # of the weights: int8, bfloat16, ...
    parameters: int
    base_names: frozenset[str]  # what adapters may call their base

    @property
    def vocabulary(self) -> int:
        """Ids the model knows."""
        return int(self.model.get_input_embeddings().num_embeddings)

    @property
    def max_context(self) -> int:
        """Positions the model was made for."""
        return int(getattr(self.model.config, "max_position_embeddings", 4096))


def pick_device(wanted: str) -> torch.device:
    """The device of the setting ``device``. Raises MidfillError where it is not there."""
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise MidfillError(f"device {wanted!r} cannot be used here", 'set device = "auto" or "cpu"') from error
    return device


def pick_format(wanted: str, device: torch.device) -> str:
    """The number format of the setting ``dtype``; "auto" is the fastest that the hardware multiplies (docs/log.md).

    Raises MidfillError for one that cannot be had.
    """
    if wanted in ("int8", "int4") and device.type == "cuda":
        gpu_formats.check(wanted, device)
    elif wanted in ("int8", "int4") and not (device.type == "cpu" and int8.is_supported()):
        raise MidfillError(f"{wanted} weights need a CPU with AVX2, VNNI or AMX", 'set dtype = "auto"')
    if wanted != "auto":
        return wanted
    return "int8" if device.type == "cpu" and int8.is_supported() else pick_floats(device)


def pick_floats(device: torch.device) -> str:
    """The floating-point format that ``device`` multiplies fastest."""
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    if device.type != "cpu":
        return "float16"
    return "bfloat16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"


def load(folder: Path, name: str, *, device: str = "auto", dtype: str = "auto", progress: Progress) -> LoadedModel:
    """Load the model in ``folder``. Raises MidfillError naming what is wrong and what to do."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    target = pick_device(device)
    chosen = pick_format(dtype, target)
    config = _config(folder)
    with ThreadPoolExecutor(1) as pool:  # the tokenizer is read while the weights are packed
        tokenizer = pool.submit(CodeTokenizer.from_file, folder / "tokenizer.json")
        model, parameters = _model(folder, config, chosen, target, progress)
    model.eval()
    model.requires_grad_(False)
    names = _base_names(folder, name, config)
    return LoadedModel(name, folder, model, tokenizer.result(), target, chosen, parameters, names)


def _model(
    folder: Path, config: Any, chosen: str, target: torch.device, progress: Progress
) -> tuple[PreTrainedModel, int]:
    try:
        if chosen in ("int8", "int4") and target.type != "cpu":
            return _build_quantised(folder, config, chosen, target, progress)
        if chosen in ("int8", "int4"):
            return _build_int8(folder, config, 8 if chosen == "int8" else 4, progress)
        wanted = getattr(torch, chosen)
        weights = _weights(folder, weight_files(folder), target, wanted, progress)
        progress("building the model", 0.0)
        model = _build(config, weights, wanted).to(target)
        return model, sum(parameter.numel() for parameter in model.parameters())
    except torch.OutOfMemoryError as error:
        raise MidfillError(
            f"the model does not fit into the memory of {target}", 'choose a smaller one or device = "cpu"'
        ) from error
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise MidfillError(
            f"the weights in {folder} do not fit its config.json", "prepare or fetch the model again"
        ) from error


def _build_quantised(
    folder: Path, config: Any, form: str, target: torch.device, progress: Progress
) -> tuple[PreTrainedModel, int]:
    """The model with ``form`` weights on a GPU, file by file, and their number."""
    ready = folder / int8.FILE
    files = [ready] if form == "int8" and ready.is_file() else weight_files(folder)
    builder = gpu_formats.Builder(config, form, target, getattr(torch, pick_format("auto", target)))
    cpu = torch.device("cpu")
    if not files:
        _weights(folder, files, cpu, None, progress)  # says why
    for number, file in enumerate(files):

        def on_part(stage: str, fraction: float, n_done: int = number) -> None:
            progress(stage, (n_done + fraction) / len(files))

        builder.add(_weights(folder, [file], cpu, None, on_part).items())
    progress("building the model", 0.0)
    return builder.finish(), builder.parameters


def _build_int8(folder: Path, config: Any, bits: int, progress: Progress) -> tuple[PreTrainedModel, int]:
    """The model with weights of ``bits`` bits, from the prepared ones or quantised here, and their number."""
    cpu, ready = torch.device("cpu"), folder / int8.FILE
    files = [ready] if ready.is_file() else weight_files(folder)
    state = _weights(folder, files, cpu, None, progress)
    if not int8.is_quantised_state(state):
        progress("quantising", 0.0)
        state = int8.quantise_state(state, _skeleton(config))
    progress("building the model", 0.0)
    parameters = sum(t.numel() for name, t in state.items() if not name.endswith(int8.SCALE_SUFFIX))
    with int8.weightless_linears():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=attention.NAME)
    int8.install(model, state, bits=bits)
    assert isinstance(model, PreTrainedModel)
    return model, parameters


def _build(config: Any, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> PreTrainedModel:
    kind: Any = type(_skeleton(config))
    model, info = kind.from_pretrained(
        None,
        config=config,
        state_dict=weights,
        dtype=dtype,
        attn_implementation=attention.NAME,
        output_loading_info=True,
    )
    wrong = sorted(info["missing_keys"]) + sorted(info["unexpected_keys"]) + sorted(map(str, info["mismatched_keys"]))
    if wrong:
        raise ValueError(", ".join(wrong[:3]))
    assert isinstance(model, PreTrainedModel)
    return model


def _skeleton(config: Any) -> torch.nn.Module:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert isinstance(model, torch.nn.Module)
    return model


def _config(folder: Path) -> Any:
    file = folder / "config.json"
    if not file.is_file():
        raise MidfillError(f"{folder} is not a model folder: it has no config.json", "check the setting model")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if "auto_map" in content:  # names code to be run from the folder
            content.pop("auto_map")
        kind = content.pop("model_type")
        return AutoConfig.for_model(kind, **content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MidfillError(
            f"{file} does not describe a model that transformers knows",
            "midfill never runs code that comes with a model",
        ) from error


def _weights(
    folder: Path, files: list[Path], device: torch.device, dtype: torch.dtype | None, progress: Progress
) -> dict[str, torch.Tensor]:
    """Every tensor of ``files`` on ``device``; floating ones in ``dtype``, None: as they are."""
    if not files:
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        reason = "only pickled weights, which midfill never loads" if pickled else "no *.safetensors"
        raise MidfillError(f"{folder} has {reason}", "convert them to safetensors with transformers")
    manifest = (read_manifest(folder) or {}).get("files", {})
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise MidfillError(f"{folder} lacks {missing[0]}", "fetch or prepare the model again")
    total = max(1, sum(file.stat().st_size for file in files))
    done = 0

    def on_bytes(n: int) -> None:
        nonlocal done
        done += n
        progress("loading", done / total)

    weights: dict[str, torch.Tensor] = {}
    for file in files:
        sha256 = manifest.get(file.name, {}).get("sha256")
        for name, tensor in read_safetensors(file, sha256=sha256, on_bytes=on_bytes).items():
            weights[name] = tensor.to(device, dtype if dtype and tensor.is_floating_point() else tensor.dtype)
    return weights


def _base_names(folder: Path, name: str, config: Any) -> frozenset[str]:
    recorded = str(getattr(config, "_name_or_path", "") or "")
    return frozenset({str(folder), folder.name, name, recorded} - {""})
