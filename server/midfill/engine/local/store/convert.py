"""Converts GGUF to a folder of safetensors, once, so that every later start loads in seconds.

Numbers become bfloat16 (a quantised weight's own error is far above bfloat16's rounding), and int8 if the CPU serves
that. Names, configuration and the tokenizer go through transformers' GGUF support, so every architecture it knows
works. Tensors are read, converted and written in pieces: a model is never in memory as a whole.
"""

from __future__ import annotations

import collections
import contextlib
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerFast
from transformers.integrations import GGUF_CONFIG_DEFAULTS_MAPPING, GGUF_CONFIG_MAPPING
from transformers.integrations.gguf import GGUF_TOKENIZER_MAPPING
from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

from midfill.engine.local.model import int8
from midfill.engine.local.store.embedded import Progress
from midfill.engine.local.store.gguf_file import GgufFile, GgufTensor
from midfill.engine.local.store.manifest import INT8, write_index
from midfill.engine.local.store.safetensors_writer import SafetensorsWriter
from midfill.types import MidfillError

SHARD_BYTES = 2 << 30
PIECE = 2 << 20  # numbers converted at once: in float32, with their intermediate values, they fit a cache
AHEAD = 4  # most pieces converted but not written yet
# Tensors whose rows no architecture changes or moves.
PLAIN = frozenset({"token_embd", "output", "ffn_gate", "ffn_up", "ffn_down"})
# Some files hold the embedding twice, quantised differently (the converter untied a tied model). Within this relative
# error the two are the same matrix, and the one with the smaller error serves for both.
TIED_BELOW = 0.1


def convert_gguf(file: Path, out: Path, progress: Progress, *, floats: bool = False) -> dict[str, Any]:
    """Write ``file`` into the folder ``out``: the weights as this CPU serves them, and with ``floats`` as floats too.

    Returns figures for the manifest. Raises MidfillError, and OSError if the disk cannot hold them.
    """
    with _readable(file, progress) as source:
        model = _GgufModel(source)
        in_int8 = int8.is_supported()
        model.write(out, progress, floats=floats or not in_int8, in_int8=in_int8)
        model.config.save_pretrained(out)
        progress("writing the tokenizer", 0.9)
        _write_tokenizer(source, out)
        progress("writing", 1.0)
        return {"architecture": source.architecture, "parameters": model.parameters}


def write_floats(file: Path, out: Path, progress: Progress) -> None:
    """Write only the weights of ``file``, as floats, into the folder ``out``. Raises as convert_gguf."""
    with _readable(file, progress) as source:
        _GgufModel(source).write(out, progress, floats=True, in_int8=False)


@contextlib.contextmanager
def _readable(file: Path, progress: Progress) -> Iterator[GgufFile]:
    progress("reading", 0.0)
    source = GgufFile(file)
    try:
        yield source
    except (
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
    ) as error:  # errors of transformers' own reading
        reason = f"{type(error).__name__}: {str(error)[:100]}"
        raise MidfillError(
            f"{file.name} cannot be converted ({reason})", "use the model's safetensors folder or hub id"
        ) from error


class _GgufModel:
    """The content of a GGUF file, by transformers' names."""

    def __init__(self, source: GgufFile) -> None:
        self._source = source
        self.config, parameters = _config(source)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(self.config)
        self._processor = TENSOR_PROCESSORS.get(source.architecture, TensorProcessor)(config=parameters)
        self._names = _names_of(model, self._processor, source)
        self._tensors = list(source.tensors)
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        if self._is_tied():
            self._tensors = [tensor for tensor in self._tensors if tensor.name != "token_embd.weight"]
            self._names["output.weight"] = "model.embed_tokens.weight"
            self.config.tie_word_embeddings = True
        if self.config.tie_word_embeddings:
            shapes.pop("lm_head.weight", None)
        self._shapes = shapes
        kinds = (nn.Linear, nn.Embedding)  # a subclass computes something of its own
        self._quantised = {f"{path}.weight" for path, module in model.named_modules() if type(module) in kinds} & set(
            shapes
        )
        self.parameters = sum(math.prod(shape) for shape in shapes.values())
        self.config.architectures = [type(model).__name__]
        self.config.dtype = "bfloat16"

    def write(self, out: Path, progress: Progress, *, floats: bool, in_int8: bool) -> None:
        """Write the weights as files into ``out``."""
        with contextlib.ExitStack() as stack:
            sinks: list[Callable[[str, torch.Tensor], None]] = []
            writers: list[SafetensorsWriter] = []
            if floats:
                where = self._shards()
                layouts = {
                    file: {n: (torch.bfloat16, self._shapes[n]) for n, f in where.items() if f == file}
                    for file in where.values()
                }
                files = {
                    file: stack.enter_context(SafetensorsWriter(out / file, layout)) for file, layout in layouts.items()
                }
                sinks.append(lambda name, values: files[where[name]].add(name, values))
                writers += files.values()
                write_index(out, where)
            if in_int8:
                writer = stack.enter_context(SafetensorsWriter(out / INT8, self._int8_layout()))
                sinks.append(lambda name, values: self._add_int8(writer, name, values))
                writers.append(writer)
            for name, values in self._pieces(progress):
                for sink in sinks:
                    sink(name, values)
            if missing := [name for writer in writers for name in writer.missing]:
                raise _unfit(missing)

    def _shards(self) -> dict[str, str]:
        """Return the file that each tensor of floats goes to."""
        shards: list[list[str]] = [[]]
        size = 0
        for name, shape in self._shapes.items():
            n_bytes = 2 * math.prod(shape)
            if size and size + n_bytes > SHARD_BYTES:
                shards.append([])
                size = 0
            shards[-1].append(name)
            size += n_bytes
        if len(shards) == 1:
            return dict.fromkeys(shards[0], "model.safetensors")
        called = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
        return {name: file for file, shard in zip(called, shards, strict=True) for name in shard}

    def _int8_layout(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        layout: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
        for name, shape in self._shapes.items():
            layout[name] = (torch.int8 if name in self._quantised else torch.float32, shape)
            if name in self._quantised:
                layout[name + int8.SCALE_SUFFIX] = (torch.float32, shape[:1])
        return layout

    def _add_int8(self, writer: SafetensorsWriter, name: str, values: torch.Tensor) -> None:
        if name in self._quantised:
            values, scale = int8.quantise(values)
            writer.add(name + int8.SCALE_SUFFIX, scale)
            writer.add(name, values)
        else:
            writer.add(name, values.float())

    def _pieces(self, progress: Progress) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every tensor in bfloat16 by its transformers name, in runs of rows. Two threads pay off, as numpy
        and torch both release the GIL."""
        total, done = sum(tensor.n_bytes for tensor in self._tensors), 0
        waiting: collections.deque[tuple[int, Future[tuple[str, torch.Tensor] | None]]] = collections.deque()
        with ThreadPoolExecutor(2) as pool:
            for tensor in self._tensors:
                for rows in self._runs(tensor):
                    share = tensor.n_bytes if rows is None else tensor.n_bytes * len(rows) // tensor.shape[0]
                    waiting.append((share, pool.submit(self._convert, tensor, rows)))
                    if len(waiting) > AHEAD:
                        n_bytes, future = waiting.popleft()
                        if (found := future.result()) is not None:
                            yield found
                        done += n_bytes
                        progress("converting", done / total)
            for _, future in waiting:
                if (found := future.result()) is not None:
                    yield found

    def _runs(self, tensor: GgufTensor) -> Iterator[range | None]:
        """Yield the runs of rows in which ``tensor`` is converted; None: as a whole, as
        its architecture may move rows."""
        is_plain = type(self._processor) is TensorProcessor or tensor.name.split(".")[-2] in PLAIN
        if len(tensor.shape) != 2 or not is_plain:
            yield None
            return
        n_rows = tensor.shape[0]
        step = max(1, PIECE // tensor.shape[1])
        for start in range(0, n_rows, step):
            yield range(start, min(start + step, n_rows))

    def _convert(self, tensor: GgufTensor, rows: range | None) -> tuple[str, torch.Tensor] | None:
        result = self._processor.process(
            weights=self._source.values(tensor, rows), name=tensor.name, tensor_key_mapping=self._names,
            parsed_parameters={"tensors": {}},
        )  # fmt: skip
        if result.name not in self._names:
            return None
        name, found = self._names[result.name], tuple(result.weights.shape)
        expected = self._shapes.get(name)
        if expected is None or (tensor.shape if rows is not None else found) != expected:
            raise _unfit([name])
        values = torch.from_numpy(np.ascontiguousarray(result.weights)).to(torch.bfloat16)
        return name, values

    def _is_tied(self) -> bool:
        """Whether the file holds one matrix twice."""
        by_name = {tensor.name: tensor for tensor in self._tensors}
        embedding, head = by_name.get("token_embd.weight"), by_name.get("output.weight")
        if embedding is None or head is None or embedding.shape != head.shape:
            return False
        step = max(1, embedding.shape[0] // 64)
        squared = [0.0, 0.0]
        for start in range(0, embedding.shape[0], step):
            rows = range(start, min(start + 64, embedding.shape[0]))
            a, b = (torch.from_numpy(self._source.values(tensor, rows)) for tensor in (embedding, head))
            squared[0] += float((a - b).square().sum())
            squared[1] += float(b.square().sum())
        return squared[0] < TIED_BELOW**2 * squared[1]


def _names_of(model: nn.Module, processor: Any, source: GgufFile) -> dict[str, str]:
    """Return transformers' names by those of the file. Searching the modules one by one takes seconds, so that is only
    done if the whole model does not know every tensor."""
    whole = SimpleNamespace(config=model.config, state_dict=model.state_dict, named_children=list)
    names: dict[str, str] = get_gguf_hf_weights_map(whole, processor)
    if all(tensor.name in names for tensor in source.tensors):
        return names
    return dict(get_gguf_hf_weights_map(model, processor))


def _unfit(names: list[str]) -> MidfillError:
    return MidfillError(f"the GGUF file does not fit its architecture: {', '.join(names[:3])}", "fetch the file again")


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
