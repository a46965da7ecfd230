"""Every documented launch line, in a workspace whose files would like to be imported."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

from midfill import safe_path
from midfill.commands import training
from tests.fuzz.wire import REPOSITORY, Wire, folders, key

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX programs")

PROGRAM = (str(Path(sys.executable).with_name("midfill")),)  # what pip made of the entry point
MODULE = (sys.executable, "-P", "-m", "midfill")
UNSAFE_MODULE = (sys.executable, "-m", "midfill")
PACKAGES = ("midfill", "torch", "pygls", "lsprotocol", "tokenizers", "httpx", "starlette", "uvicorn", "rich",
            "filelock", "tree_sitter", "pathspec", "numpy", "transformers", "safetensors", "numba", "sitecustomize",
            "usercustomize", "attrs", "attr", "cattrs", "anyio", "h11", "yaml", "optimum", "peft")  # fmt: skip
EMPTY_ENTRY = "/nowhere:"  # a PYTHONPATH whose last entry is the working directory
PATIENCE_S = 60.0
# What the documentation says, and the arguments with which it is run here.
LAUNCHES = {
    "lsp": ("lsp",),
    "lsp --stdio": ("lsp", "--stdio"),
    "lsp --tcp": ("lsp", "--tcp", "127.0.0.1:0"),
    "serve": ("serve", "--model=./nothing"),
    "serve --http": ("serve", "--http", "127.0.0.1:0", "--model=./nothing"),
}
DOCUMENTS = ("README.md", "docs/clients.md", "docs/lsp-extensions.md", "docs/architecture.md", "editors/*/README.md",
             "editors/neovim/**/*.lua", "editors/neovim/doc/*.txt", "editors/vscode/src/*.ts",
             "editors/vscode/package.json",
             "editors/vscode/walkthrough/*.md", "server/midfill/__main__.py", "SECURITY.md")  # fmt: skip
_SAID = re.compile(r"(?:midfill|%e)[`'\"]?,? *[`'\"\[]*(lsp|serve)\b[`'\"]?,? *[`'\"]*(--[a-z]+)?|args: \['(lsp)'\]()")


@cache
def loaded_before(*command: str) -> frozenset[str]:
    """Return the names that Python imports before midfill's first line runs: midfill cannot protect those."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "probe.py").write_text("import sys; print(*{name.split('.')[0] for name in sys.modules})")
        said = subprocess.run([*command, "-m", "probe"], cwd=folder, capture_output=True, text=True, check=True).stdout
    # pip's programs import re and sys, and midfill itself is looked for on the path
    program = subprocess.run(
        [sys.executable, "-P", "-c", "import re, sys; print(*{name.split('.')[0] for name in sys.modules})"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return frozenset({*said.split(), *program.split(), "midfill", "sitecustomize", "usercustomize"})


def hostile(folder: Path, without: Sequence[str] = ()) -> Path:
    """Make a workspace with a file or a package for every name that a program may import; each writes down that it
    ran."""
    workspace = folder / "workspace"
    workspace.mkdir()
    for name in {*sys.stdlib_module_names, *PACKAGES} - set(without):
        text = f"open({str(folder / 'ran')!r}, 'a').write({name + chr(10)!r})\n"
        (workspace / f"{name}.py").write_text(text)
        if name in PACKAGES:
            (workspace / name).mkdir()
            (workspace / name / "__init__.py").write_text(text)
            (workspace / name / "__main__.py").write_text(text)
    return workspace


def ran(folder: Path) -> list[str]:
    file = folder / "ran"
    return sorted(set(file.read_text().split())) if file.exists() else []


def env_of(folder: Path, **more: str) -> dict[str, str]:
    script = folder / "script.json"
    script.write_text(json.dumps({"chunks": ["a", " + b"]}))
    env = {**folders(folder), "MIDFILL_SCRIPT": str(script), "MIDFILL_DEBUG_METHODS": "1"}
    del env["PYTHONPATH"]
    return {**env, **more}


def launch(command: Sequence[str], workspace: Path, cwd: Path, env: dict[str, str]) -> None:
    """Run a launch line until its purpose is fulfilled."""
    kind = command[-1]
    if "--tcp" in command:
        process = subprocess.Popen(command, cwd=cwd, env={**clean(), **env}, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert "listening" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
        process.stderr.close()
    elif "lsp" in command:
        speak(command, workspace, cwd, env)
    else:  # an engine whose model is not there leaves by itself, once it has looked
        done = subprocess.run(
            command, cwd=cwd, env={**clean(), **env}, capture_output=True, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == (1 if kind == "--model=./nothing" else 0), done.stderr


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def speak(command: Sequence[str], workspace: Path, cwd: Path, env: dict[str, str]) -> str:
    """Hold a short session; return the text of a suggestion."""
    texts: list[str] = []

    def heard(message: dict[str, object]) -> None:
        if message.get("id") == "ask":
            result = message.get("result")
            assert isinstance(result, dict)
            texts.extend(item["insertText"] for item in result["items"])

    saved = dict(os.environ)
    for name in set(saved) - set(clean()):
        del os.environ[name]
    try:
        wire = Wire({**env}, cwd, heard, tuple(command))
    finally:
        os.environ.update(saved)
    try:
        wire.request("hello", "initialize", {"capabilities": {}, "processId": None, "rootUri": workspace.as_uri()})
        wire.notify("initialized", {})
        item = {
            "uri": (workspace / "main.py").as_uri(),
            "languageId": "python",
            "version": 1,
            "text": "mark_7 = call(\n",
        }
        wire.notify("textDocument/didOpen", {"textDocument": item})
        wire.request("print", "midfill/debugPrint")
        params = {
            "textDocument": {"uri": item["uri"]},
            "position": {"line": 0, "character": 14},
            "context": {"triggerKind": 1},
        }
        wire.request("ask", "textDocument/inlineCompletion", params)
        assert wire.wait(lambda: wire.answers[key("ask")] > 0), (cwd / "stderr.txt").read_text()
        wire.request("bye", "shutdown")
        wire.notify("exit")
        wire.process.wait(10)
    finally:
        wire.close()
    return "".join(texts)


def test_every_documented_line_is_one_of_these() -> None:
    said: dict[str, str] = {}
    for pattern in DOCUMENTS:
        for file in REPOSITORY.glob(pattern):
            for match in _SAID.finditer(file.read_text(encoding="utf-8")):
                words = [word for word in match.groups() if word]
                said.setdefault(" ".join(words), str(file))
    assert set(said) - set(LAUNCHES) == set(), said
    assert {"lsp", "lsp --stdio", "lsp --tcp", "serve"} <= set(said)


@pytest.mark.parametrize("program", [PROGRAM, MODULE], ids=["midfill", "python -P -m midfill"])
@pytest.mark.parametrize("line", LAUNCHES)
def test_in_a_hostile_working_directory(line: str, program: Sequence[str], tmp_path: Path) -> None:
    workspace = hostile(tmp_path)
    launch([*program, *LAUNCHES[line]], workspace, workspace, env_of(tmp_path))
    assert ran(tmp_path) == []


@pytest.mark.parametrize("command", [("doctor",), ("stats",), ("model", "list"), ("adapters", "list")], ids=" ".join)
def test_other_commands(command: Sequence[str], tmp_path: Path) -> None:
    workspace = hostile(tmp_path)
    subprocess.run([*PROGRAM, *command], cwd=workspace, env={**clean(), **env_of(tmp_path)}, timeout=PATIENCE_S,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # fmt: skip
    assert ran(tmp_path) == []


@pytest.mark.parametrize(
    "program", [PROGRAM, MODULE, UNSAFE_MODULE], ids=["midfill", "python -P -m midfill", "python -m midfill"]
)
@pytest.mark.parametrize("path", [EMPTY_ENTRY, ".:/nowhere", ""], ids=["empty entry", "dot", "unset"])
def test_what_python_itself_would_take_from_the_working_directory(
    program: Sequence[str], path: str, tmp_path: Path
) -> None:
    """All but the few names that Python needs before our first line (SECURITY.md says which)."""
    if not path and program != UNSAFE_MODULE:
        pytest.skip("a row of the test above")
    workspace = hostile(tmp_path, without=sorted(loaded_before(sys.executable)))
    assert (workspace / "asyncio.py").exists()
    assert (workspace / "json.py").exists()
    assert (workspace / "torch.py").exists()
    more = {"PYTHONPATH": path} if path else {}
    assert speak([*program, "lsp", "--stdio"], workspace, workspace, env_of(tmp_path, **more)) == "a + b"
    assert ran(tmp_path) == []


def test_the_control_the_workspace_is_hostile(tmp_path: Path) -> None:
    """Without -P and with the names that cannot be protected, its code does run: so the tests above can fail."""
    workspace = hostile(tmp_path)
    subprocess.run([*UNSAFE_MODULE, "--version"], cwd=workspace, env={**clean(), **env_of(tmp_path)}, check=False,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    assert ran(tmp_path) != []


def test_an_editor_that_starts_it_at_home(tmp_path: Path) -> None:
    """VS Code and Neovim do so: then even an empty entry of PYTHONPATH does not mean the workspace."""
    workspace, home = hostile(tmp_path), tmp_path / "home"
    home.mkdir()
    env = env_of(tmp_path, PYTHONPATH=EMPTY_ENTRY)
    assert speak([*PROGRAM, "lsp"], workspace, home, env) == "a + b"
    assert ran(tmp_path) == []


def test_editors_start_it_at_home() -> None:
    assert "cwd: os.homedir()" in (REPOSITORY / "editors/vscode/src/client.ts").read_text()
    assert "cmd_cwd = vim.uv.os_homedir()" in (REPOSITORY / "editors/neovim/lsp/midfill.lua").read_text()


@pytest.fixture
def runtime() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mf-") as folder:
        yield Path(folder)
        for record in Path(folder).glob("engine-*.json"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(json.loads(record.read_text())["pid"], signal.SIGTERM)


def test_its_children(tmp_path: Path, runtime: Path) -> None:
    """The engine and the tokenizer's process, started from a hostile folder with an empty entry in PYTHONPATH."""
    workspace = hostile(tmp_path, without=sorted(loaded_before(sys.executable)))
    site = (REPOSITORY / "tests/soak/site", REPOSITORY, REPOSITORY / "server")
    env = env_of(tmp_path, PYTHONPATH=":".join([*map(str, site), ""]), MIDFILL_RUNTIME_DIR=str(runtime))
    del env["MIDFILL_SCRIPT"]
    text = f'model = {json.dumps(str(tmp_path / "echo"))}\nfirst_answer_s = 60\nadapter = "none"\ncandidates = 1\n'
    (tmp_path / "CONFIG" / "config.toml").write_text(text)
    assert speak([*MODULE, "lsp", "--stdio"], workspace, workspace, env).startswith("x_7")
    assert ran(tmp_path) == []


@pytest.mark.model
def test_the_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = hostile(tmp_path)
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY / "server"), ""]))
    with training._process("midfill.train.worker", safe_path.child_environment()) as process:
        assert process.stdin is not None
        process.stdin.write("{}\n")  # no job: it says so and ends
        process.stdin.close()
        process.wait(PATIENCE_S)
    assert process.returncode == 1
    assert ran(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "kept"),
    [("/a:", "/a"), (":/a", "/a"), ("b:/a:../c", "/a"), (".", None), ("", None), ("/a:/b", "/a:/b"), (None, None)],
)
def test_the_environment_of_a_child(path: str | None, kept: str | None) -> None:
    found = safe_path.child_environment({"X": "1"} | ({} if path is None else {"PYTHONPATH": path}))
    assert (found["PYTHONSAFEPATH"], found.get("PYTHONPATH"), found["X"]) == ("1", kept, "1")
