"""Damaged files are refused by name before torch sees them; nothing that can run code is ever loaded."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from midfill.engine.local.store.checkpoint import Checkpoint, read_tensors
from midfill.engine.local.store.manifest import write_manifest
from midfill.types import MidfillError
from tests.engine.made import load_tiny, save_tiny

SERVER = Path(__file__).parents[2] / "server"
TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.ones(5, dtype=torch.bfloat16),
    "c": torch.zeros(0, 4),
    "d": torch.tensor(7, dtype=torch.int64),
    "e": torch.tensor([True, False]),
}

DATA = bytes(8)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "x.safetensors", metadata={"format": "pt"})
    return tmp_path / "x.safetensors"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("tiny"))


def bomb(header: object, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"t": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def test_the_same_tensors_as_the_library_reads(sound: Path) -> None:
    seen: list[float] = []
    write_manifest(sound.parent, "m", {"kind": "embedded"}, {})
    found = dict(Checkpoint(sound.parent, [sound]).tensors(lambda _, fraction: seen.append(fraction)))
    assert seen == sorted(seen)
    assert 0.1 < seen[-1] <= 1
    wanted = load_file(sound)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x00", struct.pack("<Q", 1 << 62), struct.pack("<Q", 100) + b"{}", bomb(b"{"), bomb([]), bomb("x"),
        bomb(b"[" * 5000), bomb({"t": 1}), bomb({"t": {}}), bomb(entry("F99"), DATA), bomb(entry(["F32"]), DATA),
        bomb(entry(shape=[3]), DATA), bomb(entry(shape=[-2]), DATA), bomb(entry(shape="22"), DATA),
        bomb(entry(shape=[1 << 61, 1 << 61]), DATA), bomb(entry(shape=[0, 1 << 62, 1 << 62], offsets=[0, 0])),
        bomb(entry(shape=[2.0]), DATA), bomb(entry(shape=[True, 2]), DATA), bomb(entry(offsets=[0, 8]), bytes(7)),
        bomb(entry(offsets=[8, 0]), DATA), bomb(entry(offsets=[-8, 0]), DATA), bomb(entry(offsets=[0]), DATA),
        bomb(entry(offsets=[1 << 70, (1 << 70) + 8]), DATA), bomb(b"\xff\xfe", DATA),
    ],
)  # fmt: skip
def test_malformed(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    with pytest.raises(MidfillError, match=r"x\.safetensors is not a valid safetensors file") as caught:
        read_tensors(file)
    assert caught.value.remedy


def test_truncated_anywhere(sound: Path) -> None:
    whole = sound.read_bytes()
    for length in range(len(whole)):
        sound.write_bytes(whole[:length])
        with pytest.raises(MidfillError):
            read_tensors(sound)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bits_flipped_anywhere_never_do_worse_than_a_refusal(sound: Path, data: st.DataObject) -> None:
    whole = bytearray(sound.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[at] ^= 1 << data.draw(st.integers(0, 7))
    file = sound.with_name("flipped.safetensors")
    file.write_bytes(whole)
    try:
        tensors = read_tensors(file)
    except MidfillError:
        return
    assert sum(tensor.nbytes for tensor in tensors.values()) <= len(whole) * len(tensors)


def test_a_flipped_bit_is_found_by_the_hash(sound: Path) -> None:
    whole = bytearray(sound.read_bytes())
    write_manifest(sound.parent, "m", {"kind": "embedded"}, {})
    assert read_tensors(sound).keys() == TENSORS.keys()
    whole[-1] ^= 1
    sound.write_bytes(whole)
    with pytest.raises(MidfillError, match="damaged: its sha256"):
        read_tensors(sound)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MidfillError, match=r"lacks none\.safetensors"):
        read_tensors(tmp_path / "none.safetensors")


def test_tensors_are_private_memory(sound: Path) -> None:
    """A file that is changed under a running engine changes nothing, and cannot kill it."""
    found = read_tensors(sound)
    sound.write_bytes(b"")
    assert torch.equal(found["a"], TENSORS["a"])


class TestModelFolders:
    """What load.load says about a folder that is not sound."""

    @pytest.fixture
    def folder(self, tiny: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(tiny, tmp_path / "model"))

    def refused(self, folder: Path, message: str) -> None:
        with pytest.raises(MidfillError, match=message) as caught:
            load_tiny(folder)
        assert caught.value.remedy

    def test_sound(self, folder: Path) -> None:
        assert load_tiny(folder).parameters > 10_000

    def test_pickled_weights_only(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        self.refused(folder, "only pickled weights, which midfill never loads")

    def test_pickled_weights_beside_are_not_touched(self, folder: Path) -> None:
        (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
        load_tiny(folder)

    def test_no_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        self.refused(folder, r"has no \*\.safetensors")

    def test_no_config(self, folder: Path) -> None:
        (folder / "config.json").unlink()
        self.refused(folder, r"it has no config\.json")

    def test_no_tokenizer(self, folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        self.refused(folder, r"tokenizer\.json is missing")

    @pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_type": "of-the-folder"}', '{"model_type": 1}'])
    def test_config_of_no_known_model(self, folder: Path, content: str) -> None:
        (folder / "config.json").write_text(content)
        self.refused(folder, "does not describe a model that transformers knows")

    def test_code_in_the_folder_never_runs(self, folder: Path, tmp_path: Path) -> None:
        """auto_map names it; with a model type that transformers knows, that one is built instead."""
        trace = tmp_path / "ran"
        (folder / "modeling_evil.py").write_text(f"open({str(trace)!r}, 'w')\n")
        config = json.loads((folder / "config.json").read_text())
        names = ("AutoConfig", "AutoModel", "AutoModelForCausalLM")
        config["auto_map"] = dict.fromkeys(names, "modeling_evil.Evil")
        (folder / "config.json").write_text(json.dumps(config))
        load_tiny(folder)
        config["model_type"] = "evil"
        (folder / "config.json").write_text(json.dumps(config))
        self.refused(folder, "transformers knows")
        assert not trace.exists()

    def test_truncated(self, folder: Path) -> None:
        file = folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        self.refused(folder, "truncated")

    def test_zero_length(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"")
        self.refused(folder, "truncated")

    @pytest.mark.parametrize("change", ["missing", "extra", "shape"])
    def test_weights_that_do_not_fit(self, folder: Path, change: str) -> None:
        tensors = load_file(folder / "model.safetensors")
        name = "model.layers.1.mlp.up_proj.weight"
        if change == "missing":
            del tensors[name]
        elif change == "extra":
            tensors["model.layers.9.mlp.up_proj.weight"] = tensors[name].clone()
        else:
            tensors[name] = tensors[name][:-1].clone()
        save_file(tensors, folder / "model.safetensors")
        self.refused(folder, r"do not fit its config\.json")

    def test_a_shard_of_the_index_is_missing(self, folder: Path) -> None:
        index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        self.refused(folder, r"lacks model-2\.safetensors")
        (folder / "model.safetensors.index.json").write_text("{")
        self.refused(folder, "index of weights .* is damaged")

    def test_other_weights_beside_the_index_are_left_alone(self, folder: Path) -> None:
        """Mistral's folders hold everything twice."""
        shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
        load_tiny(folder)

    def test_an_index_does_not_lead_out_of_the_folder(self, folder: Path) -> None:
        outside = folder.parent / "outside.safetensors"
        (folder / "model.safetensors").rename(outside)
        index = {"weight_map": {"a": str(outside), "b": "../outside.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        self.refused(folder, r"lacks outside\.safetensors")


@pytest.mark.parametrize(
    "forbidden",
    [
        r"torch\.load\b",
        r"(import|from) (cloud)?pickle\b",
        r"(import|from) (joblib|dill)\b",
        r"trust_remote_code\s*=\s*True",
    ],
)
def test_nothing_in_the_tree_can_run_what_it_loads(forbidden: str) -> None:
    sources = list(SERVER.rglob("*.py"))
    assert len(sources) > 30
    assert [str(file) for file in sources if re.search(forbidden, file.read_text(encoding="utf-8"))] == []


class TestSmallFiles:
    """The small files that are loaded beside the weights are those that the manifest records."""

    @pytest.fixture
    def prepared(self, tmp_path: Path) -> Path:

        folder = tmp_path / "models" / "m"
        folder.mkdir(parents=True)
        for name, content in (("config.json", b"{}"), ("tokenizer.json", b"[1]"), ("model.safetensors", b"x" * 99)):
            (folder / name).write_bytes(content)
        write_manifest(folder, "m", {"kind": "embedded"}, {})
        return folder

    def test_as_they_were(self, prepared: Path) -> None:
        from midfill.engine.local.store.safetensors_reader import check_small_files

        check_small_files(prepared)
        (prepared / "another.json").write_text("{}")  # nothing of ours
        check_small_files(prepared)
        (prepared / "model.safetensors").write_bytes(b"y" * 99)  # compared while it is read
        check_small_files(prepared)

    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
    @pytest.mark.parametrize("content", [b"[2]", b"{ }", b"{}\n", b"", None])
    def test_changed(self, prepared: Path, name: str, content: bytes | None) -> None:
        from midfill.engine.local.model.load import load
        from midfill.engine.local.store.safetensors_reader import check_small_files

        if content is None:
            (prepared / name).unlink()
        else:
            (prepared / name).write_bytes(content)
        with pytest.raises(MidfillError, match=name) as caught:
            check_small_files(prepared)
        assert caught.value.remedy == "run: midfill model prepare --force"
        with pytest.raises(MidfillError, match=name):
            load(prepared, "m", progress=lambda stage, fraction: None)

    def test_two_names_exchanged(self, prepared: Path) -> None:
        from midfill.engine.local.store.safetensors_reader import check_small_files

        (prepared / "config.json").rename(prepared / "x")
        (prepared / "tokenizer.json").rename(prepared / "config.json")
        (prepared / "x").rename(prepared / "tokenizer.json")
        with pytest.raises(MidfillError, match=r"config\.json"):
            check_small_files(prepared)

    @pytest.mark.parametrize(
        ("name", "damage", "state"),
        [
            ("", lambda content: content, "ok"),
            ("model.safetensors", lambda content: content[:50] + b"y" + content[51:], "fault"),
            ("model.safetensors", lambda content: content[:-1], "fault"),
            ("tokenizer.json", lambda content: b"[2]", "fault"),
            ("manifest.json", lambda content: b"{", "warning"),
        ],
    )
    def test_the_doctor_reads_every_byte(
        self, prepared: Path, monkeypatch: pytest.MonkeyPatch, name: str, damage: Callable[[bytes], bytes], state: str
    ) -> None:
        from midfill import config, config_files, paths
        from midfill.commands import doctor

        monkeypatch.setattr(paths, "models_dir", lambda: prepared.parent)
        monkeypatch.setattr(config_files, "load_user", lambda: config.Config(model="embedded"))
        if name:
            (prepared / name).write_bytes(damage((prepared / name).read_bytes()))
        (finding,) = doctor._hashes()
        assert finding.state == state
        assert name in finding.says
        if state == "fault":
            assert finding.remedy == "run: midfill model prepare --force embedded"
