"""``midfill train --when-idle``: it installs the service that it showed, and whole nights run with real processes and a
tiny model."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from midfill import cli, news, paths, registry
from midfill.commands import night, train_run
from midfill.commands.night import Child, go
from midfill.config import Config
from midfill.engine.local.lora.files import describe
from midfill.train import history
from midfill.train.history import Entry
from midfill.train.night import Limits
from tests.train.made import project, python_file, repository

pytestmark = pytest.mark.usefixtures("own_runtime")
PATIENCE_S = 600.0
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="systemd, and /proc")


# ---- the service -----------------------------------------------------------------------------------------------------


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A service manager that writes down its commands; it fails at a command that contains the word in ``fails-on``."""
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
    assert cli.main([*given, "--when-idle"]) == 1  # midfill cannot ask, because there is no terminal
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
    assert "you have no systemd session" in said
    assert f"-m midfill train {repo} --name=mine --night --budget=60" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--start=none",), "--start cannot be used with --when-idle"),
        (("--no-gate",), "--no-gate cannot be used with --when-idle"),
        (("--force",), "--force cannot be used"),
        (("--budget=0",), "--budget 0 is out of range"),
        (("--name=../x",), "not a valid adapter name"),
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
    assert "not enough to learn from; left out: generated (60)" in said
    assert "Traceback" not in said


# ---- what is started and stopped -------------------------------------------------------------------------------------


NORMAL = ("--priority=normal",)  # a test is not to wait for a machine that has nothing else to do


def child_of(repo: Path, model: Path, *arguments: str) -> Child:
    command = (
        sys.executable, "-P", "-m", "midfill", "train", str(repo), "--name=mine", "--night-child", f"--model={model}",
        "--device=cpu", "--dtype=float32", "--middles=24", "--holes=20", *arguments,
    )  # fmt: skip
    return Child(command, paths.private_dir(history.folder("mine")))


def group(pid: int) -> list[int]:
    """Return the processes of a process group."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            fields = file.read_text().rpartition(")")[2].split()
            if int(fields[2]) == pid and fields[0] != "Z":
                found.append(int(file.parent.name))
    return found


def until_gone(pid: int) -> None:
    """Wait until the killed processes are gone: on a busy machine it takes a while until they get processor time to
    end."""
    deadline = time.monotonic() + PATIENCE_S
    while found := group(pid):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def checkpoints() -> list[Path]:
    return sorted(history.folder("mine").glob("checkpoint-*"))


@linux
def test_stopped_it_is_gone_and_its_checkpoint_is_there(tiny: Path, tmp_path: Path) -> None:
    """A real training: when ``stop`` returns, its processes have ended, and one of its steps is saved."""
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
    """Two nights never train at once, whatever their adapters; nor does a night beside a training that a person
    started."""
    sleeps = (sys.executable, "-c", "import time; time.sleep(600)")
    first, second = Child(sleeps, tmp_path), Child(sleeps, tmp_path)
    with train_run.locked():
        assert not first.start()
    assert first.start()
    assert not second.start()
    with train_run.locked():  # a person's own begins all the same
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
    assert (done.returncode, done.stderr) == (0, "a night of mine is already running\n")
    time.sleep(0.5)  # it listens to the signal once it waits
    first.send_signal(signal.SIGTERM)
    _, said = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 0, said
    assert "ended; the next night goes on" in said


# ---- whole nights ----------------------------------------------------------------------------------------------------


class Evening:
    """Decides what happens by how far the training is, and not by the clock of this machine."""

    def __init__(self, child: Child, comes_at: str = "", over_at: str = "") -> None:
        """The texts of the training's progress at which somebody comes back to work for a while, and at which the
        budget is used up."""
        self._child, self._comes_at, self._over_at = child, comes_at, over_at
        self._n_left = 5  # looks at which somebody works
        self._clock = 0.0
        self.saved: list[int] = []  # steps of the checkpoints while somebody worked

    def _says(self, text: str) -> bool:
        file = history.folder("mine") / "night.err"
        return bool(text) and file.exists() and text in file.read_text()

    def reason(self) -> str:
        if self._n_left and (self._n_left < 5 or self._says(self._comes_at)):
            self._n_left -= 1
            if self._child.pid == 0:
                self.saved = steps_saved()
            return "somebody works"
        return ""

    def clock(self) -> float:
        self._clock += 20.0 if self._child.pid and self._says(self._over_at) else 0.01
        return self._clock


def steps_saved() -> list[int]:
    return [int(one.name.split("-")[1]) for one in checkpoints()]


def spend_a_night(child: Child, **happens: str) -> tuple[Entry, Evening]:
    evening = Evening(child, **happens)
    limits = Limits(budget_s=100.0, quiet_s=0.0)
    entry = go("mine", child, evening.reason, limits, clock=evening.clock, sleep=lambda _: time.sleep(0.2))
    assert entry is not None
    return entry, evening


@pytest.mark.parametrize(
    ("top", "is_there", "against", "start"),
    [
        (None, False, "auto", None),
        (None, True, "mine", None),
        ("team", False, "team", None),
        ("team", True, "team + mine", "mine"),
    ],
)
def test_a_night_goes_on_from_the_adapter_of_its_name(
    top: str | None, is_there: bool, against: str, start: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On top of another one, the sum of both is what the new sum has to improve on."""
    seen: list[argparse.Namespace] = []
    monkeypatch.setattr(train_run, "once", lambda arguments, *_: seen.append(arguments))
    if is_there:
        (paths.adapters_dir() / "mine").mkdir(parents=True)
    given = argparse.Namespace(priority="normal", name="mine", folders=["."], on_top_of=top, start=None, against=None)
    night.child(given, Config())
    assert (seen[0].against, seen[0].start, seen[0].on_top_of) == (against, start, top)


@linux
def test_interrupted_and_refused_and_then_nothing_new(tiny: Path, tmp_path: Path) -> None:
    repo = project(tmp_path / "repo", 24)
    slow = (*NORMAL, "--steps=60", "--rate=1e-9")  # at such a rate nothing is learned
    entry, evening = spend_a_night(child_of(repo, tiny, *slow), comes_at="step 20 of")
    assert (entry.kind, entry.steps, entry.n_stops, entry.against) == ("refused", 60, 1, "none")
    assert evening.saved
    assert max(evening.saved) >= 20
    assert entry.before is not None
    assert "step 20 of" not in (history.folder("mine") / "night.err").read_text()  # it went on behind it
    assert registry.names() == []
    (line,) = news.take()
    assert line.startswith("mine was trained while you were away and is not better")
    entry, _ = spend_a_night(child_of(repo, tiny, *slow))
    assert entry.kind == "unchanged"
    assert news.take() == []
    assert [one.kind for one in history.read("mine")] == ["refused", "unchanged"]
    history.forget("mine")
    assert history.state("mine") == history.State()


@linux
def test_a_run_goes_on_the_next_night_though_files_change(tiny: Path, tmp_path: Path) -> None:
    repo = project(tmp_path / "repo", 24)
    entry, _ = spend_a_night(child_of(repo, tiny, *NORMAL, "--steps=100000"), over_at="step 20 of")
    assert (entry.kind, entry.reason) == ("unfinished", "goes on the next night")
    assert entry.steps == max(steps_saved()) >= 20
    assert news.take() == []
    run = history.state("mine").run
    assert run
    (repo / "package" / "new.py").write_text(python_file(78))
    again, _ = spend_a_night(child_of(repo, tiny, *NORMAL, "--steps=100000"), over_at=" step ")
    assert history.state("mine").run == run
    assert again.steps > entry.steps
    assert "step 20 of" not in (history.folder("mine") / "night.err").read_text()


@linux
def test_what_is_better_is_registered_and_the_next_night_goes_on_from_it(tiny: Path, tmp_path: Path) -> None:
    repo = project(tmp_path / "repo", 24)
    forced = (*NORMAL, "--force", "--steps=5", "--rank=2", "--alpha=8")  # a random model does not become better
    entry, _ = spend_a_night(child_of(repo, tiny, *forced))
    first = describe(registry.folder_of("mine")).digest
    assert (entry.kind, entry.digest, entry.against) == ("promoted", first, "none")
    (line,) = news.take()
    assert line.startswith("mine learned from your code while you were away")
    (repo / "package" / "new.py").write_text(python_file(77))
    entry, _ = spend_a_night(child_of(repo, tiny, *forced))
    assert (entry.kind, entry.against, entry.replaced) == ("promoted", "mine", first)
    assert entry.digest == describe(registry.folder_of("mine")).digest != first
    assert describe(registry.versions("mine")[0]).digest == first
    assert "It went on from the adapter mine" in (registry.folder_of("mine") / "README.md").read_text()


@linux
def test_a_night_that_fails_says_so_once(tiny: Path, tmp_path: Path) -> None:
    repo = repository(tmp_path / "repo", {"main.py": python_file(1)})
    for n_lines in (1, 0, 0):
        entry, _ = spend_a_night(child_of(repo, tiny))
        assert entry.kind == "failed"
        assert entry.reason.startswith("1 files with 991 characters are not enough to learn from; ")
        assert len(news.take()) == n_lines


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
