"""The first start: children prepare the model and the kernels, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest

from midfill import paths
from midfill.engine.local.engine import LocalEngine
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.model import int8, int8_kernels
from midfill.engine.local.model.linear_int8 import Int8Linear
from midfill.engine.local.store import models, preparing
from midfill.engine.local.store.manifest import INT8, MANIFEST, read_manifest, weight_files
from midfill.types import MidfillError
from tests.engine.made import load_tiny
from tests.engine.test_gguf import tiny_gguf


def no_progress(stage: str, fraction: float) -> None:
    """Nobody watches."""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> models.ModelSource:
    monkeypatch.setenv("MIDFILL_CACHE_DIR", str(tmp_path / "cache"))
    return models.resolve(str(tiny_gguf(tmp_path / "tiny.gguf", "llama")))


def fail(*_: Any, **__: Any) -> NoReturn:
    raise AssertionError("this must not be called")


def test_a_child_does_it_and_tells_how_far_it_is(source: models.ModelSource, monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[str] = []
    monkeypatch.setattr(models, "_prepare_gguf", fail)  # not here
    folder = preparing.prepare(source, lambda stage, fraction: stages.append(stage))
    assert {"reading", "converting", "writing"} <= set(stages)
    assert len(stages) < 300
    assert models.find_prepared(source) == folder
    monkeypatch.setattr(preparing, "_child", fail)  # what is ready needs none
    assert preparing.prepare(source, no_progress) == folder


def test_what_the_child_says_is_wrong_is_raised(source: models.ModelSource) -> None:
    assert source.path is not None
    source.path.write_bytes(source.path.read_bytes()[:-1000])
    with pytest.raises(MidfillError, match="is not a sound GGUF file") as caught:
        preparing.prepare(source, no_progress)
    assert caught.value.remedy == "fetch the file again"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals")
@pytest.mark.parametrize(
    ("code", "message"), [("os.kill(os.getpid(), 9)", "memory ran out"), ("os._exit(3)", "code 3")]
)
def test_a_child_that_dies(
    source: models.ModelSource, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    started = subprocess.Popen

    def start(_command: list[str], **settings: Any) -> Any:
        return started([sys.executable, "-c", f"import os; {code}"], **settings)

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(MidfillError, match=message):
        preparing.prepare(source, no_progress)


def test_it_ends_when_nobody_wants_it_any_more(source: models.ModelSource) -> None:
    children: list[int] = []
    with preparing._child("kernels", "") as child:
        children.append(child.pid)
        assert child.poll() is None
    assert child.returncode is not None

    def progress(stage: str, fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        preparing.prepare(source, progress)
    assert preparing.prepare(source, no_progress).is_dir()  # the lock is free


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")
def test_it_ends_with_the_process_that_started_it(source: models.ModelSource) -> None:
    """That process is killed, so it cannot tell the child."""
    program = (
        "from midfill.engine.local.store import preparing\n"
        "with preparing._child('kernels', '') as child: print(child.pid, flush=True); child.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class TestKernels:
    """Compiled once a CPU."""

    def test_not_again_where_they_are_there(self, source: models.ModelSource, monkeypatch: pytest.MonkeyPatch) -> None:
        mark = preparing._mark()
        assert mark.parent.parent == paths.cache_dir() / "kernels"
        assert not preparing._is_compiled()
        mark.touch()
        assert preparing._is_compiled()
        monkeypatch.setattr(preparing, "_child", fail)
        preparing.Compiling().wait()

    def test_a_machine_that_can_have_none_waits_for_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(preparing, "_child", fail)
        for error in (
            ImportError("numba"),
            MidfillError("open to other users"),
            OSError(28, "No space left on device"),
        ):
            monkeypatch.setattr(preparing, "_mark", lambda error=error: (_ for _ in ()).throw(error))
            preparing.Compiling().wait()

    async def test_they_are_not_compiled_on_where_no_model_can_be_loaded(
        self, source: models.ModelSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(preparing, "_is_compiled", lambda: False)
        compiling = preparing.Compiling()
        child = compiling._child
        assert child is not None
        engine = LocalEngine(f"{source.path}-not-there", device="cpu", compiling=compiling)
        engine.start()
        await asyncio.to_thread(engine.thread.join)
        assert engine.status.state == "error"
        assert child.poll() is not None

    @pytest.mark.parametrize(
        ("device", "dtype", "gpu", "early"),
        [
            ("auto", "auto", False, True), ("cpu", "int8", True, True), ("cpu", "bfloat16", False, False),
            ("auto", "auto", True, False), ("cuda", "int8", False, False), ("auto", "float32", False, False),
        ],
    )  # fmt: skip
    def test_begun_early_only_where_a_cpu_surely_serves_int8(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, dtype: str, gpu: bool, early: bool
    ) -> None:
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.setattr(preparing, "GPUS", (tmp_path / "no", tmp_path if gpu else tmp_path / "nor"))
        monkeypatch.setattr(preparing, "_is_compiled", lambda: True)
        assert (preparing.compile_early(device, dtype) is not None) == early

    @pytest.mark.skipif(not int8.is_supported(), reason="no kernels for this CPU")
    def test_the_tiny_model_takes_a_compiled_step(self) -> None:
        """So its step needs all that a real model's does."""
        decoder, best = preparing.tiny(), int8_kernels.best()
        assert all(isinstance(linear, Int8Linear) for linear in decoder.linears)
        assert (Runner(decoder).compiled is not None) == (best is not None and best is not int8_kernels.OneDnn)


class TestFloats:
    """Kept where they serve, made for the time where they are needed once."""

    @pytest.fixture(autouse=True)
    def _in_int8(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(int8, "is_supported", lambda: True)

    def test_only_what_serves_is_kept(self, source: models.ModelSource) -> None:
        folder = models.prepare(source, no_progress)
        assert [file.name for file in folder.glob("*.safetensors*")] == [INT8]
        assert models.lacks_floats(folder)
        manifest = read_manifest(folder)
        assert manifest is not None
        assert models.float_bytes(folder) == 2 * manifest["parameters"]
        with models.float_files(folder, no_progress) as files:
            assert [file.name for file in files] == ["model.safetensors"]
            n_bytes = files[0].stat().st_size
        assert not files[0].exists()
        assert abs(n_bytes - models.float_bytes(folder)) < 10_000  # its header
        assert sorted(path.name for path in folder.parent.iterdir() if path.is_dir()) == [folder.name]

    def test_added_to_a_folder_that_has_none(self, source: models.ModelSource, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = models.prepare(source, no_progress)
        with models.float_files(folder, no_progress) as (made,):
            expected = made.read_bytes()
        assert models.prepare(source, no_progress, floats=True) == folder
        assert not models.lacks_floats(folder)
        assert weight_files(folder) == [folder / "model.safetensors"]
        assert (folder / "model.safetensors").read_bytes() == expected
        manifest = read_manifest(folder)
        assert manifest is not None
        assert set(manifest["files"]) == {path.name for path in folder.iterdir()} - {MANIFEST}
        monkeypatch.setattr(models, "_write_floats", fail)  # once
        assert models.prepare(source, no_progress, floats=True) == folder
        load_tiny(folder)
        (folder / "model.safetensors").write_bytes(expected[:-1] + bytes([expected[-1] ^ 1]))
        with pytest.raises(MidfillError, match="is damaged"):
            load_tiny(folder)

    def test_the_same_whether_made_at_once_or_later(self, source: models.ModelSource) -> None:
        folder = models.prepare(source, no_progress)
        models.prepare(source, no_progress, floats=True)
        later = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST}
        models.prepare(source, no_progress, force=True, floats=True)
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != MANIFEST} == later

    def test_a_source_that_changed_gives_none(self, source: models.ModelSource) -> None:
        folder = models.prepare(source, no_progress)
        assert source.path is not None
        os.utime(source.path, ns=(1, 1))
        with pytest.raises(MidfillError, match="is not there any more as it was"):
            load_tiny(folder)
        source.path.unlink()
        with pytest.raises(MidfillError, match="is not there any more as it was"):
            load_tiny(folder)
