"""A model that is built without transformers is the same model; which models may be; and that nothing imports it."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from midfill.engine.local.bare import BareModel
from midfill.engine.local.transformers_model import read_config, skeleton
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from midfill.engine.local import bare, int8, models, trial
from midfill.engine.local.adapters import AdapterSwitch, read_adapter
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.kv_cache import Slot
from midfill.engine.local.load import load
from tests.engine.made import load_tiny, save_tiny
from tests.engine.test_adapters import save_adapter
from tests.engine.test_decode import answer, prompt

needs_int8 = pytest.mark.skipif(not int8.is_supported(), reason="this CPU has no int8 products")


def prepared(kind: str, folder: Path) -> Path:
    """A tiny model of ``kind`` with int8 weights and the manifest that preparing writes."""
    save_tiny(kind, folder)
    state = load_file(folder / "model.safetensors")
    save_file(int8.quantise_state(state, skeleton(read_config(folder))), folder / int8.FILE)
    record = {bare.RECORD: trial.may_be_bare(folder, lambda *_: None)}
    models.write_manifest(folder, kind, {"kind": "gguf"}, record)
    return folder


@needs_int8
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_it_answers_as_the_model_of_transformers_does(kind: str, tmp_path: Path) -> None:
    folder = prepared(kind, tmp_path / kind)
    ours = load_tiny(folder, "int8")
    theirs = load(folder, kind, device="cpu", dtype="int8", progress=lambda *_: None, whole=True)
    assert isinstance(ours.model, BareModel)
    assert not isinstance(theirs.model, BareModel)
    assert (ours.parameters, ours.vocabulary, ours.max_context) == (
        theirs.parameters, theirs.vocabulary, theirs.max_context,
    )  # fmt: skip
    mine, other = Runner(ours.model), Runner(theirs.model)
    assert torch.equal(mine.probe(), other.probe())
    for length in (1, 40, 300):
        assert answer(mine, Slot(), prompt(length)) == answer(other, Slot(), prompt(length))


@needs_int8
def test_its_keys_can_be_turned(tmp_path: Path) -> None:
    mine = Runner(load_tiny(prepared("qwen2", tmp_path / "m"), "int8").model)
    rotate = mine.find_rotation()
    assert rotate is not None
    for layer, (here, there) in enumerate(zip(mine._keys_at(5), mine._keys_at(90), strict=True)):
        torch.testing.assert_close(rotate(layer, here, 85).float(), there.float(), atol=0.05, rtol=0.02)


@needs_int8
def test_adapters_beside_it(tmp_path: Path) -> None:
    folder = prepared("qwen2", tmp_path / "base")
    save_adapter(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tmp_path / "adapter")
    said = []
    for whole in (False, True):
        loaded = load(folder, "m", device="cpu", dtype="int8", progress=lambda *_: None, whole=whole)
        switch = AdapterSwitch(loaded.device)
        runner = Runner(loaded.model)
        adapter = read_adapter("x", tmp_path / "adapter", loaded.model, loaded.base_names)
        switch.add(adapter)
        with torch.inference_mode():
            plain = answer(runner, Slot(), prompt(20))
            switch.active = adapter
            said.append((plain, answer(runner, Slot(), prompt(20))))
    assert said[0] == said[1]
    assert said[0][0] != said[0][1]


@needs_int8
@pytest.mark.parametrize("kind", ["gemma", "gemma3", "starcoder2"])
def test_other_kinds_are_built_by_transformers(kind: str, tmp_path: Path) -> None:
    assert not isinstance(load_tiny(prepared(kind, tmp_path / kind), "int8").model, BareModel)


@needs_int8
def test_a_model_that_was_not_tried_is_built_by_transformers(tmp_path: Path) -> None:
    folder = prepared("llama", tmp_path / "m")
    manifest = json.loads((folder / models.MANIFEST).read_text())
    (folder / models.MANIFEST).write_text(json.dumps({**manifest, bare.RECORD: False}))
    assert not isinstance(load_tiny(folder, "int8").model, BareModel)


PLAIN: dict[str, Any] = {
    "model_type": "qwen2", "hidden_act": "silu", "sliding_window": None,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}  # fmt: skip


def test_what_is_plain() -> None:
    assert bare.is_plain(PLAIN)
    assert bare.is_plain(PLAIN | {"sliding_window": 4096, "use_sliding_window": False})
    assert bare.is_plain(PLAIN | {"model_type": "mistral"})


def test_a_mistral_that_does_not_say_has_a_window() -> None:
    said_nothing = {key: value for key, value in PLAIN.items() if key != "sliding_window"}
    assert bare.is_plain(said_nothing)
    assert not bare.is_plain(said_nothing | {"model_type": "mistral"})


@pytest.mark.parametrize("change", [
    {"model_type": "qwen3"}, {"hidden_act": "gelu"}, {"rope_parameters": {"rope_type": "yarn"}}, {"mlp_bias": True},
    {"rope_scaling": {"type": "linear", "factor": 2}}, {"sliding_window": 4096},
    {"layer_types": ["full_attention", "sliding_attention"]},
])  # fmt: skip
def test_what_is_not(change: dict[str, Any]) -> None:
    assert not bare.is_plain(PLAIN | change)


@needs_int8
def test_a_config_that_would_be_misread_is_found_by_trying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the conditions above had forgotten something."""
    folder = prepared("llama", tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    scaled = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
    (folder / "config.json").write_text(json.dumps(config | {"rope_parameters": scaled}))
    monkeypatch.setattr(bare, "is_plain", lambda config: True)
    assert not trial.may_be_bare(folder, lambda *_: None)


@needs_int8
def test_a_trial_that_fails_costs_the_quick_start_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("can't allocate memory")

    folder = prepared("llama", tmp_path / "m")
    monkeypatch.setattr(trial, "build_bare", fail)
    assert not trial.may_be_bare(folder, lambda *_: None)


@needs_int8
def test_nothing_of_a_trial_stays_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Any]] = []
    for name in ("build", "build_bare"):
        original = getattr(trial, name)

        def noted(*arguments: Any, original: Any = original) -> Any:
            assert all(ref() is None for ref in made)
            model, n = original(*arguments)
            made.append(weakref.ref(model))
            return model, n

        monkeypatch.setattr(trial, name, noted)
    prepared("llama", tmp_path / "m")
    assert len(made) == 2
    assert all(ref() is None for ref in made)


@needs_int8
def test_large_models_are_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "MAX_BYTES", 1000)
    assert not isinstance(load_tiny(prepared("llama", tmp_path / "m"), "int8").model, BareModel)


@needs_int8
@pytest.mark.model
def test_the_embedded_model_is_loaded_without_transformers(embedded_folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from midfill.engine.local.engine import LocalEngine; "
        "from midfill.engine.local.load import load; from midfill.engine.local.forward.runner import Runner; "
        "loaded = load(Path(sys.argv[1]), 'embedded', device='cpu', progress=lambda *_: None); "
        "assert Runner(loaded.model).find_rotation() is not None; "
        "print(loaded.number_format, [name for name in ('transformers', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(embedded_folder)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "int8 []", done.stderr
