"""Our LoRA is PEFT's LoRA; what does not fit is refused before it touches the model, and the old adapter stays."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.lora.adapter import Adapter, ResidentAdapters, read_adapter, read_alone, summed
from midfill.engine.local.lora.files import describe, digest_of
from midfill.engine.local.lora.targets import targets
from midfill.engine.local.model.load import LoadedModel
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.types import MidfillError
from tests.engine.made import load_foreign, load_tiny, save_tiny

CPU = torch.device("cpu")

EVERY_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
REFERENCE: dict[str, Any] = {"r": 4, "lora_alpha": 16, "lora_dropout": 0.1, "target_modules": EVERY_LINEAR}
IDS = torch.arange(24)[None] * 13 % 350
MODULE = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("gemma", tmp_path_factory.mktemp("models") / "tiny-gemma")


@pytest.fixture
def loaded(base_folder: Path) -> LoadedModel:
    return load_tiny(base_folder)


@pytest.fixture(scope="module")
def make_adapter(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that makes an adapter as PEFT saves it, with a B that is not zero."""

    def make(seed: int = 0, **settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("adapter")
        base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
        save_adapter(base, folder, seed, **settings)
        return folder

    return make


def save_adapter(base: Any, folder: Path, seed: int = 0, **settings: Any) -> None:
    torch.manual_seed(seed)
    model = get_peft_model(base, LoraConfig(**{**REFERENCE, "task_type": "CAUSAL_LM", **settings}))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)


def peft_logits(base_folder: Path, folder: Path, ids: torch.Tensor = IDS, dtype: torch.dtype = torch.float32) -> Any:
    """Return the logits of PEFT's own forward pass."""
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=dtype)
    model = PeftModel.from_pretrained(base, folder).eval()
    with torch.inference_mode():
        return model(input_ids=ids).logits


def our_logits(
    loaded: LoadedModel, residents: ResidentAdapters, name: str | None, ids: torch.Tensor = IDS
) -> torch.Tensor:
    return with_adapter(loaded, residents.adapters[name] if name is not None else None, ids)


def with_adapter(loaded: LoadedModel, adapter: Adapter | None, ids: torch.Tensor = IDS) -> torch.Tensor:
    """Return logits of shape (1, tokens, vocabulary)."""
    slot, listed = Slot(), ids[0].tolist()
    slot.begin(listed, None, None)
    with torch.inference_mode():
        (logits,) = Runner(loaded.model).forward([Rows(slot, listed, range(len(listed)), len(listed))], adapter)
    return logits[None]


def read(loaded: LoadedModel, folder: Path, name: str = "x") -> Any:
    return read_adapter(name, folder, loaded.model, loaded.base_names)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"r": 1},
        {"r": 64, "lora_alpha": 8},
        {"use_rslora": True},
        {
            "r": 8,
            "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 6},
            "alpha_pattern": {"q_proj": 3, "down_proj": 40},
        },
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
        {"target_modules": r".*layers\.[02]\.mlp\..*_proj"},
        {"target_modules": "all-linear"},
        {"init_lora_weights": "gaussian"},
    ],
)
def test_the_output_is_pefts(
    make_adapter: Callable[..., Path], base_folder: Path, loaded: LoadedModel, settings: dict[str, Any]
) -> None:
    folder = make_adapter(**settings)
    residents = ResidentAdapters(loaded.model)
    plain = our_logits(loaded, residents, None)
    residents.add(read(loaded, folder))
    ours = our_logits(loaded, residents, "x")
    torch.testing.assert_close(ours, peft_logits(base_folder, folder), atol=2e-4, rtol=1e-4)
    assert (ours - plain).abs().max() > 0.05  # it does something
    assert torch.equal(our_logits(loaded, residents, None), plain)
    residents.remove("x")
    assert torch.equal(our_logits(loaded, residents, None), plain)


def test_none_is_the_plain_base(make_adapter: Callable[..., Path], base_folder: Path, loaded: LoadedModel) -> None:
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32, attn_implementation="sdpa")
    with torch.inference_mode():
        wanted = base(input_ids=IDS).logits
    residents = ResidentAdapters(loaded.model)
    plain = our_logits(loaded, residents, None)
    torch.testing.assert_close(plain, wanted, atol=1e-4, rtol=1e-4)
    residents.add(read(loaded, make_adapter()))
    assert torch.equal(our_logits(loaded, residents, None), plain)


def test_adapters_take_turns(make_adapter: Callable[..., Path], base_folder: Path, loaded: LoadedModel) -> None:
    folders = {"one": make_adapter(1), "two": make_adapter(2, r=2, target_modules=["v_proj"])}
    residents = ResidentAdapters(loaded.model)
    for name, folder in folders.items():
        residents.add(read(loaded, folder, name))
    wanted = {name: peft_logits(base_folder, folder) for name, folder in folders.items()}
    for name in ("one", "two", "one", "two"):
        torch.testing.assert_close(our_logits(loaded, residents, name), wanted[name], atol=2e-4, rtol=1e-4)
    residents.remove("one")
    torch.testing.assert_close(our_logits(loaded, residents, "two"), wanted["two"], atol=2e-4, rtol=1e-4)


SUMMANDS: list[dict[str, Any]] = [
    {},
    {"r": 2, "lora_alpha": 3, "target_modules": ["v_proj", "down_proj"]},
    {"r": 24, "use_rslora": True, "target_modules": ["q_proj", "v_proj"]},
]


@pytest.mark.parametrize("n", [2, 3])
def test_a_sum_is_both_deltas_in_the_weights(
    make_adapter: Callable[..., Path], base_folder: Path, loaded: LoadedModel, n: int
) -> None:
    """Ranks, scales and layers differ; one pass over the joined ranks gives what PEFT gives when it merges them."""
    folders = [make_adapter(seed, **settings) for seed, settings in enumerate(SUMMANDS[:n])]
    adapter = summed("team+mine", [read(loaded, folder, str(at)) for at, folder in enumerate(folders)])
    model: Any = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    for folder in folders:
        model = PeftModel.from_pretrained(model, folder).merge_and_unload()
    with torch.inference_mode():
        expected = model.eval()(input_ids=IDS).logits
    ours = with_adapter(loaded, adapter)
    torch.testing.assert_close(ours, expected, atol=3e-4, rtol=2e-4)
    for part in folders:
        assert (ours - with_adapter(loaded, read(loaded, part))).abs().max() > 0.05
    assert (adapter.name, adapter.folders) == ("team+mine", tuple(folders))
    assert adapter.rank == sum({0: 4, 1: 2, 2: 24}[at] for at in range(n))


def test_a_sum_of_one_is_that_one_and_the_order_counts_in_the_digest(
    make_adapter: Callable[..., Path], loaded: LoadedModel
) -> None:
    a, b = (read(loaded, make_adapter(seed)) for seed in (1, 2))
    assert summed("x", [a]) is a
    assert len({a.digest, b.digest, summed("x", [a, b]).digest, summed("x", [b, a]).digest}) == 4
    assert summed("x", [a, b]).digest == digest_of([a.digest, b.digest]) == summed("y", [a, b]).digest


def test_read_without_a_model_it_is_the_same(make_adapter: Callable[..., Path], loaded: LoadedModel) -> None:
    folder = make_adapter(3, rank_pattern={"q_proj": 2}, use_rslora=True)
    alone, beside = read_alone(folder), read(loaded, folder)
    assert alone.digest == beside.digest
    assert {path: pair.scale for path, pair in alone.pairs.items()} == {p: o.scale for p, o in beside.pairs.items()}


def test_a_request_keeps_the_adapter_it_began_with(make_adapter: Callable[..., Path], loaded: LoadedModel) -> None:
    residents = ResidentAdapters(loaded.model)
    residents.add(read(loaded, make_adapter(1)))
    before = our_logits(loaded, residents, "x")
    began_with = residents.adapters["x"]
    residents.add(read(loaded, make_adapter(2)))
    assert not torch.allclose(our_logits(loaded, residents, "x"), before)
    assert torch.equal(with_adapter(loaded, began_with), before)


def test_a_folder_as_a_trainer_leaves_it(
    make_adapter: Callable[..., Path], loaded: LoadedModel, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(make_adapter(), tmp_path / "trained"))
    (folder / "training_args.bin").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    (folder / "trainer_state.json").write_text('{"epoch": 1}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "optimizer.pt").write_bytes(b"\x80")
    opened: list[str] = []
    hooked = {"on": True}

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if hooked["on"] and event == "open":
            opened.append(Path(str(arguments[0])).name)

    import sys

    sys.addaudithook(audit)
    try:
        read(loaded, folder)
    finally:
        hooked["on"] = False
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(opened)
    assert not {"training_args.bin", "optimizer.pt", "trainer_state.json", "tokenizer.json"} & set(opened)


@pytest.mark.parametrize(
    "name", ["tiny-gemma", "owner/Tiny-Gemma", "/models/tiny-gemma/", "x/tiny-gemma-instruct", None]
)
def test_names_of_the_same_base(
    make_adapter: Callable[..., Path], loaded: LoadedModel, tmp_path: Path, name: Any
) -> None:
    folder = Path(shutil.copytree(make_adapter(), tmp_path / "a"))
    _set(base_model_name_or_path=name)(folder)
    assert read(loaded, folder).rank == 4


def _set(**values: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        file = folder / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return damage


def _text(content: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / "adapter_config.json").write_text(content)

    return damage


def _tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors")

    return damage


def _fill(value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors[f"{MODULE}.lora_A.weight"][0, 0].fill_(value)


def _fifo(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    os.mkfifo(folder / "adapter_model.safetensors")


def _link_outside(folder: Path) -> None:
    moved = folder.parent / "outside.safetensors"
    (folder / "adapter_model.safetensors").rename(moved)
    (folder / "adapter_model.safetensors").symlink_to(moved)


def _truncate(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def _pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def _put(key: str, *shape: int, dtype: torch.dtype = torch.float32) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.__setitem__(key, torch.zeros(shape, dtype=dtype))


def _pair(module: str) -> Callable[[dict[str, torch.Tensor]], object]:
    """Return A and B of ``module``."""
    keys = [f"base_model.model.{module}.lora_{side}.weight" for side in "AB"]
    return lambda tensors: tensors.update({key: torch.zeros(4, 4) for key in keys})


REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "another base": (_set(base_model_name_or_path="google/codegemma-7b"), "trained on google/codegemma-7b, anoth"),
    "rank": (_set(r=8), "has shapes"),
    "rank too large": (_set(r=100_000), "rank 100000 is not"),
    "rank no number": (_set(r="4"), "rank 4 is not"),
    "rank true": (_set(r=True), "rank True is not"),
    "alpha infinite": (_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 1e999}'), "lora_alpha inf is not sensible"),
    "alpha huge": (_set(lora_alpha=1e308), "lora_alpha 1e.308 is not sensible"),
    "alpha zero": (_set(lora_alpha=0), "lora_alpha 0 is not sensible"),
    "alpha nan": (_set(lora_alpha=float("nan")), "lora_alpha nan is not sensible"),
    "alpha missing": (_set(lora_alpha=None), "lora_alpha None is not sensible"),
    "alpha true": (_set(lora_alpha=True), "lora_alpha True is not sensible"),
    "rslora no truth value": (_set(use_rslora="yes"), "use_rslora = yes is neither true nor false"),
    "rslora a number": (_set(use_rslora=1), "use_rslora = 1 is neither true nor false"),
    "alpha pattern true": (_set(alpha_pattern={"q_proj": True}), "not a sensible number"),
    "dora": (_set(use_dora=True), "use_dora = True is not supported"),
    "modules to save": (_set(modules_to_save=["lm_head"]), "modules_to_save = .* is not supported"),
    "bias": (_set(bias="all"), "bias = all is not supported"),
    "pissa": (_set(init_lora_weights="pissa_niter_16"), "init_lora_weights = pissa_niter_16 changes the base"),
    "init of odd kind": (_set(init_lora_weights=["x"]), "changes the base"),
    "replicated layers": (_set(layer_replication=[[0, 2]]), "layer_replication"),
    "another kind": (_set(peft_type="IA3"), "not a LoRA adapter"),
    "regex in the rank pattern": (_set(rank_pattern={"(a+)+$": 4}), "holds regular expressions"),
    "rank pattern of odd kind": (_set(rank_pattern=[1]), "holds regular expressions"),
    "rank pattern no number": (_set(rank_pattern={"q_proj": "4"}), "not a sensible number"),
    "alpha pattern huge": (_set(alpha_pattern={"q_proj": 1e300}), "not a sensible number"),
    "config no JSON": (_text("{"), "is not JSON"),
    "config no object": (_text("[]"), "not a LoRA adapter"),
    "config deep": (_text("[" * 100_000), "is not JSON"),
    "config bomb": (_text(" " * (2 << 20)), "is larger than 1 MiB"),
    "config missing": (lambda folder: (folder / "adapter_config.json").unlink(), "adapter_config.json is missing"),
    "weights missing": (_pickled, "adapter_model.safetensors is missing"),
    "weights a pipe": (_fifo, "is not a plain file in the folder"),
    "weights outside": (_link_outside, "is not a plain file in the folder"),
    "weights truncated": (_truncate, "not a valid safetensors file"),
    "weights empty": (_tensors(lambda tensors: tensors.clear()), "holds no weights"),
    "nan": (_tensors(_fill(float("nan"))), "holds NaN, infinity or"),
    "infinity": (_tensors(_fill(float("inf"))), "holds NaN, infinity or"),
    "integers": (_tensors(_put(f"{MODULE}.lora_A.weight", 4, 64, dtype=torch.int32)), "holds NaN, infinity or"),
    "shape of A": (_tensors(_put(f"{MODULE}.lora_A.weight", 4, 65)), "has shapes"),
    "shape of B": (_tensors(_put(f"{MODULE}.lora_B.weight", 63, 4)), "has shapes"),
    "no dimension": (_tensors(_put(f"{MODULE}.lora_A.weight")), "has shapes"),
    "a pair's half": (_tensors(lambda tensors: tensors.pop(f"{MODULE}.lora_B.weight")), "lacks lora_B"),
    "another tensor": (_tensors(_put("base_model.model.lm_head.weight", 2, 2)), "unexpected tensor"),
    "an embedding's": (_tensors(_put("base_model.model.model.embed_tokens.lora_A", 4, 352)), "unexpected tensor"),
    "twice": (_tensors(_put(f"{MODULE}.lora_A.default.weight", 4, 64)), "has two lora_A"),
    "unknown module": (
        _tensors(_pair("model.layers.9.q_proj")),
        "the model has no linear layer model.layers.9.q_proj",
    ),
    "no linear layer": (
        _tensors(_pair("model.norm")),
        "the model has no linear layer model.norm",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", REFUSALS)
def test_refused_and_the_old_one_stays(
    make_adapter: Callable[..., Path], loaded: LoadedModel, tmp_path: Path, damage: str
) -> None:
    residents = ResidentAdapters(loaded.model)
    residents.add(read(loaded, make_adapter()))
    before, plain = our_logits(loaded, residents, "x"), our_logits(loaded, residents, None)
    folder = Path(shutil.copytree(make_adapter(3), tmp_path / "new"))
    change, message = REFUSALS[damage]
    change(folder)
    with pytest.raises(MidfillError, match=message) as caught:
        residents.add(read(loaded, folder))
    assert caught.value.remedy
    assert str(folder) in str(caught.value) or "adapter new" in caught.value.message
    assert torch.equal(our_logits(loaded, residents, "x"), before)
    assert torch.equal(our_logits(loaded, residents, None), plain)


def test_the_facts_without_torch_are_the_engines(make_adapter: Callable[..., Path], loaded: LoadedModel) -> None:
    folder = make_adapter(target_modules=["q_proj", "down_proj"])
    facts, adapter = describe(folder), read(loaded, folder)
    assert (facts.digest, facts.parameters, facts.base) == (adapter.digest, adapter.parameters, adapter.base)
    assert (facts.rank, facts.alpha, facts.targets, facts.n_layers) == (4, 16.0, ("down_proj", "q_proj"), 6)
    assert facts.size == (folder / "adapter_model.safetensors").stat().st_size


@pytest.mark.parametrize("damage", ["config no JSON", "weights missing", "weights a pipe", "weights truncated"])
def test_what_cannot_be_described(make_adapter: Callable[..., Path], tmp_path: Path, damage: str) -> None:
    folder = Path(shutil.copytree(make_adapter(), tmp_path / "new"))
    REFUSALS[damage][0](folder)
    with pytest.raises(MidfillError, match="adapter new cannot be used"):
        describe(folder)


@pytest.mark.parametrize("rank", [4, 32])
def test_laid_out_for_the_short_way_it_is_the_same_and_held_once(
    make_adapter: Callable[..., Path], loaded: LoadedModel, rank: int
) -> None:
    """Layers with the same input are stacked; the pairs become parts of the stacks."""
    adapter = read(loaded, make_adapter(target_modules=["q_proj", "v_proj", "down_proj"], r=rank))
    path, sizes = "model.layers.1.self_attn", [64, 32, 32]
    paths = tuple(f"{path}.{name}" for name in ("q_proj", "k_proj", "v_proj"))
    x, y = torch.randn(5, 64), torch.randn(5, 128)
    pairs = [adapter.pairs.get(each) for each in paths]
    deltas = [pair.delta(x) if pair else torch.zeros(5, size) for pair, size in zip(pairs, sizes, strict=True)]
    expected = y + torch.cat(deltas, dim=1)
    torch.testing.assert_close(adapter.add_to(y.clone(), x, paths, sizes), expected)
    half = adapter.add_to(y.bfloat16(), x, paths, sizes)
    torch.testing.assert_close(half, (y.bfloat16().float() + expected - y).bfloat16())
    for each, delta in zip(paths, deltas, strict=True):
        if (pair := adapter.pairs.get(each)) is not None:
            torch.testing.assert_close(pair.delta(x), delta)
            assert pair.a.untyped_storage().data_ptr() == adapter.stacks[paths].a.untyped_storage().data_ptr()
    assert adapter.add_to(y, x, ("model.layers.1.mlp.up_proj",), [96]) is y


@pytest.mark.parametrize("rank", [4, 32])
def test_moved_to_another_device_each_weight_is_copied_once(
    make_adapter: Callable[..., Path], loaded: LoadedModel, rank: int
) -> None:
    """In the base's format; the pairs of a stack are parts of it there, so that nothing is held twice."""
    adapter = read(loaded, make_adapter(target_modules=["q_proj", "v_proj", "down_proj"], r=rank))
    for layer in range(3):
        paths = tuple(f"model.layers.{layer}.self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj"))
        adapter.stack(paths, [64, 32, 32])
    moved = adapter.to(CPU, torch.bfloat16)
    stacks = [stack for stack in moved.stacks.values() if stack is not None]
    assert len(stacks) == 3
    stacked = [t for stack in stacks for t in (stack.a, *(b for _, _, b in stack.blocks))]
    alone = [t for path, pair in moved.pairs.items() if "down_proj" in path for t in (pair.a, pair.b)]
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in stacked + alone}
    for pair in moved.pairs.values():
        assert {pair.a.dtype, pair.b.dtype} == {torch.bfloat16}
        assert {pair.a.untyped_storage().data_ptr(), pair.b.untyped_storage().data_ptr()} <= held.keys()
    assert sum(held.values()) == sum(t.numel() * 2 for t in stacked + alone)
    x, y = torch.randn(5, 64), torch.randn(5, 128)
    expected, found = (one.add_to(y.clone(), x, paths, [64, 32, 32]) - y for one in (adapter, moved))
    assert 0 < float((found - expected).norm()) < 0.02 * float(expected.norm())
    torch.testing.assert_close(moved.pairs[paths[2]].delta(x).float(), found[:, 96:], atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_modules": ["q_proj"]}, "has weights for .*, which target_modules does not name"),
        ({"target_modules": [*EVERY_LINEAR, "lm_head"]}, "names lm_head, for which it has no weights"),
        ({"target_modules": [*EVERY_LINEAR, "embed_tokens"]}, "names model.embed_tokens, for which it has no weights"),
        ({"target_modules": [f"x{name}" for name in EVERY_LINEAR]}, "does not name"),
        ({"target_modules": [name[1:] for name in EVERY_LINEAR]}, "does not name"),
        ({"target_modules": ["q_proj", "_proj"]}, "does not name"),
        ({"exclude_modules": ["v_proj"]}, "has weights for model.layers.0.self_attn.v_proj, which target"),
        ({"layers_to_transform": [0, 1]}, "has weights for model.layers.2"),
        ({"layers_to_transform": 2}, "has weights for model.layers.0"),
        ({"layers_to_transform": [0, 1, 2], "layers_pattern": "blocks"}, "does not name"),
        ({"target_modules": r".*\.(q|k|v|o)_proj"}, "has weights for model.layers.0.mlp.down_proj"),
        ({"target_modules": r".*_proj|lm_head"}, "names lm_head"),
        ({"target_modules": None}, "target_modules is neither a list of names nor an expression"),
        ({"target_modules": []}, "target_modules is neither"),
        ({"target_modules": [1]}, "target_modules is neither"),
        ({"target_modules": {"q_proj": 1}}, "target_modules is neither"),
        ({"target_modules": "all-linear", "layers_to_transform": [0]}, "go with a list"),
        ({"layers_pattern": "layers"}, "layers_pattern goes with layers_to_transform"),
        ({"layers_to_transform": ["0"]}, "not a list of numbers"),
        ({"target_modules": "("}, "is invalid or takes too long"),
        ({"target_modules": "(" * 20 + ")" * 20}, "nested deeper than 12"),
        ({"target_modules": "a|" * 600 + ".*_proj"}, "longer than 1000 characters"),
        ({"target_modules": "(([a-z._0-9]+)+)+!"}, "is invalid or takes too long"),
        ({"target_modules": "((((a{999}){999}){999}){999}){99}"}, "does not name"),
        ({"exclude_modules": "((.*)*)*!"}, "is invalid or takes too long"),
        ({"layers_to_transform": [0], "layers_pattern": "((.*)*)*!"}, "is invalid or takes too long"),
    ],
)
def test_targets_that_are_not_those_of_the_weights(
    make_adapter: Callable[..., Path], loaded: LoadedModel, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    folder = Path(shutil.copytree(make_adapter(), tmp_path / "a"))
    _set(**settings)(folder)
    with pytest.raises(MidfillError, match=message):
        read(loaded, folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": [*EVERY_LINEAR, "not_there"]},
        {"target_modules": "ALL-linear"},
        {"target_modules": r".*_proj"},
        {"target_modules": r"(?:.*?(?:layers).*?(?:self_attn|mlp).*?(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|"
                           r"down_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj)))"},
        {"layers_to_transform": [0, 1, 2], "layers_pattern": ["h", "layers"]},
        {"layers_to_transform": [0, 1, 2], "layers_pattern": "la.ers"},
        {"exclude_modules": ["lm_head"]},
        {"target_modules": [*EVERY_LINEAR, "lm_head"], "exclude_modules": "lm_.*"},
        {"layers_to_transform": []},
    ],
)  # fmt: skip
def test_targets_that_are(
    make_adapter: Callable[..., Path], loaded: LoadedModel, tmp_path: Path, settings: dict[str, Any]
) -> None:
    folder = Path(shutil.copytree(make_adapter(), tmp_path / "a"))
    _set(**settings)(folder)
    assert len(read(loaded, folder).pairs) == 21


def test_targets_are_pefts_own() -> None:
    """Row by row, they are those that PEFT's own function chooses."""
    from peft.tuners.tuners_utils import check_target_module_exists

    names = [f"model.layers.{i}.{block}" for i in range(12) for block in ("self_attn.q_proj", "mlp.up_proj", "mlp")]
    names += ["model.embed_tokens", "lm_head", "q_proj", "model.layers.1.experts.0.up_proj", "model.blocks.3.q_proj"]
    for config in (
        {"target_modules": ["q_proj"]},
        {"target_modules": ["q_proj", "mlp.up_proj", "lm_head"], "exclude_modules": ["lm_head"]},
        {"target_modules": ["model.layers.1.mlp.up_proj", "q_proj"], "layers_to_transform": [2, 11]},
        {"target_modules": ["up_proj"], "layers_to_transform": 1},
        {"target_modules": ["up_proj", "q_proj"], "layers_to_transform": [0, 3], "layers_pattern": "blocks"},
        {"target_modules": ["up_proj", "q_proj"], "layers_to_transform": [0], "layers_pattern": ["x", "experts"]},
        {"target_modules": r".*\.\d\..*_proj", "exclude_modules": r".*experts.*"},
        {"target_modules": r"q_proj"},
        {"target_modules": ["proj", "_proj", "layers.1.self_attn"]},
    ):
        peft = LoraConfig(**config)
        theirs = {name for name in names if check_target_module_exists(peft, name) is True
                  or isinstance(check_target_module_exists(peft, name), re.Match)}  # fmt: skip
        assert targets(config, names, []) == theirs, config


def test_a_dot_in_a_rank_pattern_is_pefts(
    make_adapter: Callable[..., Path], base_folder: Path, loaded: LoadedModel
) -> None:
    folder = make_adapter(rank_pattern={"q.proj": 2}, alpha_pattern={"self.attn.v_proj": 5})
    residents = ResidentAdapters(loaded.model)
    residents.add(read(loaded, folder))
    expected = peft_logits(base_folder, folder)
    torch.testing.assert_close(our_logits(loaded, residents, "x"), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.model
def test_the_output_is_pefts_on_the_embedded_model(embedded_folder: Path, tmp_path: Path) -> None:
    """Through transformers' modules. bfloat16 has eight bits, and the operations are the same in the same order, so
    nearly all numbers are the same."""
    loaded = load_tiny(embedded_folder, "bfloat16")
    ids = torch.tensor([loaded.tokenizer.encode(CODE)])
    save_for(embedded_folder, tmp_path / "adapter")
    loaded = dataclasses.replace(loaded, model=load_foreign(embedded_folder, "bfloat16"))
    adapter = read_adapter("x", tmp_path / "adapter", loaded.model, {str(embedded_folder)})
    plain, ours = (with_adapter(loaded, one, ids) for one in (None, adapter))
    theirs = peft_logits(embedded_folder, tmp_path / "adapter", ids, torch.bfloat16)
    assert (ours - plain).abs().max() > 1
    torch.testing.assert_close(ours, theirs, atol=0.1, rtol=0.02)


@pytest.mark.model
def test_on_the_embedded_model_rounding_loses_no_more_than_pefts(embedded_folder: Path, tmp_path: Path) -> None:
    """The decoder's pass rounds in other places; it is as close to PEFT in float32 as PEFT in bfloat16 is."""
    loaded = load_tiny(embedded_folder, "bfloat16")
    ids = torch.tensor([loaded.tokenizer.encode(CODE)])
    save_for(embedded_folder, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"  # as strong as a trained one
    save_file({k: v * 0.1 if "lora_B" in k else v for k, v in load_file(file).items()}, file)
    adapter = read_adapter("x", tmp_path / "adapter", loaded.model, {str(embedded_folder)})
    plain, ours = (with_adapter(loaded, one, ids).float() for one in (None, adapter))
    exact, theirs = (
        peft_logits(embedded_folder, tmp_path / "adapter", ids, dtype).float()
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert float((ours - exact).norm()) < 1.25 * float((theirs - exact).norm())
    assert float((ours - exact).norm()) < 0.5 * float((ours - plain).norm())


CODE = "def add(a, b):\n    return a + b\n\n\nclass Thing:\n    def __init__("


def save_for(base_folder: Path, folder: Path) -> None:
    """Save a random adapter for the model in ``base_folder``."""
    base = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.bfloat16)
    save_adapter(base, folder, base_model_name_or_path=str(base_folder))
