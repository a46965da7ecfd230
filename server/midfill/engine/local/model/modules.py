"""transformers' own modules: for architectures that read.py does not know, for training, and as a reference in tests.

In a number format of ours, every linear layer and embedding is replaced by one that holds a packing (formats.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as transformers_logging

from midfill.engine.local.model.decoder import Embedding, Linear
from midfill.engine.local.model.formats import Float, Format, Stored
from midfill.engine.local.model.int8 import SCALE_SUFFIX
from midfill.engine.local.store.checkpoint import Checkpoint
from midfill.engine.local.store.safetensors_reader import Progress
from midfill.types import MidfillError

# Layers that read the same input are one product: fewer calls, and none so narrow that oneDNN's threads cost more than
# the work (a product 128 wide took ten times as long as one 1152 wide).
FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class PackedLinear(nn.Linear):
    """A linear layer whose packing may be shared with its neighbours: the first one
    called with an input computes all.

    It takes nothing from nn.Linear but the name, by which peft knows a layer that it can adapt.
    """

    def __init__(self, linear: Linear, index: int, dtype: torch.dtype, device: torch.device) -> None:
        nn.Module.__init__(self)
        self.linear, self.index = linear, index
        self.in_features, self.out_features = linear.in_features, linear.sizes[index]
        # For code that asks for its dtype or device.
        self.weight: Any = torch.empty(0, dtype=dtype, device=device)
        self.bias: Any = None
        self._shared: dict[str, Any] = {"input": None} if index == 0 else {}

    def share(self, first: PackedLinear) -> None:
        """Take what ``first``, the first layer of the same packing, computes for all of them."""
        self._shared = first._shared

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., in_features) -> (..., out_features)."""
        shared = self._shared
        if shared.get("input") is not x:
            y = self.linear(x.reshape(-1, x.shape[-1])).to(x.dtype).view(*x.shape[:-1], -1)
            shared["input"], shared["parts"] = x, torch.split(y, self.linear.sizes, dim=-1)
        part: torch.Tensor = shared["parts"][self.index]
        if self.index == len(self.linear.sizes) - 1:
            shared.clear()
        return part


class PackedEmbedding(nn.Module):
    """An embedding that holds a packing."""

    def __init__(self, embedding: Embedding, width: int) -> None:
        super().__init__()
        self.embedding, self.embedding_dim = embedding, width
        self.num_embeddings = embedding.num_embeddings

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: (...) -> (..., embedding_dim)."""
        return self.embedding(ids)


def read_config(folder: Path, content: dict[str, Any]) -> Any:
    """Return transformers' configuration of the model in ``folder`` from the ``content`` of its
    config.json. Raises MidfillError."""
    content = {key: value for key, value in content.items() if key != "auto_map"}  # auto_map names code in the folder
    try:
        kind = content.pop("model_type")
        return AutoConfig.for_model(kind, **content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MidfillError(
            f"{folder / 'config.json'} does not describe a model that transformers knows",
            "midfill never runs code that comes with a model",
        ) from error


def build(
    config: Any, checkpoint: Checkpoint, form: Format, attention: str, progress: Progress
) -> tuple[PreTrainedModel, int]:  # fmt: skip
    """Return the model with weights in ``form``, and their number.

    ``attention``: a name in transformers' attention interface. Raises MidfillError, and RuntimeError, ValueError,
    KeyError or TypeError if the weights do not fit ``config``.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with weightless_layers():
        model = AutoModelForCausalLM.from_config(config, dtype=form.dtype, attn_implementation=attention)
    if not isinstance(form, Float):
        parameters = _install(model, checkpoint, form, progress)
    elif _names(model, checkpoint) | _tied(model) == set(model.state_dict()):
        parameters = _fill(model, checkpoint, form, progress)
    else:  # names of an older layout, which transformers translates
        model = _from_state(model, checkpoint, form, attention, progress)
        parameters = sum(parameter.numel() for parameter in model.parameters())
    model = model.to(form.device)  # everything that is not a weight
    assert isinstance(model, PreTrainedModel)
    return model, parameters


@contextlib.contextmanager
def weightless_layers() -> Iterator[None]:
    """Inside this context, linear layers and embeddings are made without memory; everything else is real."""
    kinds: tuple[Any, ...] = (nn.Linear, nn.Embedding)
    originals = [(kind, kind.__init__, kind.reset_parameters) for kind in kinds]

    def on_meta(original: Any) -> Any:
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **{**kwargs, "device": "meta"})

        return init

    for kind, init, _ in originals:
        kind.__init__ = on_meta(init)
        kind.reset_parameters = lambda self: None  # random numbers without memory: torch imports its compiler for them
    try:
        yield
    finally:
        for kind, init, reset in originals:
            kind.__init__, kind.reset_parameters = init, reset


def _fill(model: Any, checkpoint: Checkpoint, form: Float, progress: Progress) -> int:
    """Put each tensor in its place as it is read; return the number of weights."""
    parameters, names = 0, _names(model, checkpoint)
    for name, tensor in checkpoint.tensors(progress):
        if name not in names and not tensor.any():
            continue
        parameters += tensor.numel()
        owner, _, leaf = name.rpartition(".")
        module, dtype = model.get_submodule(owner), form.dtype if tensor.is_floating_point() else tensor.dtype
        if getattr(module, leaf).shape != tensor.shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}")
        placed = tensor.to(form.device, dtype, copy=True)
        is_weight = isinstance(getattr(module, leaf), nn.Parameter)
        setattr(module, leaf, nn.Parameter(placed, requires_grad=False) if is_weight else placed)
    model.tie_weights()
    return parameters


def _names(model: Any, checkpoint: Checkpoint) -> set[str]:
    """Return the names of the tensors that the model has a place for, and of those that should have one."""
    return set(checkpoint.shapes) - (checkpoint.spare - set(model.state_dict()))


def _tied(model: Any) -> set[str]:
    """Return a set of the head's name if it shares the embedding's weights, else an empty set."""
    is_tied = getattr(model.config.get_text_config(), "tie_word_embeddings", False)
    return {f"{_path(model, model.get_output_embeddings())}.weight"} if is_tied else set()


def _path(model: nn.Module, wanted: Any) -> str:
    return next((path for path, module in model.named_modules() if module is wanted), "")


def _from_state(model: Any, checkpoint: Checkpoint, form: Float, attention: str, progress: Progress) -> Any:
    """Return the model as transformers loads it: the weights are in memory twice for a while."""
    state = {name: tensor.clone() for name, tensor in checkpoint.tensors(progress)}
    loaded, info = type(model).from_pretrained(
        None, config=model.config, state_dict=state, dtype=form.dtype, attn_implementation=attention,
        output_loading_info=True,
    )  # fmt: skip
    if wrong := [name for kind in ("missing", "unexpected", "mismatched") for name in sorted(info[f"{kind}_keys"])]:
        raise ValueError(", ".join(map(str, wrong[:3])))
    return loaded


def _install(model: Any, checkpoint: Checkpoint, form: Format, progress: Progress) -> int:
    """Replace linear layers and embeddings of ``model`` by packed ones as their weights are read;
    return the number of weights.

    A head without weights of its own takes the embedding's.
    """
    modules = dict(model.named_modules())
    embedding, head = _path(model, model.get_input_embeddings()), _path(model, model.get_output_embeddings())
    is_tied = head != "" and f"{head}.weight" not in checkpoint.shapes
    groups = _groups(modules, checkpoint)
    parameters, plain = 0, dict[str, torch.Tensor]()
    for paths, found in checkpoint.groups(groups, progress):
        parameters += sum(t.numel() for name, t in found.items() if not name.endswith(SCALE_SUFFIX))
        if not all(_is_packed(modules.get(path)) for path in paths):
            plain |= {
                name: t.to(form.device, form.dtype if t.is_floating_point() else t.dtype, copy=True)
                for name, t in found.items()
            }
            continue
        weights = [Stored(found[f"{path}.weight"], found.get(f"{path}.weight{SCALE_SUFFIX}")) for path in paths]
        _check_shapes(paths, weights, modules)
        if isinstance(modules[paths[0]], nn.Embedding):
            shared = None
            if is_tied and paths == (embedding,):
                shared = form.linear((head,), weights, [None])
                _put(model, (head,), shared, form)
            factor = float(getattr(modules[paths[0]], "scalar_embed_scale", 1.0))
            packed = form.embedding(weights[0], factor, shared)
            _replace(model, paths[0], PackedEmbedding(packed, weights[0].values.shape[1]))
        else:
            _put(model, paths, form.linear(paths, weights, [found.get(f"{path}.bias") for path in paths]), form)
    missing, unexpected = model.load_state_dict(plain, strict=False, assign=True)
    left = [path for path, module in model.named_modules() if type(module) in (nn.Linear, nn.Embedding)]
    if wrong := [*missing, *unexpected, *left]:
        raise ValueError(", ".join(wrong[:3]))
    return parameters


def _groups(modules: dict[str, nn.Module], checkpoint: Checkpoint) -> dict[str, tuple[str, ...]]:
    """Return, by tensor name, the paths of the layers that are packed together."""
    fused: dict[str, tuple[str, ...]] = {}
    for path, parent in modules.items():
        linears = {name for name, child in parent.named_children() if type(child) is nn.Linear}
        for group in FUSED:
            if linears.issuperset(group):
                paths = tuple(f"{path}.{name}" for name in group)
                fused |= dict.fromkeys(paths, paths)
    return {name: fused.get(path := name.rpartition(".")[0], (path,)) for name in checkpoint.shapes}


def _is_packed(module: nn.Module | None) -> bool:
    """Whether ``module`` is a plain linear layer or embedding, or an embedding multiplied by a constant. Other
    subclasses compute something of their own."""
    scaled = isinstance(module, nn.Embedding) and hasattr(module, "scalar_embed_scale")
    return type(module) in (nn.Linear, nn.Embedding) or scaled


def _check_shapes(paths: tuple[str, ...], weights: list[Stored], modules: dict[str, nn.Module]) -> None:
    for path, weight in zip(paths, weights, strict=True):
        wanted = tuple(modules[path].weight.shape)  # type: ignore[arg-type]
        if tuple(weight.values.shape) != wanted:
            raise ValueError(f"{path} has shape {tuple(weight.values.shape)}")


def _put(model: nn.Module, paths: tuple[str, ...], linear: Linear, form: Format) -> None:
    layers = [PackedLinear(linear, index, form.dtype, form.device) for index in range(len(paths))]
    for path, layer in zip(paths, layers, strict=True):
        layer.share(layers[0])
        _replace(model, path, layer)


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, child = path.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
