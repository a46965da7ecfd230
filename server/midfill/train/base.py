"""The base for training: loaded as transformers does it, its weights frozen, with a PEFT LoRA on top."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer

from midfill.engine.local.forward.foreign import adding
from midfill.engine.local.lora.adapter import Adapter, LoraPair
from midfill.engine.local.model import int8_kernels
from midfill.engine.local.model.load import LoadedModel, load, pick_device, pick_floats, read_plain_config
from midfill.engine.local.model.read import architecture
from midfill.engine.local.store.embedded import Progress
from midfill.engine.local.store.models import ModelSource
from midfill.engine.local.store.packed_checkpoint import packing_of
from midfill.train.adapted_linear import compute_beside, stack
from midfill.train.dropout import use_windows
from midfill.train.steps import computes_in_sixteen_bits
from midfill.types import MidfillError

# The source that the authors of the GGUF file name.
EMBEDDED_HUB_ID = "Qwen/Qwen2.5-Coder-0.5B-Instruct"
# Linear layers, by the names that nearly all decoder models give them.
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
OTHER_TARGETS = ("c_attn", "c_proj", "c_fc", "qkv_proj", "gate_up_proj")


@dataclass(frozen=True, slots=True)
class Lora:
    """The adapter's shape. The defaults are those of the reference adapter."""

    rank: int = 4
    alpha: float = 16
    dropout: float = 0.1
    targets: tuple[str, ...] = ()  # empty: every linear layer of the blocks


def name_of(source: ModelSource) -> str:
    """Return the base that the adapter names: the one that the reference snippet loads."""
    if source.kind == "embedded":
        return EMBEDDED_HUB_ID
    return source.hub_id or str(source.path or source.name)


def load_base(folder: Path, name: str, device: str, progress: Progress, *, quantise: bool = False) -> LoadedModel:
    """Return the frozen base in ``folder``, in the ``number_format`` for the device or (on a GPU) in
    four bits. Raises MidfillError."""
    target = pick_device(device)
    if quantise:
        return _load_quantised(folder, name, target, progress)
    chosen = number_format(folder, target)
    loaded = load(folder, name, device=str(target), dtype=chosen, progress=progress, modules=True)
    if chosen == "int8":
        from midfill.train.int8_linear import pass_gradients  # needs numba

        pass_gradients(loaded.model)
    elif target.type == "cpu" and chosen == "bfloat16":  # float32 was not measured
        stack(loaded.model)
    return loaded


def number_format(folder: Path, device: torch.device) -> str:
    """Return the format of the weights that are trained upon: floats, or int8 where our own products were measured to
    be faster (docs/log.md, 2026-12-01): on CPUs with AVX2 and without AVX-512, for models that the engine reads itself.
    Raises MidfillError."""
    floats = pick_floats(device)
    if device.type != "cpu" or floats != "float32" or torch.backends.cpu.get_cpu_capability() != "AVX2":
        return floats
    is_ours = int8_kernels.best() not in (None, int8_kernels.OneDnn)
    return "int8" if is_ours and architecture(read_plain_config(folder)) is not None else floats


def _load_quantised(folder: Path, name: str, device: torch.device, progress: Progress) -> LoadedModel:
    """Return QLoRA's base: four-bit NormalFloat with double quantisation (Dettmers et al. 2023, arXiv:2305.14314).

    Parts that are not quantised stay in bfloat16, and so do the activations between the layers: PEFT's preparation for
    k-bit training would convert an embedding of 1.6 GB and every activation after it to float32.
    """
    from midfill.tokenizer import CodeTokenizer

    if device.type != "cuda":
        raise MidfillError("a base in four bits needs a CUDA device", "leave --quantise out")
    if packing_of(read_plain_config(folder)) is not None:
        raise MidfillError(f"the weights of {name} are quantised already", "leave --quantise out, or name its floats")
    progress("loading", 0.0)
    try:
        model = quantised_model(folder, device.index or 0)
    except ImportError as error:
        raise MidfillError("a base in four bits needs bitsandbytes", "pip install 'midfill[gpu]'") from error
    tokenizer = CodeTokenizer.from_file(folder / "tokenizer.json")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return LoadedModel(name, folder, model, tokenizer, device, "nf4", parameters, frozenset({name}))


def quantised_model(folder: Path, place: int | str) -> Any:
    """Return transformers' model with frozen weights in four bits, on the CUDA device number ``place``. Raises
    ImportError if bitsandbytes is missing."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    model = AutoModelForCausalLM.from_pretrained(
        folder,
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        ),
        device_map={"": place}, dtype=torch.bfloat16, use_safetensors=True, trust_remote_code=False,
    )  # fmt: skip
    return model.requires_grad_(False)


def with_lora(
    loaded: LoadedModel, lora: Lora, base_name: str, seed: int, *, checkpointing: bool = False,
    start: Adapter | None = None,
) -> PeftModel:  # fmt: skip
    """Return ``loaded`` with an adapter of float32 weights: a fresh one, or ``start`` to continue from.

    Raises MidfillError if the targets are missing, or ``start`` has another shape.
    """
    model = loaded.model
    present = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    wanted = lora.targets or tuple(name for name in (*TARGETS, *OTHER_TARGETS) if name in present)
    missing = [name for name in wanted if name not in present]
    if missing or not wanted:
        raise MidfillError(
            f"the base has no linear layers {', '.join(missing) or 'of a known name'}",
            f"--targets: some of {', '.join(sorted(present - {'lm_head'}))}",
        )
    torch.manual_seed(seed)
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(wanted),
        task_type="CAUSAL_LM", bias="none",
    )  # fmt: skip
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    adapted = get_peft_model(model, config)
    if loaded.device.type == "cpu":
        use_windows(adapted)
        compute_beside(adapted)
    if computes_in_sixteen_bits(model, loaded.device):
        for module in adapted.modules():
            if isinstance(module, BaseTunerLayer):
                module.cast_input_dtype_enabled = False  # no float32 copy of a layer's input
    adapted.peft_config["default"].base_model_name_or_path = base_name
    assert isinstance(adapted, PeftModel)
    if start is not None:
        _begin_from(adapted, start, lora)
    return adapted


def freeze(model: Any, under: Adapter) -> None:
    """Let ``model`` compute with ``under`` from now on, as if it were in its weights: it is not trained and not saved.

    It is not merged into them, since bfloat16 and four bits would round it away, and an engine does not merge it.
    """
    modules = dict(model.named_modules())
    for path, pair in under.pairs.items():
        device = modules[path].weight.device
        modules[path].register_forward_hook(adding(LoraPair(pair.a.to(device), pair.b.to(device), pair.scale)))


def _begin_from(adapted: PeftModel, start: Adapter, lora: Lora) -> None:
    """Copy the weights of ``start``, which was checked against this base."""
    layers = {name: module for name, module in adapted.get_base_model().named_modules() if hasattr(module, "lora_A")}
    for path, pair in start.pairs.items():
        layer: Any = layers.get(path)
        if layer is None or len(pair.a) != lora.rank or pair.scale != lora.alpha / lora.rank:
            raise MidfillError(
                f"training cannot continue from the adapter {start.name}: {path} has another rank, scale or place",
                "use --start none to begin with a fresh one",
            )
        with torch.no_grad():
            layer.lora_A["default"].weight.copy_(pair.a)
            layer.lora_B["default"].weight.copy_(pair.b)
