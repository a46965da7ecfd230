"""``midfill train --when-idle``: installed as it was shown, and whole nights with real processes and a tiny model."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from midfill import cli, news, paths, registry
from midfill.commands import train, when_idle
from midfill.commands.when_idle import Child, go
from midfill.engine.local.adapter_files import describe
from midfill.train import history, night
from midfill.train.history import Entry
from midfill.train.night import Limits
from tests.engine.made import save_tiny
from tests.train.made import project, python_file, repository

PATIENCE_S = 600.0
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systemd, and /proc")


# ---- the service -----------------------------------------------------------------------------------------------------


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A service manager that writes down what it is told; ``fails-on`` holds the word at which it fails."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "systemctl"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/told\nword=$(cat {tmp_path}/fails-on 2>/dev/null)\n'
        'case "$*" in *"${word:-nothing}"*) exit 1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def told() -> list[str]:
        file = tmp_path / "told"
        return file.read_text().splitlines() if file.exists() else []

    return told


@linux
def test_installed_as_it_was_shown_and_removed(
    systemctl: Callable[[], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = project(tmp_path / "my code", 24)
    given = ["train", str(repo), "--name=mine", "--model=embedded", "--steps=50", "--budget=30"]
    assert cli.main([*given, "--when-idle"]) == 1  # nobody is there to be asked
    shown, said = capsys.readouterr()
    assert "add --yes" in said
    assert "files held out" in said  # what it would learn from
    assert systemctl() == ["--user show-environment"]
    folder = tmp_path / "config" / "systemd" / "user"
    assert not folder.exists()
    assert cli.main([*given, "--when-idle", "--yes"]) == 0
    assert shown in capsys.readouterr().out
    for file in ("midfill-train-mine.service", "midfill-train-mine.timer"):
        assert str(folder / file) in shown
        text = (folder / file).read_text()
        assert all(f"    {line}".rstrip() in map(str.rstrip, shown.splitlines()) for line in text.splitlines())
    command = [f'"{word}"' for word in (
        sys.executable, "-P", "-m", "midfill", "train", str(repo), "--name=mine", "--night", "--budget=30",
        "--steps=50", "--model=embedded",
    )]  # fmt: skip
    service = (folder / "midfill-train-mine.service").read_text()
    assert f"ExecStart={' '.join(command)}\n" in service
    assert f'Environment="MIDFILL_DATA_DIR={paths.data_dir()}"' in service
    assert systemctl()[2:] == ["--user daemon-reload", "--user enable --now midfill-train-mine.timer"]
    assert cli.main(["train", str(repo), "--name=mine", "--no-when-idle"]) == 0
    assert "removed from systemd" in capsys.readouterr().out
    assert systemctl()[4:] == [
        "--user disable --now midfill-train-mine.timer", "--user stop midfill-train-mine.service",
        "--user daemon-reload",
    ]  # fmt: skip
    assert not list(folder.iterdir())
    assert cli.main(["train", str(repo), "--name=mine", "--no-when-idle"]) == 0
    assert "nothing is installed" in capsys.readouterr().out


@linux
def test_what_the_manager_refuses_leaves_nothing(
    systemctl: Callable[[], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fails-on").write_text("enable")
    assert cli.main(["train", str(project(tmp_path / "repo", 24)), "--name=mine", "--when-idle", "--yes"]) == 1
    assert "systemctl --user enable --now midfill-train-mine.timer failed" in capsys.readouterr().err
    assert not list((tmp_path / "config" / "systemd" / "user").iterdir())


@linux
def test_without_a_session_there_is_a_line_for_cron(
    systemctl: Callable[[], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fails-on").write_text("show-environment")
    repo = project(tmp_path / "repo", 24)
    assert cli.main(["train", str(repo), "--name=mine", "--when-idle", "--yes"]) == 1
    said = capsys.readouterr().err
    assert "there is no systemd session of yours" in said
    assert f"-m midfill train {repo} --name=mine --night --budget=60" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--start=none",), "--start cannot be used with --when-idle"),
        (("--no-gate",), "--no-gate cannot be used with --when-idle"),
        (("--force",), "--force cannot be used"),
        (("--budget=0",), "--budget 0 is out of range"),
        (("--name=../x",), "no adapter name"),
        (("--rank=0",), "out of range"),
    ],
)
def test_bad_input_is_told_before_anything_is_shown(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", str(project(tmp_path / "repo", 24)), "--when-idle", "--yes", *arguments]) == 1
    shown, said = capsys.readouterr()
    assert message in said
    assert shown == ""


def test_a_repository_that_is_nearly_all_generated_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {f"api/m{n}.py": f"# Code generated by a tool. DO NOT EDIT.\n{python_file(n)}" for n in range(60)}
    repo = repository(tmp_path / "repo", {**files, "main.py": python_file(99)})
    assert cli.main(["train", str(repo), "--when-idle", "--yes"]) == 1
    said = capsys.readouterr().err
    assert "too little to learn from; left out: generated (60)" in said
    assert "Traceback" not in said


# ---- what is started and stopped -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("qwen2", tmp_path_factory.mktemp("models") / "tiny-qwen")


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="mf-") as folder:
        monkeypatch.setenv("MIDFILL_RUNTIME_DIR", folder)
        yield Path(folder)
        when_idle.end_engines(Path(folder))
        when_idle.end_engines(Path(folder) / "night")


NORMAL = ("--priority=normal",)  # a test is not to wait for a machine that has nothing else to do


def child_of(repo: Path, model: Path, *arguments: str) -> Child:
    command = (
        sys.executable, "-P", "-m", "midfill", "train", str(repo), "--name=mine", "--night-child", f"--model={model}",
        "--device=cpu", "--dtype=float32", "--middles=24", "--holes=20", *arguments,
    )  # fmt: skip
    return Child(command, paths.private_dir(history.folder("mine")))


def group(pid: int) -> list[int]:
    """The processes of a process group."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            fields = file.read_text().rpartition(")")[2].split()
            if int(fields[2]) == pid and fields[0] != "Z":
                found.append(int(file.parent.name))
    return found


def until_gone(pid: int) -> None:
    """What was killed needs a moment of processor time to be gone, which on a busy machine it waits for."""
    deadline = time.monotonic() + PATIENCE_S
    while found := group(pid):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def checkpoints() -> list[Path]:
    return sorted(history.folder("mine").glob("checkpoint-*"))


@linux
def test_stopped_it_is_gone_and_its_checkpoint_is_there(tiny: Path, tmp_path: Path) -> None:
    """A real training: nothing of it is left when ``stop`` returns, and a step of it is saved."""
    child = child_of(project(tmp_path / "repo", 24), tiny, "--steps=100000")
    assert child.start()
    pid = child.pid
    deadline = time.monotonic() + PATIENCE_S
    while "step 40 of" not in (history.folder("mine") / "night.err").read_text():
        assert child.status() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    workers = group(pid)
    assert len(workers) == 2  # the command and the worker
    for each in workers:
        assert os.sched_getscheduler(each) == os.SCHED_IDLE
        assert os.getpriority(os.PRIO_PROCESS, each) == 19
    assert child.stop() is None
    until_gone(pid)
    assert checkpoints()
    assert child.stop() is None  # there is nothing to stop


@linux
def test_what_does_not_listen_is_ended(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time, subprocess\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\nprint('x', flush=True)\n"
        "time.sleep(600)\n"
    )
    child = Child((sys.executable, "-c", code), tmp_path)
    assert child.start()
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "night.out").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pid = child.pid
    assert len(group(pid)) == 2
    assert child.stop() is None
    until_gone(pid)


def test_never_two_at_once(tmp_path: Path) -> None:
    """Of whatever adapter and repository; nor beside a training that a person started."""
    sleeps = (sys.executable, "-c", "import time; time.sleep(600)")
    first, second = Child(sleeps, tmp_path), Child(sleeps, tmp_path)
    with train.locked():
        assert not first.start()
    assert first.start()
    assert not second.start()
    with train.locked():  # a person's own begins all the same
        pass
    assert first.stop() is None
    assert second.start()
    assert second.stop() is None


@linux
def test_a_second_night_of_the_same_adapter_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repo = project(tmp_path / "repo", 24)
    command = [sys.executable, "-P", "-m", "midfill", "train", str(repo), "--name=mine", "--night"]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "JOURNAL_STREAM": "8:1"})
    deadline = time.monotonic() + PATIENCE_S
    while not (history.folder("mine") / ".night").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "a night of mine is going on already\n")
    time.sleep(0.5)  # it listens to the signal once it waits
    first.send_signal(signal.SIGTERM)
    _, said = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 0, said
    assert "ended; the next night goes on" in said


# ---- whole nights ----------------------------------------------------------------------------------------------------


class Watcher:
    """Somebody who comes back to work once, as soon as the training has come so far."""

    def __init__(self, until: str) -> None:
        """``until``: what its progress says by then."""
        self._until, self.came_at = until, 0.0
        self.gone: list[list[int]] = []
        self.child: Child | None = None

    def reason(self) -> str:
        file = history.folder("mine") / "night.err"
        if self.came_at:
            if self.child is not None and self.child.pid == 0:
                self.gone.append(checkpoints_seen())
            return "somebody works" if time.monotonic() - self.came_at < 1.0 else ""
        if self._until and file.exists() and self._until in file.read_text():
            self.came_at = time.monotonic()
        return "somebody works" if self.came_at else ""


def checkpoints_seen() -> list[int]:
    return [int(one.name.split("-")[1]) for one in checkpoints()]


def spend_a_night(child: Child, until: str = "", budget_s: float = PATIENCE_S) -> tuple[Entry | None, Watcher]:
    watcher = Watcher(until)
    watcher.child = child
    limits = Limits(budget_s=budget_s, quiet_s=0.0, patience_s=2 * PATIENCE_S)
    return go("mine", child, watcher.reason, limits), watcher


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(night, "WAIT_LOOK_S", 0.2)


@linux
@pytest.mark.usefixtures("quick")
def test_nights_that_are_refused_and_unchanged_and_too_short(tiny: Path, tmp_path: Path) -> None:
    """Three real nights: interrupted and refused (with such a rate nothing is learned), nothing new, too short."""
    repo = project(tmp_path / "repo", 24)
    entry, watcher = spend_a_night(child_of(repo, tiny, *NORMAL, "--steps=60", "--rate=1e-9"), "step 20 of")
    assert entry is not None
    assert (entry.kind, entry.steps, entry.n_stops, entry.against) == ("refused", 60, 1, "auto")
    assert watcher.gone
    assert watcher.gone[0][0] >= 20  # saved when it gave way
    assert entry.before is not None
    assert (history.folder("mine") / "night.err").read_text().count("step 1 of") == 0  # what was written last went on
    assert registry.names() == []
    (line,) = news.take()
    assert line.startswith("mine was trained while nobody worked and is not better")
    entry, _ = spend_a_night(child_of(repo, tiny, *NORMAL, "--steps=60", "--rate=1e-9"))
    assert entry is not None
    assert entry.kind == "unchanged"
    assert news.take() == []
    (repo / "package" / "new.py").write_text(python_file(77))
    entry, _ = spend_a_night(child_of(repo, tiny, *NORMAL, "--steps=100000"), budget_s=25.0)
    assert entry is not None
    assert (entry.kind, entry.reason) == ("unfinished", "goes on the next night")
    assert entry.steps == checkpoints_seen()[-1] > 0
    assert news.take() == []
    run = history.state("mine").run
    (repo / "package" / "new.py").write_text(python_file(78))  # the run goes on though files change under it
    child = child_of(repo, tiny, *NORMAL, "--steps=100000")
    _, watcher = spend_a_night(child, "step ", budget_s=25.0)
    assert history.state("mine").run == run
    assert watcher.gone[0][-1] >= entry.steps
    assert [one.kind for one in history.read("mine")] == ["refused", "unchanged", "unfinished", "unfinished"]


@linux
@pytest.mark.usefixtures("quick")
def test_a_night_that_promotes_goes_on_from_there_the_next_time(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is better is registered, and the next night goes on from it and has to be better than that."""
    repo = project(tmp_path / "repo", 24)
    forced = (*NORMAL, "--force", "--steps=5", "--rank=2", "--alpha=8")  # a random model does not become better
    entry, _ = spend_a_night(child_of(repo, tiny, *forced))
    assert entry is not None
    first = describe(registry.folder_of("mine")).digest
    assert (entry.kind, entry.digest, entry.against) == ("promoted", first, "auto")
    (line,) = news.take()
    assert line.startswith("mine learned from your code while nobody worked")
    (repo / "package" / "new.py").write_text(python_file(77))
    entry, _ = spend_a_night(child_of(repo, tiny, *forced))
    assert entry is not None
    assert (entry.kind, entry.against, entry.replaced) == ("promoted", "mine", first)
    assert entry.digest == describe(registry.folder_of("mine")).digest != first
    assert describe(registry.versions("mine")[0]).digest == first
    assert "It went on from the adapter mine" in (registry.folder_of("mine") / "README.md").read_text()


@linux
@pytest.mark.usefixtures("quick")
def test_a_night_that_fails_says_so_once(tiny: Path, tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo", {"main.py": python_file(1)})
    for line in (1, 0, 0):
        entry, _ = spend_a_night(child_of(repo, tiny))
        assert entry is not None
        assert entry.kind == "failed"
        assert entry.reason.startswith("1 files with 991 characters are too little to learn from; ")
        assert len(news.take()) == line


@pytest.mark.parametrize(
    "code",
    ["import sys; sys.exit(2)", "print('{}')", 'print(\'{"promoted": true, "gate": {"likelihood": []}}\')'],
)
def test_figures_that_are_none_are_a_failure(code: str, tmp_path: Path) -> None:
    child = Child((sys.executable, "-c", code), tmp_path)
    clock = itertools.count(0.0, 0.3)
    entry = go(
        "mine", child, lambda: "", Limits(quiet_s=0.0), clock=lambda: float(next(clock)),
        sleep=lambda _: time.sleep(0.02),
    )  # fmt: skip
    assert entry is not None
    assert (entry.kind, entry.reason) == ("failed", "the figures of the training could not be read")


def test_what_is_written_is_the_users_alone() -> None:
    child = Child((sys.executable, "-c", "pass"), paths.private_dir(history.folder("mine")))
    assert child.start()
    child.stop()
    history.keep("mine", history.State("a"))
    for name in ("night.out", "night.err", history.STATE):
        assert stat.S_IMODE((history.folder("mine") / name).stat().st_mode) == 0o600
