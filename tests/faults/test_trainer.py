"""The trainer killed at every stage of saving: what is found afterwards is whole, and never a mixed pair."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.model, pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX processes")]

torch = pytest.importorskip("torch")

from midfill import registry  # noqa: E402
from midfill.train import checkpoint  # noqa: E402

CALLS = ("mkdir", "open", "write", "fsync", "rename", "rmdir", "unlink")
MOST = 80  # calls of one save, at least


def killed_after(n_calls: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a child that is killed before its ``n_calls``-th change of the disk; False: it got to its end."""
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
    """Kill at the first, second ... change of the disk, until one run gets to its end."""
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
    """Under the name stands the old one or the new one, whole; for one moment none, and the old one is a version."""
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
