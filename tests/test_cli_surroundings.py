"""Every command in broken surroundings, as a process of its own: a line for people, never a traceback.

Root may run the tests, for whom no folder is read-only: a full disk is a limit on the size of files, a folder that
cannot be had is a file in its place or one below /proc.
"""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FOLDERS = ("CONFIG", "DATA", "STATE", "RUNTIME", "CACHE")
LIMIT_S = 240.0

# What no surroundings can be mended for must still fail soon, and none may need an engine that takes minutes.
COMMANDS: dict[str, list[str]] = {
    "--version": ["--version"],
    "--help": ["--help"],
    "complete": ["complete", "a.py:1"],
    "explain": ["explain"],
    "explain place": ["explain", "a.py:1"],
    "stats": ["stats"],
    "stats clear": ["stats", "--clear"],
    "model list": ["model", "list"],
    "model prepare": ["model", "prepare", "./m"],
    "model info": ["model", "info", "./m"],
    "adapters list": ["adapters", "list"],
    "adapters add": ["adapters", "add", "./m", "--name", "x"],
    "adapters check": ["adapters", "check", "./m"],
    "adapters info": ["adapters", "info", "./m"],
    "adapters rollback": ["adapters", "rollback", "x"],
    "adapters export": ["adapters", "export", "./m", "./out"],
    "adapters remove": ["adapters", "remove", "x"],
    "train": ["train", ".", "--no-gate", "--model", "./m"],
    "replay": ["replay", "a.py", "--model", "./m"],
    "eval repo": ["eval", "repo", ".", "--model", "./m"],
    "eval compare": ["eval", "compare", "a.py", "b.py"],
    "doctor": ["doctor"],
    "serve": ["serve", "--model", "./m", "--idle-exit", "1"],
}
QUICK = ("--version", "explain", "stats", "stats clear", "adapters list", "adapters rollback", "doctor")


@dataclass
class Surroundings:
    """Where a command runs; broken by the rows below."""

    home: Path
    env: dict[str, str]
    before: list[Callable[[], object]] = field(default_factory=list)  # in the child
    stdout: int = subprocess.PIPE
    no_modules: tuple[str, ...] = ()

    def folder(self, name: str) -> Path:
        return self.home / name.lower()


def _set(name: str, value: str) -> Callable[[Surroundings], object]:
    return lambda there: there.env.__setitem__(name, value)


def _file_instead(name: str) -> Callable[[Surroundings], object]:
    return lambda there: there.folder(name).write_bytes(b"a file")


def _every(*changes: Callable[[Surroundings], object]) -> Callable[[Surroundings], object]:
    return lambda there: [change(there) for change in changes]


def _config(content: bytes) -> Callable[[Surroundings], object]:
    def write(there: Surroundings) -> None:
        there.folder("CONFIG").mkdir()
        (there.folder("CONFIG") / "config.toml").write_bytes(content)

    return write


def _full_disk(there: Surroundings) -> None:
    there.before.append(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))


def _few_files(there: Surroundings) -> None:
    there.before.append(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24)))


def _closed(number: int) -> Callable[[Surroundings], object]:
    return lambda there: there.before.append(lambda: os.close(number))


def _stale(there: Surroundings) -> None:
    """A record of an engine that is gone, and its socket, for whatever model."""
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
        "from midfill.config import Config; from midfill.serve import daemon\n"
        "print(*(daemon.place(Config(model=model)).key for model in ('auto', './m')))"
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
    return lambda there: setattr(there, "no_modules", names)


def _gone(there: Surroundings) -> None:
    """The folder that it is started in is removed first."""

    def go() -> None:
        left = there.home / "left"
        left.mkdir()
        os.chdir(left)
        left.rmdir()

    there.before.append(go)


SURROUNDINGS: dict[str, Callable[[Surroundings], object]] = {
    "as they should be": lambda there: None,
    "a file for the cache": _file_instead("CACHE"),
    "a file for the state": _file_instead("STATE"),
    "a file for the data": _file_instead("DATA"),
    "a file for the runtime": _file_instead("RUNTIME"),
    "a file for the configuration": _file_instead("CONFIG"),
    "folders that cannot be made": _every(*(_set(f"MIDFILL_{name}_DIR", f"/proc/no/{name}") for name in FOLDERS)),
    "a runtime folder of everybody": _set("MIDFILL_RUNTIME_DIR", "/tmp"),
    "a full disk": _full_disk,
    "few open files": _few_files,
    "a configuration of garbage": _config(b"\xff\xfe\x00"),
    "a configuration of odd values": _config(b'model = 7\nno_such = "x"\n'),
    "a configuration that is a folder": lambda there: (there.folder("CONFIG") / "config.toml").mkdir(parents=True),
    "stale records": _stale,
    "garbage in the state": _garbage_state,
    "no home": _set("HOME", "/proc/nobody"),
    "an ASCII terminal": _every(_set("LC_ALL", "C"), _set("PYTHONIOENCODING", "ascii"), _set("PYTHONUTF8", "0")),
    "standard output closed": _closed(1),
    "standard error closed": _closed(2),
    "standard input closed": _closed(0),
    "nobody reads": lambda there: setattr(there, "stdout", _broken_pipe()),
    "output full": lambda there: setattr(there, "stdout", os.open("/dev/full", os.O_WRONLY)),
    "no torch": _without("torch"),
    "no peft": _without("peft"),
    "no tokenizers": _without("tokenizers"),
    "the folder it stands in is gone": _gone,
}


def _broken_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


# In the place of a package that is not installed: found nowhere, and not to be imported.
HOOK = """
import importlib.util, sys, os
gone = tuple(os.environ["NO_MODULES"].split(","))
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in gone:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.partition(".")[0] in gone else real(name, package)
sys.meta_path.insert(0, Gone())
from midfill.cli import main
sys.exit(main())
"""


def run(there: Surroundings, arguments: list[str]) -> tuple[int, str]:
    """Exit status, and what it said."""
    env = {**there.env, "NO_MODULES": ",".join(there.no_modules)}
    start = ["-c", HOOK] if there.no_modules else ["-m", "midfill"]

    def prepare() -> None:
        for change in there.before:
            change()

    done = subprocess.run(
        [sys.executable, "-P", *start, *arguments], env=env, cwd=there.home, stdin=subprocess.DEVNULL,
        stdout=there.stdout, stderr=subprocess.PIPE, timeout=LIMIT_S, check=False, preexec_fn=prepare,
    )  # fmt: skip
    return done.returncode, ((done.stdout or b"") + done.stderr).decode("utf-8", "replace")


@pytest.fixture
def there(tmp_path: Path) -> Surroundings:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("a = 1\n")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")  # not a model, and not an adapter
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MIDFILL_", "XDG_"))}
    env |= {f"MIDFILL_{name}_DIR": str(tmp_path / name.lower()) for name in FOLDERS}
    env |= {"HF_HUB_OFFLINE": "1", "MIDFILL_SCRIPT": str(tmp_path / "script.json")}
    (tmp_path / "script.json").write_text('{"chunks": ["x"]}')
    return Surroundings(tmp_path, env)


def check(said: str, code: int, command: str) -> None:
    assert "Traceback" not in said, said
    assert not re.search(r"^\w*(Error|Exception)\b", said, re.MULTILINE), said
    assert "nobody foresaw" not in said, said
    assert code not in (120, 134, 139), (code, said)  # an interpreter that failed at its end, a crash
    assert code >= 0, (code, said)


@pytest.mark.parametrize("command", QUICK)
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_no_traceback(there: Surroundings, surroundings: str, command: str) -> None:
    SURROUNDINGS[surroundings](there)
    check_both(there, command)


@pytest.mark.model
@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in QUICK])
@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_no_traceback_of_the_others(there: Surroundings, surroundings: str, command: str) -> None:
    SURROUNDINGS[surroundings](there)
    check_both(there, command)


def check_both(there: Surroundings, command: str) -> None:
    code, said = run(there, COMMANDS[command])
    check(said, code, command)
    if there.stdout > 2:
        os.close(there.stdout)


@pytest.mark.parametrize(
    ("missing", "command", "remedy"),
    [
        (("torch",), "train", "pip install 'midfill[train]'"),
        (("peft",), "train", "pip install 'midfill[train]'"),
        (("torch",), "model list", ""),
        (("transformers",), "model info", ""),
    ],
)
def test_a_missing_extra_and_its_remedy(
    there: Surroundings, missing: tuple[str, ...], command: str, remedy: str
) -> None:
    there.no_modules = missing
    (there.home / "big.py").write_text("".join(f"def f{n}(a, b):\n    return a + {n} * b\n\n\n" for n in range(2000)))
    code, said = run(there, COMMANDS[command])
    check(said, code, command)
    assert remedy in said, said


@pytest.mark.parametrize("limit", [1_000, 60_000, 200_000])
def test_preparing_a_model_on_a_full_disk(there: Surroundings, limit: int) -> None:
    """The manifest's, the tokenizer's or the weights' file is the one that does not fit; nothing half made stays."""
    from tests.engine.test_gguf import tiny_gguf

    file = tiny_gguf(there.home / "tiny.gguf", "llama")
    there.before.append(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    code, said = run(there, ["model", "prepare", str(file)])
    check(said, code, "model prepare")
    assert code == 1
    assert "preparing the model failed: File too large" in said
    assert "free some space" in said
    assert [path.name for path in (there.folder("CACHE") / "models").iterdir() if not path.name.endswith(".lock")] == []
