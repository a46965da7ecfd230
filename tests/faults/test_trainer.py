"""The trainer is killed at every stage of saving: afterwards its files are whole, and never of two versions."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.model, pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX processes")]

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

from midfill import registry  # noqa: E402
from midfill.engine.local.lora.adapter import read_adapter  # noqa: E402
from midfill.train import checkpoint, plot, write  # noqa: E402
from midfill.train.base import Lora, with_lora  # noqa: E402
from midfill.train.collect import Collection  # noqa: E402
from midfill.train.run import Hyperparameters, Trained  # noqa: E402
from midfill.types import MidfillError  # noqa: E402
from tests.engine.made import load_tiny, save_tiny  # noqa: E402

CALLS = ("mkdir", "open", "write", "fsync", "rename", "replace", "rmdir", "unlink")
MOST = 80  # calls of one save, at least


def killed_after(n_calls: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a child that is killed before its ``n_calls``-th change of the disk; return False if the child
    reached its end."""
    pid = os.fork()
    if pid == 0:
        left = [n_calls]

        def counted(real: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **kwargs: object) -> object:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)

            return call

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        Path.open = counted(Path.open)  # type: ignore[assignment,method-assign]
        for module, name in ((shutil, "copyfile"), (torch, "save"), (peft.peft_model, "safe_save_file")):
            setattr(module, name, counted(getattr(module, name)))
        try:
            work()
        except BaseException:  # noqa: BLE001 - the child must not go on with the tests
            os._exit(9)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def stages(work: Callable[[], object]) -> Iterator[int]:
    """Kill at the first, second ... change of the disk, until a run reaches its end."""
    for n in range(1, MOST):
        was_killed = killed_after(n, work)
        yield n
        if not was_killed:
            return
    raise AssertionError("it never got to its end")


def save(folder: Path, step: int) -> None:
    checkpoint.save(folder, checkpoint.Progress("me", step, 9), {"a": torch.full((64,), float(step))})


def test_a_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2):
        save(tmp_path, step)
    n_stages, newest = 0, 2
    for n_stages in stages(lambda: save(tmp_path, 3)):
        found = checkpoint.latest(tmp_path, "me")
        assert found is not None
        step = found[0].step
        assert step in (2, 3)
        assert step >= newest or n_stages < 3  # what was whole once does not go
        assert torch.equal(found[1]["a"], torch.full((64,), float(step)))
    assert n_stages > 5
    found = checkpoint.latest(tmp_path, "me")
    assert found is not None
    assert found[0].step == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000002", "checkpoint-000003"]


def test_registering_an_adapter(tmp_path: Path) -> None:
    """The name has the old adapter or the new one, whole; for one moment it has none, and the old one is among its
    versions."""
    files = ("adapter_config.json", "adapter_model.safetensors")
    sources = []
    for name in ("old", "new"):
        folder = tmp_path / name
        folder.mkdir()
        for file in files:
            (folder / file).write_text(name)
        sources.append(folder)
    registry.register(sources[0], "mine", files)
    n = 0
    for stage in stages(lambda: registry.register(sources[1], "mine", files)):
        n = stage
        present = [registry.folder_of("mine")] if "mine" in registry.names() else []
        known = [*present, *registry.versions("mine")]
        assert known
        for folder in known:
            assert {(folder / file).read_text() for file in files} in ({"old"}, {"new"})
    assert n > 4
    assert {(registry.folder_of("mine") / file).read_text() for file in files} == {"new"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("qwen2", tmp_path_factory.mktemp("models") / "tiny-qwen")


class Adapter:
    """A trained adapter whose weights all hold its number, and the way it is written."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.folder, self._base = folder, base
        self._reader = load_tiny(base)
        self._model = with_lora(load_tiny(base, modules=True), Lora(rank=8), str(base), 1)

    def write(self, number: float) -> None:
        """Write it into the folder of the run's result."""
        with torch.no_grad():
            for weight in self._model.parameters():
                if weight.requires_grad:
                    weight.fill_(number)
        trained = Trained(self._model, checkpoint.Progress("me", 3, 3), [2.0], [1.0])
        write.write(self.folder, trained, Hyperparameters(), write.Base(self._base, "tiny"), Collection(), [], "mine")

    def found(self) -> float | None:
        """Return the number of the adapter in that folder, read as the engine reads it; None if there is no folder."""
        if not self.folder.exists():
            return None
        adapter = read_adapter("mine", self.folder, self._reader.model, self._reader.base_names)
        files = {path.name for path in self.folder.iterdir()}
        assert {"README.md", "tokenizer.json", "trainer_state.json", "training_args.bin", "loss.svg"} <= files
        (number,) = {float(value) for pair in adapter.pairs.values() for value in (pair.a.min(), pair.a.max())}
        return number


@pytest.fixture
def adapter(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Adapter:
    monkeypatch.setattr(plot, "losses", lambda history, file: file.write_text("<svg/>"))  # drawing takes long
    return Adapter(base, tmp_path / "run" / "adapter")


def test_a_finished_adapter(adapter: Adapter) -> None:
    """The first adapter, and one that replaces another: a whole adapter is there, or none."""
    adapter.write(0.0)  # imports what every child would import again
    shutil.rmtree(adapter.folder)
    seen = [adapter.found() for _ in stages(lambda: adapter.write(1.0))]
    assert set(seen) == {None, 1.0}
    assert len(seen) > 8
    seen = []
    for _ in stages(lambda: adapter.write(2.0)):
        seen.append(adapter.found())
        if seen[-1] != 1.0:
            adapter.write(1.0)
    assert set(seen) == {1.0, None, 2.0}
    assert seen.count(None) == 1  # between two renames
    assert seen == sorted(seen, key=lambda one: {1.0: 0, None: 1, 2.0: 2}[one])
    assert len(seen) > 8
    adapter.write(2.0)
    assert [path.name for path in adapter.folder.parent.iterdir()] == ["adapter"]


def told(work: Callable[[], object]) -> str:
    """Return the message that a user gets."""
    try:
        work()
    except MidfillError as error:
        return str(error)
    return ""


def test_an_adapter_on_a_full_disk(base: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every amount of free space the adapter is written whole, or the user is told and the earlier one stays."""
    monkeypatch.setattr(plot, "losses", lambda history, file: file.write_text("<svg/>"))
    adapter = Adapter(base, small_disk / "run" / "adapter")
    adapter.write(1.0)
    seen = []
    for free in range(0, 700_000, 48_000):
        filler = small_disk / "filler"
        room = shutil.disk_usage(small_disk).free
        filler.write_bytes(b"x" * max(0, room - free))
        said = told(lambda: adapter.write(2.0))
        assert not said or said.startswith("the adapter could not be written: "), said
        filler.unlink()
        seen.append(adapter.found())
        assert [path.name for path in adapter.folder.parent.iterdir()] == ["adapter"]
        if seen[-1] == 2.0:
            break
    assert len(seen) > 2
    assert seen == [1.0] * (len(seen) - 1) + [2.0]
