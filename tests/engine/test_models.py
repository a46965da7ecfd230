"""Which model the setting means, and preparing it: once, whole, verified, or not at all."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest
from safetensors.torch import load_file

from midfill import paths
from midfill.engine.local.model import int8
from midfill.engine.local.store import convert, embedded, models
from midfill.engine.local.store.embedded import PackagedModel
from midfill.engine.local.store.manifest import FORMAT, INDEX, INT8, read_manifest, weight_files
from midfill.types import MidfillError
from tests.engine.made import load_tiny, save_tiny
from tests.engine.test_gguf import tiny_gguf


def no_progress(stage: str, fraction: float) -> None:
    """Nobody watches."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIDFILL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def source(tmp_path: Path) -> models.ModelSource:
    return models.resolve(str(tiny_gguf(tmp_path / "tiny.gguf", "llama")))


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


class TestResolve:
    """What the setting means."""

    def test_kinds(self, tmp_path: Path) -> None:
        (tmp_path / "m.gguf").touch()
        assert models.resolve("embedded").kind == "embedded"
        assert models.resolve(str(tmp_path)) == models.ModelSource("directory", tmp_path.name, tmp_path)
        assert models.resolve(str(tmp_path / "m.gguf")) == models.ModelSource("gguf", "m", tmp_path / "m.gguf")
        assert models.resolve("owner/name") == models.ModelSource("hub", "owner/name", hub_id="owner/name")

    def test_auto_is_the_reference_where_it_can_be_had(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for usable, kind in ((True, "hub"), (False, "embedded")):
            monkeypatch.setattr(models, "reference_is_usable", lambda usable=usable: usable)
            assert models.resolve("auto").kind == kind

    def test_a_folder_of_the_workspace_is_never_a_hub_model(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Opening a repository must not choose the model."""
        (tmp_path / "owner" / "name").mkdir(parents=True)
        monkeypatch.chdir(tmp_path)
        assert models.resolve("owner/name").kind == "hub"
        assert models.resolve("./owner/name").kind == "directory"

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("/not/there", "neither a folder"), ("./not/there", "neither a folder"), ("~x-x/no", "neither a folder"),
            ("name", "neither a folder"), ("a/b/c", "neither a folder"), ("", "neither a folder"),
            ("http://host/x", "neither a folder"), ("a b/c", "neither a folder"), ("../x", "neither a folder"),
            ("/not/there.gguf", "is not there"), ("x.gguf", "is not there"),
        ],
    )  # fmt: skip
    def test_what_cannot_be(self, spec: str, message: str) -> None:
        with pytest.raises(MidfillError, match=message) as caught:
            models.resolve(spec)
        assert caught.value.remedy


class TestPrepare:
    """From a GGUF file to a folder that loads in seconds."""

    def test_once(self, source: models.ModelSource, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        stages: list[str] = []
        folder = models.prepare(source, lambda stage, fraction: stages.append(stage))
        assert {"reading", "converting", "writing"} <= set(stages)
        assert left_in(cache) == [folder.name]
        manifest = json.loads((folder / "manifest.json").read_text())
        for name, file in manifest["files"].items():
            content = (folder / name).read_bytes()
            assert (file["size"], file["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert load_tiny(folder).parameters == manifest["parameters"]
        monkeypatch.setattr(models, "_prepare_gguf", _fail)
        assert models.prepare(source, no_progress) == folder

    def test_again_when_the_file_changed_or_forced(self, source: models.ModelSource, cache: Path) -> None:
        first = models.prepare(source, no_progress)
        written = (first / "manifest.json").stat().st_mtime_ns
        assert models.prepare(source, no_progress, force=True) == first
        assert (first / "manifest.json").stat().st_mtime_ns > written
        assert left_in(cache) == [first.name]
        assert source.path is not None
        os.utime(source.path, ns=(1, 1))
        assert models.prepare(source, no_progress) != first

    def test_again_when_the_format_is_older(self, source: models.ModelSource, cache: Path) -> None:
        folder = models.prepare(source, no_progress)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | {"format": FORMAT - 1}))
        assert models.find_prepared(source) is None
        assert models.prepare(source, no_progress) == folder
        assert models.find_prepared(source) == folder

    def test_the_index_names_the_models_own_weights(
        self, source: models.ModelSource, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Other engines load every *.safetensors of a folder that has none, the int8 pack too."""
        monkeypatch.setattr(int8, "is_supported", lambda: True)
        folder = models.prepare(source, no_progress, floats=True)
        assert (folder / INT8).is_file()
        index = folder / INDEX
        written = index.read_bytes()
        names = load_file(folder / "model.safetensors")
        assert json.loads(written)["weight_map"] == dict.fromkeys(names, "model.safetensors")
        assert weight_files(folder) == [folder / "model.safetensors"]
        index.unlink()  # as an earlier version left it
        monkeypatch.setattr(models, "_prepare_gguf", _fail)
        assert models.prepare(source, no_progress, floats=True) == folder
        assert index.read_bytes() == written  # what the manifest says of it holds
        assert not [name for name in left_in(folder) if name.startswith(".")]

    def test_a_folder_that_cannot_be_given_an_index(
        self, source: models.ModelSource, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = models.prepare(source, no_progress, floats=True)
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest["files"][INDEX]
        (folder / "manifest.json").write_text(json.dumps(manifest))
        (folder / INDEX).unlink()

        def refuse(*_: Any) -> NoReturn:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(models, "write_index", refuse)
        assert models.prepare(source, no_progress) == folder
        load_tiny(folder)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, MidfillError("no"), OSError(28, "No space left on device")])
    def test_interrupted_leaves_nothing(
        self, source: models.ModelSource, cache: Path, monkeypatch: pytest.MonkeyPatch, error: Any
    ) -> None:
        def progress(stage: str, fraction: float) -> None:
            if stage == "writing the tokenizer":
                raise error

        with pytest.raises((KeyboardInterrupt, MidfillError)) as caught:
            models.prepare(source, progress)
        assert left_in(cache) == []
        if isinstance(error, OSError):
            assert "No space left" in str(caught.value)
            assert "disk" in str(caught.value)
        models.prepare(source, no_progress)

    def test_what_a_killed_preparation_left_goes(self, source: models.ModelSource, cache: Path) -> None:
        (cache / ".work-tiny" / "prepared").mkdir(parents=True)
        folder = models.prepare(source, no_progress)
        assert left_in(cache) == [folder.name]

    def test_no_space(self, source: models.ModelSource, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        usage = shutil.disk_usage("/")
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
        with pytest.raises(MidfillError, match=r"needs 0\.0 GB on the disk of .* 0\.0 GB are free") as caught:
            models.prepare(source, no_progress)
        assert "MIDFILL_CACHE_DIR" in caught.value.remedy
        assert left_in(cache) == []

    def test_a_cache_that_cannot_be_made(
        self, source: models.ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("MIDFILL_CACHE_DIR", str(tmp_path / "file"))
        with pytest.raises(MidfillError, match="cannot create") as caught:
            models.prepare(source, no_progress)
        assert "MIDFILL_CACHE_DIR" in caught.value.remedy

    def test_two_processes_at_once(self, source: models.ModelSource, cache: Path) -> None:
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        workers = [context.Process(target=_prepare_and_tell, args=(source, answers)) for _ in range(2)]
        for worker in workers:
            worker.start()
        (one, did_one), (two, did_two) = answers.get(), answers.get()
        for worker in workers:
            worker.join()
        assert one == two
        assert sorted((did_one, did_two)) == [False, True]
        assert left_in(cache) == [Path(one).name]


def _prepare_and_tell(source: models.ModelSource, answers: Any) -> None:
    stages: list[str] = []
    folder = models.prepare(source, lambda stage, fraction: stages.append(stage))
    answers.put((str(folder), "converting" in stages))


def _fail(*_: object) -> NoReturn:
    raise AssertionError("this must not be called")


class TestPackaged:
    """A model in pieces."""

    @pytest.fixture
    def packaged(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
        parts = [b"first" * 1000, b"second" * 1000]
        for i, part in enumerate(parts):
            info = tmp_path / f"made_piece{i}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: made-piece{i}\nVersion: 1.0\n")
            (tmp_path / f"made_piece{i}").mkdir()
            (tmp_path / f"made_piece{i}" / "data.bin").write_bytes(part)
            (tmp_path / f"made_piece{i}" / "__init__.py").write_text("raise SystemExit('imported')\n")
        monkeypatch.syspath_prepend(tmp_path)
        names = tuple((f"made-piece{i}", f"made_piece{i}/data.bin") for i in range(2))
        whole = b"".join(parts)
        return PackagedModel("made", names, len(whole), hashlib.sha256(whole).hexdigest())

    def test_joined(self, packaged: PackagedModel, tmp_path: Path) -> None:
        assert embedded.is_installed(packaged)
        seen: list[float] = []
        embedded.assemble(tmp_path / "out", lambda stage, fraction: seen.append(fraction), packaged)
        assert hashlib.sha256((tmp_path / "out").read_bytes()).hexdigest() == packaged.sha256
        assert seen[-1] == 1.0

    @pytest.mark.parametrize("damage", [b"", b"first" * 999 + b"firsT", b"first" * 1001])
    def test_damaged(self, packaged: PackagedModel, tmp_path: Path, damage: bytes) -> None:
        (tmp_path / "made_piece0" / "data.bin").write_bytes(damage)
        with pytest.raises(MidfillError, match="is damaged: sha256") as caught:
            embedded.assemble(tmp_path / "out", no_progress, packaged)
        assert "--force-reinstall" in caught.value.remedy
        assert not (tmp_path / "out").exists()

    def test_a_piece_is_missing(self, packaged: PackagedModel, tmp_path: Path) -> None:
        (tmp_path / "made_piece1" / "data.bin").unlink()
        with pytest.raises(MidfillError, match=r"made-piece1 lacks made_piece1/data\.bin"):
            embedded.pieces(packaged)
        assert not embedded.is_installed(packaged)

    def test_a_package_is_missing(self) -> None:
        absent = PackagedModel("absent", (("midfill-absent-piece", "x.bin"),), 1, "0")
        with pytest.raises(MidfillError, match="midfill-absent-piece is missing") as caught:
            embedded.pieces(absent)
        assert caught.value.remedy == embedded.INSTALL

    def test_the_embedded_model_says_so(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        absent = PackagedModel("absent", (("midfill-absent-piece", "x.bin"),), 1, "0")
        monkeypatch.setattr(embedded, "pieces", lambda model=absent, real=embedded.pieces: real(absent))
        with pytest.raises(MidfillError, match="the embedded model is not installed"):
            models.prepare(models.resolve("embedded"), no_progress)
        assert left_in(cache) == []


class TestHub:
    """Models of the hub, without a network."""

    def test_offline_and_absent(self, tmp_path: Path) -> None:
        """In a process of its own: the hub's client reads its settings when it is imported."""
        code = (
            "from midfill.engine.local.store import models\n"
            "try: models.prepare(models.resolve('nobody/absent-model'), lambda stage, fraction: None)\n"
            "except models.MidfillError as error: print(error)\n"
        )
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
        said = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, check=True)
        assert said.stdout.startswith("nobody/absent-model is not on this machine and HF_HUB_OFFLINE is set (")

    def test_a_failed_download_is_one_line(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        import huggingface_hub

        def refuse(*_: object, local_files_only: bool = False, **__: object) -> NoReturn:
            raise (FileNotFoundError if local_files_only else ConnectionError)("refused")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        with pytest.raises(MidfillError, match=r"download the model nobody/absent-model \(ConnectionError\)") as caught:
            models.prepare(models.resolve("nobody/absent-model"), no_progress)
        assert "embedded" in caught.value.remedy

    def test_half_a_download_is_not_a_model(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        import huggingface_hub

        monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tmp_path))
        save_tiny("llama", tmp_path)
        assert models.hub_folder("owner/name") == tmp_path
        index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        assert models.hub_folder("owner/name") is None

    def test_a_local_model_touches_no_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(socket.socket, "connect", _fail)
        monkeypatch.setattr(socket, "getaddrinfo", _fail)
        folder = save_tiny("llama", tmp_path / "model")
        assert models.prepare(models.resolve(str(folder)), no_progress) == folder
        load_tiny(folder)


@pytest.mark.model
def test_the_embedded_model_is_ready(embedded_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are those of the manifest, and finding it converts nothing and uses no network."""
    monkeypatch.setattr(convert, "convert_gguf", _fail)
    monkeypatch.setattr(socket.socket, "connect", _fail)
    assert models.prepare(models.resolve("embedded"), no_progress) == embedded_folder
    assert embedded_folder.parent == paths.models_dir()
    manifest = read_manifest(embedded_folder)
    assert manifest is not None
    sizes = {name: (embedded_folder / name).stat().st_size for name in manifest["files"]}
    assert sizes == {name: file["size"] for name, file in manifest["files"].items()}
