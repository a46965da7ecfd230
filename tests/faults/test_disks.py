"""Disks that are really full, homes that are really read-only, and files of another user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.conftest import Open, fill
from tests.fuzz.wire import REPOSITORY, folders

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux mounts and users")
NOBODY = 65534
PATIENCE_S = 120.0


def test_records_and_logs_on_a_full_disk(window: Open, small_disk: Path) -> None:
    """Suggestions come; nothing is recorded, and no popup appears."""
    fill(small_disk)
    one = window(MIDFILL_STATE_DIR=str(small_disk))
    assert one.text().startswith("x_7")
    assert one.call("midfill/explain")["trace"]["shown"]
    assert one.popups == []


def test_a_runtime_folder_on_a_full_disk(window: Open, small_disk: Path) -> None:
    """No engine can be found: the status has one clear line, and every request is answered."""
    fill(small_disk)
    one = window({"first_answer_s": 2}, MIDFILL_RUNTIME_DIR=str(small_disk))
    assert one.text() == ""
    assert one.call("midfill/status")["state"] in ("starting", "error")
    assert one.popups == []


@pytest.mark.model
def test_a_model_is_prepared_whole_or_not_at_all(small_disk: Path, tmp_path: Path) -> None:
    from tests.engine.test_gguf import tiny_gguf

    source = tiny_gguf(tmp_path / "tiny.gguf", "llama")
    fill(small_disk)
    command = [sys.executable, "-P", "-m", "midfill", "model", "prepare", str(source)]
    env = {**os.environ, **folders(tmp_path), "MIDFILL_CACHE_DIR": str(small_disk)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode != 0
    assert not list(small_disk.rglob("manifest.json"))


@pytest.mark.model
def test_a_checkpoint_on_a_full_disk_leaves_the_one_before(small_disk: Path) -> None:
    import torch

    from midfill.train import checkpoint

    tensors = {"a": torch.ones(20_000)}  # 80 kB
    checkpoint.save(small_disk, checkpoint.Progress("me", 1, 9), tensors)
    fill(small_disk)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(small_disk, checkpoint.Progress("me", 2, 9), tensors)
    found = checkpoint.latest(small_disk, "me")
    assert found is not None
    assert found[0].step == 1
    assert sorted(path.name for path in small_disk.iterdir()) == ["checkpoint-000001", "filler"]


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="becoming another user needs root")
def test_a_read_only_home(tmp_path: Path, small_disk: Path) -> None:
    """Nothing can be written anywhere but below /tmp: suggestions come all the same."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"chunks": ["a", " + b"]}))
    code = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "from pathlib import Path; from tests.faults.conftest import FaultyWindow; import os\n"
        f"one = FaultyWindow(Path({str(tmp_path)!r}), dict(os.environ))\n"
        "assert one.text() == 'a + b', one.states\n"
        "assert not one.popups\n"
        "one.wire.close()\n"
    )
    env = {"HOME": str(small_disk), "MIDFILL_SCRIPT": str(script), "MIDFILL_RUNTIME_DIR": str(tmp_path / "run"),
           "PYTHONPATH": str(REPOSITORY / "server")}  # fmt: skip
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("MIDFILL_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env={**cleared, **env}, cwd=tmp_path, capture_output=True, text=True,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not list(small_disk.iterdir())


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="becoming another user needs root")
def test_another_user_gets_nothing(window: Open) -> None:
    """Another user can open neither the socket, nor the record with the token, nor the lock; and a folder of that user
    is not taken for ours."""
    one = window()
    assert one.text().startswith("x_7")
    tries = "\n".join((
        "import os, socket, sys",
        "folder = sys.argv[1]",
        f"os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})",
        "refused = 0",
        "for name in sys.argv[2:]:",
        "    for what in (lambda p: open(p), lambda p: open(p, 'a'), lambda p: os.unlink(p),",
        "                 lambda p: socket.socket(socket.AF_UNIX).connect(p), lambda p: os.listdir(folder)):",
        "        try: what(os.path.join(folder, name))",
        "        except PermissionError: refused += 1",
        "print(refused)",
    ))  # fmt: skip
    names = [path.name for path in one.runtime.iterdir() if path.suffix in (".sock", ".json", ".lock")]
    assert len(names) == 3
    done = subprocess.run(
        [sys.executable, "-I", "-c", tries, str(one.runtime), *names], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(5 * len(names))
    assert one.text().startswith("x_7")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="giving files away needs root")
def test_a_runtime_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, NOBODY, NOBODY)
    code = (
        "from midfill import paths, types\ntry: paths.runtime_dir()\nexcept types.MidfillError as error: print(error)"
    )
    env = {"MIDFILL_RUNTIME_DIR": str(theirs), "PYTHONPATH": str(REPOSITORY / "server")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env={**os.environ, **env}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{theirs} belongs to another user"), done.stderr


def test_few_descriptors(window: Open, tmp_path: Path) -> None:
    """64 file descriptors are enough."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        one = window()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert one.text().startswith("x_7")
    os.kill(one.wire.process.pid, signal.SIGTERM)
    assert one.wire.process.wait(10) == 143
