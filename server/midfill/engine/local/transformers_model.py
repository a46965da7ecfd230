"""A prepared folder into a model of transformers' modules, for training and for all that bare.py does not build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from midfill.engine.local import gpu_formats, int8, module_attention
from midfill.engine.local.load import pick_floats, read_plain_config
from midfill.engine.local.models import float_files, weight_files
from midfill.engine.local.weights import Progress, read_files
from midfill.types import MidfillError


def build(folder: Path, chosen: str, target: torch.device, progress: Progress) -> tuple[PreTrainedModel, int]:
    """The model in ``folder`` with weights in the format ``chosen``, and their number.

    Raises MidfillError, and RuntimeError, ValueError, KeyError or TypeError where the weights do not fit its
    config.json.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    config = read_config(folder)
    if chosen in ("int8", "int4") and target.type != "cpu":
        return build_quantised(folder, config, chosen, target, progress)
    if chosen in ("int8", "int4"):
        return _build_int8(folder, config, 8 if chosen == "int8" else 4, progress)
    wanted = getattr(torch, chosen)
    with float_files(folder, progress) as files:
        weights = read_files(folder, files, target, wanted, progress)
    progress("building the model", 0.0)
    model = _build(config, weights, wanted).to(target)
    return model, sum(parameter.numel() for parameter in model.parameters())


def build_quantised(
    folder: Path, config: Any, form: str, target: torch.device, progress: Progress
) -> tuple[PreTrainedModel, int]:
    """The model with ``form`` weights on a GPU, file by file, and their number."""
    ready = folder / int8.FILE
    if form == "int8" and ready.is_file():
        return _build_from([ready], folder, config, form, target, progress)
    with float_files(folder, progress) as files:
        return _build_from(files, folder, config, form, target, progress)


def _build_from(
    files: list[Path], folder: Path, config: Any, form: str, target: torch.device, progress: Progress
) -> tuple[PreTrainedModel, int]:
    builder = gpu_formats.Builder(config, form, target, getattr(torch, pick_floats(target)))
    cpu = torch.device("cpu")
    if not files:
        read_files(folder, files, cpu, None, progress)  # says why
    for number, file in enumerate(files):

        def on_part(stage: str, fraction: float, n_done: int = number) -> None:
            progress(stage, (n_done + fraction) / len(files))

        builder.add(read_files(folder, [file], cpu, None, on_part).items())
    progress("building the model", 0.0)
    return builder.finish(), builder.parameters


def _build_int8(folder: Path, config: Any, bits: int, progress: Progress) -> tuple[PreTrainedModel, int]:
    """The model with weights of ``bits`` bits, from the prepared ones or quantised here, and their number."""
    cpu, ready = torch.device("cpu"), folder / int8.FILE
    files = [ready] if ready.is_file() else weight_files(folder)
    state = read_files(folder, files, cpu, None, progress)
    if not int8.is_quantised_state(state):
        progress("quantising", 0.0)
        state = int8.quantise_state(state, skeleton(config))
    progress("building the model", 0.0)
    parameters = int8.count(state)
    with int8.weightless_linears():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation=module_attention.NAME)
    int8.install(model, state, bits=bits)
    assert isinstance(model, PreTrainedModel)
    return model, parameters


def _build(config: Any, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> PreTrainedModel:
    kind: Any = type(skeleton(config))
    model, info = kind.from_pretrained(
        None,
        config=config,
        state_dict=weights,
        dtype=dtype,
        attn_implementation=module_attention.NAME,
        output_loading_info=True,
    )
    wrong = sorted(info["missing_keys"]) + sorted(info["unexpected_keys"]) + sorted(map(str, info["mismatched_keys"]))
    if wrong:
        raise ValueError(", ".join(wrong[:3]))
    assert isinstance(model, PreTrainedModel)
    return model


def skeleton(config: Any) -> torch.nn.Module:
    """The modules without weights."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert isinstance(model, torch.nn.Module)
    return model


def read_config(folder: Path) -> Any:
    """transformers' configuration of the model in ``folder``. Raises MidfillError."""
    content = read_plain_config(folder)
    try:
        if "auto_map" in content:  # names code to be run from the folder
            content.pop("auto_map")
        kind = content.pop("model_type")
        return AutoConfig.for_model(kind, **content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MidfillError(
            f"{folder / 'config.json'} does not describe a model that transformers knows",
            "midfill never runs code that comes with a model",
        ) from error
