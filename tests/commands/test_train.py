"""``midfill train`` as a person runs it: real processes, a tiny model, a small repository."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from midfill import accepted, cli, paths, registry
from midfill.accepted import AcceptedText
from midfill.engine.local.lora.files import describe, digest_of
from tests.engine.test_adapters import save_adapter
from tests.train.made import project, repository

pytestmark = pytest.mark.usefixtures("own_runtime")
PATIENCE_S = 600.0


def command(*arguments: str, model: Path) -> list[str]:
    base = [sys.executable, "-P", "-m", "midfill", "train", f"--model={model}", "--device=cpu", "--dtype=float32"]
    return [*base, "--priority=normal", "--middles=24", *arguments]


def train(*arguments: str, model: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, model=model), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_the_whole_way(tiny: Path, tmp_path: Path) -> None:
    """Train, measure, show and register: here by force, because a random model does not become better."""
    repo = project(tmp_path / "repo", 24)
    text = (repo / "package" / "module_0.py").read_text()
    start = text.index("math.floor(")
    path = str((repo / "package" / "module_0.py").resolve())
    accepted.keep(repo, AcceptedText("a", time.time(), path, text[start - 40 : start], "math.floor(", ""))
    paths.config_file().parent.mkdir(parents=True, exist_ok=True)
    paths.config_file().write_text("learn_from_accepted = true\n")
    done = train(str(repo), "--name=mine", "--steps=4", "--holes=20", "--force", "--draw=own", model=tiny)
    assert done.returncode == 0, done.stderr
    for said in (
        "files held out",
        "1 texts that you accepted and kept come more often",
        "Answers that follow the repository's style",
        "measuring the base",
        "step 4 of 4",
        "Before and after",
        "exact match, first line",
        "Loss at held-out",
    ):
        assert said in done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["steps"], line["promoted"], line["base"]) == (4, True, str(tiny))
    all_holes = {row["metric"]: row["n"] for row in line["gate"]["rows"] if "several" not in row["name"]}
    several = {row["metric"]: row["n"] for row in line["gate"]["rows"] if "several" in row["name"]}
    assert 15 <= all_holes.pop("first_line") <= 20  # where a middle begins with a line end, there is none
    assert set(all_holes.values()) == {20}
    assert not several  # too few of them to be judged by themselves
    assert line["gate"]["promoted"] is False
    assert line["gate"]["likelihood"][0]["name"] == "all tokens"
    assert line["gate"]["likelihood"][0]["n"] == 24
    folder = registry.folder_of("mine")
    assert {"adapter_model.safetensors", "adapter_config.json", "README.md", "loss.svg"} <= {
        file.name for file in folder.iterdir()
    }
    card = (folder / "README.md").read_text()
    assert "Verdict: not promoted" in card
    assert "Middles with the repository's own names came more often." in card
    assert {row["name"]: row["style"] for row in line["gate"]["style"]}["names of several words"] == "snake_case"
    assert re.search(r"The base's weights were in (int8|bfloat16|float32)\.", card)
    assert re.search(r"Judged with the base in (int8|bfloat16|float32)\.$", card, re.M)
    compared = subprocess.run(
        [sys.executable, "-P", "-m", "midfill", "eval", "adapter", "none", "mine", f"--repo={repo}", f"--model={tiny}",
         "--device=cpu", "--dtype=float32", "--middles=30", "--holes=20"],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert compared.returncode == 0, compared.stderr
    said = json.loads(compared.stdout.splitlines()[-1])
    (row, *_) = said["rows"]
    assert row["n"] == 30
    assert row["before"] != row["after"]
    assert "30 middles of" in compared.stderr
    assert {one["metric"] for one in said["answers"]} == all_holes.keys() | {"first_line"}
    assert {one["n"] for one in said["answers"] if one["metric"] != "first_line"} == {20}
    assert "by the gate's rules " in compared.stderr
    check = subprocess.run(
        [sys.executable, "-P", "-m", "midfill", "adapters", "check", "mine", f"--model={tiny}"],
        capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert check.returncode == 0, check.stderr


def test_an_estimate_trains_nothing(tiny: Path, tmp_path: Path) -> None:
    done = train(str(project(tmp_path / "repo", 24)), "--name=mine", "--estimate", "--steps=50", model=tiny)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["n_steps"] == 50
    assert found["step_s"] > 0
    assert found["minutes"] == pytest.approx(50 * found["step_s"] / 60)
    assert found["loss"] > 1  # of a random model
    assert 0 < found["known"] <= 1
    assert 0 < found["memory"] < found["memory_there"]
    assert found["verdict"] in done.stderr.replace("\n", " ")
    assert not (paths.data_dir() / "training" / "mine" / "adapter").exists()


def test_it_goes_on_from_the_adapter_that_is_set(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user's first adapter is a fresh one; the next run continues from it, unless another shape is asked for."""
    repo = project(tmp_path / "repo", 24)
    given = ("--name=mine", "--holes=20", "--force", "--rank=2", "--alpha=8", "--targets=q_proj,v_proj")
    done = train(str(repo), "--steps=6", *given, model=tiny)
    assert done.returncode == 0, done.stderr
    assert "starting with a fresh adapter" in done.stderr
    first = json.loads(done.stdout.splitlines()[-1])["loss"]
    done = train(str(repo), "--name=next", "--steps=3", "--against=mine", "--no-gate", model=tiny)
    assert done.returncode == 0, done.stderr
    assert "continuing from the adapter mine" in done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert line["loss"]["held_out_before"] == pytest.approx(first["held_out_after"], abs=1e-3)
    card = (Path(line["folder"]) / "README.md").read_text()
    assert "It went on from the adapter mine (" in card
    assert "rank 2, alpha 8" in card
    assert "averaged with those of the start, which count 50%" in card
    assert cli.main(["train", str(repo), "--name=x", "--no-gate", f"--model={tiny}", "--start-share=1"]) == 1
    assert "--start-share is out of range" in capsys.readouterr().err
    arguments = ["train", str(repo), "--name=x", "--no-gate", f"--model={tiny}", "--device=cpu", "--rank=4"]
    assert cli.main([*arguments, "--start=mine"]) == 1
    assert "mine has rank 2, alpha 8, on q_proj, v_proj" in capsys.readouterr().err
    done = train(str(repo), "--name=x", "--steps=1", "--against=mine", "--rank=4", "--no-gate", model=tiny)
    assert "starting with a fresh adapter" in done.stderr


def test_on_top_of_another_for_a_part(tiny: Path, tmp_path: Path) -> None:
    """The adapter below stays as it is, and the sum is judged against it alone."""
    repo = project(tmp_path / "repo", 24)
    save_adapter(AutoModelForCausalLM.from_pretrained(tiny), paths.adapters_dir() / "team", r=2)
    below = describe(registry.folder_of("team")).digest
    more = ("--name=mine", "--steps=2", "--on-top-of=team", "--folder=package", "--language=py", "--holes=20")
    done = train(str(repo), *more, "--force", model=tiny)
    assert done.returncode == 0, done.stderr
    assert 'Set adapters = ["package/**=team+mine"]' in " ".join(done.stderr.split())
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["against"], line["replaced"], line["served_before"]) == ("team", below, below)
    assert line["served"] == digest_of([below, line["digest"]])
    assert describe(registry.folder_of("team")).digest == below
    folder = registry.folder_of("mine")
    assert f"on top of the adapter team ({below[:12]})" in (folder / "README.md").read_text()
    assert registry.facts(folder).endswith(f"on top of team ({below[:12]})")
    (judged, *_) = line["gate"]["likelihood"]
    assert judged["before"] != judged["after"]
    assert judged["before"] == pytest.approx(judged["after"], rel=0.05)  # without the one below it is far off


def test_what_is_not_better_is_not_registered(tiny: Path, tmp_path: Path) -> None:
    done = train(str(project(tmp_path / "repo", 24)), "--name=mine", "--steps=1", "--holes=20", model=tiny)
    assert done.returncode == 2, done.stderr
    assert "not better" in done.stderr
    assert registry.names() == []


def test_killed_and_gone_on(tiny: Path, tmp_path: Path) -> None:
    """After Ctrl-C the same command continues from the last step; if the whole group is killed, its checkpoints
    stay."""
    repo = project(tmp_path / "repo", 24)
    arguments = (str(repo), "--name=mine", "--steps=400", "--no-gate")
    process = subprocess.Popen(
        command(*arguments, model=tiny), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "step 40 of" in line:
            break
    process.send_signal(signal.SIGINT)
    os.killpg(process.pid, signal.SIGINT)
    said = process.stdout.read()
    assert process.wait(PATIENCE_S) == 130
    assert "the same command continues" in said
    folder = paths.data_dir() / "training" / "mine"
    saved = max(int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*"))
    assert 40 <= saved < 400
    process = subprocess.Popen(
        command(*arguments, model=tiny), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    first = next(line for line in process.stdout if " step " in line)
    assert int(first.split("step ")[1].split(" of")[0]) > 40
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE_S)
    time.sleep(0.1)
    assert list(folder.glob("checkpoint-*"))


def test_the_worker_ends_with_its_command(tiny: Path, tmp_path: Path) -> None:
    repo = project(tmp_path / "repo", 24)
    process = subprocess.Popen(
        command(str(repo), "--name=mine", "--steps=4000", "--no-gate", model=tiny), stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "step 1 of" in line:
            break
    workers = _workers(process.pid)
    assert len(workers) == 1
    process.kill()
    process.wait()
    deadline = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{workers[0]}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _workers(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found if b"midfill.train.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.parametrize(
    ("n_files", "arguments", "message"),
    [
        (0, (), "not enough to learn from"),
        (1, (), "not enough to learn from"),
        (40, ("--held-out", "{empty}"), "no file is left to hold out"),
        (40, ("--holes=60",), "holes, too few to show a difference"),
        (40, ("--rank=0",), "out of range"),
        (40, ("--on-top-of=none",), "--on-top-of none is no adapter"),
        (40, ("--on-top-of=gone",), "no adapter named 'gone'"),
        (40, ("--start=embedded+none",), "has no embedded adapter"),
        (40, ("--language=rust",), "no file is rust"),
        (40, ("--tokens=10",), "use 256 or more"),
        (40, ("--name=../x",), "not a valid adapter name"),
        (40, ("--template=prefix", "--no-gate"), "no fill-in-the-middle tokens"),
        (40, ("--targets=nothing", "--no-gate"), "no linear layers nothing"),
    ],
)
def test_bad_input_is_told_before_the_work(
    n_files: int, arguments: tuple[str, ...], message: str, tiny: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("midfill.train.gate.MIN_HOLES", 21 if "--holes=60" not in arguments else 10_000)
    (tmp_path / "empty").mkdir()
    repo = repository(tmp_path / "repo", {}) if not n_files else project(tmp_path / "repo", n_files)
    given = [argument.format(empty=tmp_path / "empty") for argument in arguments]
    assert cli.main(["train", str(repo), *given, f"--model={tiny}", "--device=cpu", "--priority=normal"]) == 1
    assert message in capsys.readouterr().err
    assert not registry.names()


def test_too_little_memory_is_told_before_the_work(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(project(tmp_path / "repo", 24)), f"--model={tiny}", "--device=cpu", "--no-gate"]
    assert cli.main([*arguments, "--tokens=200000000"]) == 1
    said = capsys.readouterr().err
    assert "training needs about" in said
    assert "GB are of memory free" in said
