"""Every command in broken surroundings, as a process of its own: a line for people, never a traceback.

Root may run the tests, for whom no folder is read-only: a full disk is a limit on the size of files, a folder that
cannot be had is a file in its place or one below /proc.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import cli_stage
from tests.cli_stage import PREPARE

FOLDERS = ("CONFIG", "DATA", "STATE", "RUNTIME", "CACHE")

COMMANDS: dict[str, list[str]] = {
    "--version": ["--version"],
    "--help": ["--help"],
    "a usage error": ["stats", "--days", "x"],
    "a usage error of another": ["complete"],  # a command whose packages are gone says that first
    "complete": ["complete", "a.py:1"],
    "complete --json": ["complete", "a.py:1", "--json"],
    "explain": ["explain"],
    "explain place": ["explain", "a.py:1"],
    "stats": ["stats"],
    "stats --clear": ["stats", "--clear"],
    "model list": ["model", "list"],
    "model prepare": ["model", "prepare", "./m"],
    "model info": ["model", "info", "./m"],
    "adapters list": ["adapters", "list"],
    "adapters info": ["adapters", "info", "./m", "--no-check"],
    "adapters rollback": ["adapters", "rollback", "x"],
    "adapters export": ["adapters", "export", "./m", "./out"],
    "adapters remove": ["adapters", "remove", "x"],
    "train": ["train", ".", "--no-gate", "--model", "./m"],
    "replay": ["replay", "a.py", "--model", "./m"],
    "eval repo": ["eval", "repo", ".", "--model", "./m"],
    "eval compare": ["eval", "compare", "a.py", "b.py"],
    "doctor": ["doctor"],
    "doctor --verify": ["doctor", "--verify", "--json"],
}
# These start an engine, which imports torch before it finds that ./m is no model.
WITH_ENGINE: dict[str, list[str]] = {
    "adapters check": ["adapters", "check", "./m", "--model", "./m"],
    "adapters add": ["adapters", "add", "./m", "--name", "x", "--model", "./m"],
    "serve": ["serve", "--model", "./m", "--idle-exit", "1"],
}


@dataclass
class Surroundings:
    """The environment of a command; the rows below break it."""

    home: Path
    env: dict[str, str]
    before: list[str] = field(default_factory=list)  # what happens in the command's own process
    gone: list[str] = field(default_factory=list)  # packages

    def folder(self, name: str) -> Path:
        return self.home / name.lower()


def _set(name: str, value: str) -> Callable[[Surroundings], object]:
    return lambda there: there.env.__setitem__(name, value)


def _file_instead(name: str) -> Callable[[Surroundings], object]:
    def put(there: Surroundings) -> None:
        shutil.rmtree(there.folder(name), ignore_errors=True)
        there.folder(name).write_bytes(b"a file")

    return put


def _every(*changes: Callable[[Surroundings], object]) -> Callable[[Surroundings], object]:
    return lambda there: [change(there) for change in changes]


def _config(content: bytes) -> Callable[[Surroundings], object]:
    def write(there: Surroundings) -> None:
        (there.folder("CONFIG") / "config.toml").write_bytes(content)

    return write


def _config_folder(there: Surroundings) -> None:
    (there.folder("CONFIG") / "config.toml").unlink()
    (there.folder("CONFIG") / "config.toml").mkdir()


def _before(name: str) -> Callable[[Surroundings], object]:
    return lambda there: there.before.append(name)


def _stale(there: Surroundings) -> None:
    """Leave the record and the socket of an engine that has ended, for every model."""
    where = there.folder("RUNTIME")
    where.mkdir(mode=0o700)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(where / "dead.sock"))
    left.close()
    record = {"pid": 1, "socket": str(where / "dead.sock"), "port": 0, "token": "t", "version": "0"}
    for key in _keys(there):
        (where / f"engine-{key}.json").touch(mode=0o600)
        (where / f"engine-{key}.json").write_text(json.dumps(record))
        for name in ("end", "work", "suspects"):
            (where / f"engine-{key}.{name}").write_bytes(b"\xff{")


def _keys(there: Surroundings) -> list[str]:
    program = (
        "from midfill.config import Config; from midfill.engine import record\n"
        "print(*(record.place(Config(model=model)).key for model in ('auto', './m')))"
    )
    command = [sys.executable, "-P", "-c", program]
    said = subprocess.run(command, env=there.env, cwd=there.home, capture_output=True, text=True, check=True)
    return said.stdout.split()


def _garbage_state(there: Surroundings) -> None:
    there.folder("STATE").mkdir()
    (there.folder("STATE") / "records.sqlite3").write_bytes(b"\xff" * 5000)
    (there.folder("STATE") / "last-trace.json").write_bytes(b"[" * 200_000)
    (there.folder("DATA") / "adapters" / "x").mkdir(parents=True)
    (there.folder("DATA") / "adapters" / "x" / "adapter_config.json").write_bytes(b"\xff")
    models = there.folder("CACHE") / "models" / "m"
    models.mkdir(parents=True)
    (models / "manifest.json").write_bytes(b'{"format": 4, "files": 7}')


def _without(*names: str) -> Callable[[Surroundings], object]:
    return lambda there: there.gone.extend(names)


SURROUNDINGS: dict[str, Callable[[Surroundings], object]] = {
    "as they should be": lambda there: None,
    "a file for the cache": _file_instead("CACHE"),
    "a file for the state": _file_instead("STATE"),
    "a file for the data": _file_instead("DATA"),
    "a file for the runtime": _file_instead("RUNTIME"),
    "a file for the configuration": _file_instead("CONFIG"),
    "folders that cannot be made": _every(*(_set(f"MIDFILL_{name}_DIR", f"/proc/no/{name}") for name in FOLDERS)),
    "a runtime folder of everybody": _set("MIDFILL_RUNTIME_DIR", "/tmp"),
    "a configuration of garbage": _config(b"\xff\xfe\x00"),
    "a configuration of odd values": _config(b'model = 7\nno_such = "x"\n'),
    "a configuration that is a folder": _config_folder,
    "stale records": _stale,
    "garbage in the state": _garbage_state,
    "no home": _set("HOME", "/proc/nobody"),
    "an ASCII terminal": _every(_set("LC_ALL", "C"), _set("PYTHONIOENCODING", "ascii"), _set("PYTHONUTF8", "0")),
    "no torch": _without("torch"),
    "no peft": _without("peft"),
    "no tokenizers": _without("tokenizers"),
}
SURROUNDINGS |= {name: _before(name) for name in PREPARE}


def run(there: Surroundings, commands: dict[str, list[str]]) -> dict[str, tuple[int, str]]:
    """Return the exit status and the output of each command."""
    plan = there.home / "plan.json"
    plan.write_text(json.dumps({"commands": commands, "before": there.before, "gone": there.gone}))
    done = subprocess.run(
        [sys.executable, "-P", cli_stage.__file__, str(plan)], env=there.env, cwd=there.home,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: dict[str, tuple[int, str]] = json.loads(done.stdout)
    assert answers.keys() == commands.keys()
    for name, (code, said) in answers.items():
        assert "Traceback" not in said, (name, said)
        assert not re.search(r"^\w*(Error|Exception)\b", said, re.MULTILINE), (name, said)
        assert "nobody foresaw" not in said, (name, said)
        assert code >= 0, (name, code, said)  # a crash
        assert code != 120, (name, said)  # an interpreter that failed at its end
    return answers


@pytest.fixture
def there(tmp_path: Path) -> Surroundings:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("a = 1\n")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")  # not a model, and not an adapter
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.toml").write_text('model = "./m"\n')  # "auto" would look for a GPU with torch
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MIDFILL_", "XDG_"))}
    env |= {f"MIDFILL_{name}_DIR": str(tmp_path / name.lower()) for name in FOLDERS}
    env |= {"HF_HUB_OFFLINE": "1", "MIDFILL_SCRIPT": str(tmp_path / "script.json")}
    (tmp_path / "script.json").write_text('{"chunks": ["x"]}')
    return Surroundings(tmp_path, env)


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_no_traceback(there: Surroundings, surroundings: str) -> None:
    SURROUNDINGS[surroundings](there)
    answers = run(there, COMMANDS)
    assert answers["a usage error"][0] == 2


@pytest.mark.model
@pytest.mark.parametrize(
    "surroundings", ["as they should be", "a file for the state", "stale records", "a full disk", "no torch"]
)
def test_no_traceback_where_an_engine_is_started(there: Surroundings, surroundings: str) -> None:
    SURROUNDINGS[surroundings](there)
    del there.env["MIDFILL_SCRIPT"]
    answers = run(there, {**WITH_ENGINE, "complete": COMMANDS["complete"]})
    # An engine that failed lingers to say why; `serve` finds it running, or leaves because nobody came: no failure.
    assert answers.pop("serve")[0] in (0, 1)
    assert all(code == 1 for code, _ in answers.values()), answers


@pytest.mark.parametrize("missing", ["torch", "transformers", "peft"])
def test_training_without_its_extra(there: Surroundings, missing: str) -> None:
    there.gone.append(missing)
    ((code, said),) = run(there, {"train": COMMANDS["train"]}).values()
    assert code == 1
    assert f"{missing} is not installed" in said
    assert "pip install 'midfill[train]'" in said


@pytest.mark.parametrize("limit", [1_000, 60_000, 100_000])
def test_preparing_a_model_on_a_full_disk(there: Surroundings, limit: int) -> None:
    """The manifest's, the tokenizer's or the weights' file is the one that does not fit; nothing half made stays."""
    from tests.engine.test_gguf import tiny_gguf

    file = tiny_gguf(there.home / "tiny.gguf", "llama")
    program = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "from midfill.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-P", "-c", program, "model", "prepare", str(file)]
    done = subprocess.run(command, env=there.env, cwd=there.home, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in said
    assert "preparing the model failed: File too large" in said
    assert "free some space" in said
    assert [path.name for path in (there.folder("CACHE") / "models").iterdir() if not path.name.endswith(".lock")] == []
