"""GGUF to a folder of safetensors: once, so that every later start loads in seconds.

Numbers become bfloat16 (a quantised weight's own error is far above bfloat16's rounding). Names, configuration and the
tokenizer go through transformers' GGUF support, so every architecture it knows works.
"""

from __future__ import annotations

import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerFast
from transformers.integrations import GGUF_CONFIG_DEFAULTS_MAPPING, GGUF_CONFIG_MAPPING
from transformers.integrations.gguf import GGUF_TOKENIZER_MAPPING
from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

from midfill.engine.local import int8
from midfill.engine.local.embedded import Progress
from midfill.engine.local.gguf_file import GgufFile, GgufTensor
from midfill.engine.local.models import write_index
from midfill.types import MidfillError

SHARD_BYTES = 2 << 30
# Files that hold the embedding twice, quantised differently (a tied model that was made untied by the converter).
# Within this relative error the two are the same matrix, and the one with the smaller error serves for both.
TIED_BELOW = 0.1


def convert_gguf(file: Path, out: Path, progress: Progress) -> dict[str, Any]:
    """Write ``file`` into the folder ``out``; returns figures for the manifest. Raises MidfillError."""
    progress("reading", 0.0)
    source = GgufFile(file)
    try:
        return _convert(source, out, progress)
    except (
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
    ) as error:  # from transformers' own reading
        reason = f"{type(error).__name__}: {str(error)[:100]}"
        raise MidfillError(
            f"{file.name} cannot be converted ({reason})", "use the model's safetensors folder or hub id"
        ) from error


def _convert(source: GgufFile, out: Path, progress: Progress) -> dict[str, Any]:
    config, parameters = _config(source)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    processor = TENSOR_PROCESSORS.get(source.architecture, TensorProcessor)(config=parameters)
    names = get_gguf_hf_weights_map(model, processor)
    tensors = _tensors(source, names, processor, progress)
    if _is_tied(tensors):
        tensors["model.embed_tokens.weight"] = tensors.pop("lm_head.weight")
        config.tie_word_embeddings = True
    _check(model, tensors, tied=bool(config.tie_word_embeddings))
    progress("writing", 0.0)
    _write(tensors, out)
    figures = {"architecture": source.architecture, "parameters": sum(t.numel() for t in tensors.values())}
    if int8.is_supported():
        progress("quantising", 0.0)
        _save(int8.quantise_state(tensors, model), out / int8.FILE)
    config.architectures = [type(model).__name__]
    config.dtype = "bfloat16"
    config.save_pretrained(out)
    progress("writing the tokenizer", 0.9)
    _write_tokenizer(source, out)
    progress("writing", 1.0)
    return figures


def _config(source: GgufFile) -> tuple[PretrainedConfig, dict[str, Any]]:
    arch = source.architecture
    renames = GGUF_CONFIG_MAPPING.get(arch)
    if renames is None:
        raise MidfillError(
            f"{source.file.name} has architecture {arch!r}, which transformers does not read from GGUF",
            "use the model's safetensors folder or hub id",
        )
    parameters: dict[str, Any] = dict(GGUF_CONFIG_DEFAULTS_MAPPING.get(arch, {}))
    for key, value in source.metadata.items():
        prefix, _, rest = key.partition(".")
        if prefix == arch and (name := renames.get(rest)) is not None and name != -1:
            parameters[name] = value
    tokens = source.metadata.get("tokenizer.ggml.tokens", [])
    parameters.setdefault("vocab_size", len(tokens))
    for name in ("bos", "eos", "padding"):
        if (value := source.metadata.get(f"tokenizer.ggml.{name}_token_id")) is not None:
            parameters[f"{'pad' if name == 'padding' else name}_token_id"] = value
    parameters["tie_word_embeddings"] = all(tensor.name != "output.weight" for tensor in source.tensors)
    model_type = {"gemma3": "gemma3_text", "gemma4": "gemma4_text"}.get(arch, arch)
    return AutoConfig.for_model(model_type, **parameters), parameters


def _write_tokenizer(source: GgufFile, out: Path) -> None:
    renames = GGUF_TOKENIZER_MAPPING["tokenizer"]
    values = {
        name: source.metadata[f"tokenizer.{key}"]
        for key, name in renames.items()
        if f"tokenizer.{key}" in source.metadata
    }
    backend, _ = convert_gguf_tokenizer(source.architecture, values)
    special = {}
    for name in ("bos", "eos"):
        token_id = source.metadata.get(f"tokenizer.ggml.{name}_token_id")
        if token_id is not None:
            special[f"{name}_token"] = values["tokens"][token_id]
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(str(out))


def _tensors(source: GgufFile, names: dict[str, str], processor: Any, progress: Progress) -> dict[str, torch.Tensor]:
    """Every tensor in bfloat16 by its transformers name. numpy and torch both free the GIL: two threads pay."""
    total = sum(tensor.n_bytes for tensor in source.tensors)
    done = 0

    def convert(tensor: GgufTensor) -> tuple[str, torch.Tensor] | None:
        result = processor.process(
            weights=source.values(tensor), name=tensor.name, tensor_key_mapping=names, parsed_parameters={"tensors": {}}
        )
        if result.name not in names:
            return None
        return names[result.name], torch.tensor(result.weights).to(torch.bfloat16).contiguous()

    tensors: dict[str, torch.Tensor] = {}
    with ThreadPoolExecutor(2) as pool:
        for tensor, converted in zip(source.tensors, pool.map(convert, source.tensors), strict=True):
            if converted is not None:
                tensors[converted[0]] = converted[1]
            done += tensor.n_bytes
            progress("converting", done / total)
    return tensors


def _is_tied(tensors: dict[str, torch.Tensor]) -> bool:
    embedding, head = tensors.get("model.embed_tokens.weight"), tensors.get("lm_head.weight")
    if embedding is None or head is None or embedding.shape != head.shape:
        return False
    rows = slice(0, embedding.shape[0], max(1, embedding.shape[0] // 4096))
    a, b = embedding[rows].float(), head[rows].float()
    return float((a - b).norm() / b.norm()) < TIED_BELOW


def _check(model: torch.nn.Module, tensors: dict[str, torch.Tensor], *, tied: bool) -> None:
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if tied:
        expected.pop("lm_head.weight", None)
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        raise MidfillError(
            f"the GGUF file does not fit its architecture: {', '.join(wrong[:3])}", "fetch the file again"
        )


def _save(tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Raises OSError where the disk does not take it; safetensors tells that in a kind of its own."""
    try:
        save_file(tensors, file, metadata={"format": "pt"})
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        number = int(code[1]) if code else errno.EIO
        raise OSError(number, os.strerror(number), str(file)) from error


def _write(tensors: dict[str, torch.Tensor], out: Path) -> None:
    shards: list[dict[str, torch.Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if size and size + tensor.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes
    where: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        _save(shard, out / file)
        where |= dict.fromkeys(shard, file)
    write_index(out, where)
