"""What is wrong with real vLLM is one line with its remedy, and vLLM knows every field that it is sent."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from midfill import cli, paths
from tests.tokenizers_made import describe
from tests.vllm.conftest import KEY, Vllm

pytestmark = pytest.mark.vllm

UNKNOWN_FIELDS = "The following fields were present in the request but ignored"  # vLLM, at DEBUG


def settings(vllm: Vllm, folder: Path, **more: Any) -> None:
    values = {"engine": vllm.url, "model": str(folder), "adapter": "none", "engine_deadline_s": 60, **more}
    file = paths.config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items()), encoding="utf-8")


def place(tmp_path: Path) -> str:
    file = tmp_path / "add.py"
    file.write_text("def add(a, b):\n    return \n", encoding="utf-8")
    return f"{file}:2:12"


def with_bad_key(vllm: Vllm, _folder: Path, _tmp: Path, patch: pytest.MonkeyPatch) -> tuple[Vllm, dict[str, Any]]:
    patch.setenv("MIDFILL_ENGINE_KEY", "wrong")
    return vllm, {}


def with_dead_host(vllm: Vllm, _folder: Path, _tmp: Path, _patch: pytest.MonkeyPatch) -> tuple[Vllm, dict[str, Any]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return replace(vllm, url=f"http://127.0.0.1:{free.getsockname()[1]}/v1"), {}


def with_other_tokenizer(
    vllm: Vllm, _folder: Path, tmp: Path, _patch: pytest.MonkeyPatch
) -> tuple[Vllm, dict[str, Any]]:
    other = tmp / "other"
    other.mkdir()
    (other / "tokenizer.json").write_text(json.dumps(describe("qwen2.5-coder")), encoding="utf-8")
    return vllm, {"model": str(other)}


def with_unpublished_adapter(
    vllm: Vllm, _folder: Path, tmp: Path, _patch: pytest.MonkeyPatch
) -> tuple[Vllm, dict[str, Any]]:
    return vllm, {"adapter": "gone", "engine_adapters": str(tmp)}


def with_unknown_adapter(
    vllm: Vllm, _folder: Path, _tmp: Path, _patch: pytest.MonkeyPatch
) -> tuple[Vllm, dict[str, Any]]:
    return vllm, {"adapter": "gone"}


@pytest.mark.parametrize(
    ("fault", "message", "remedy"),
    [
        (with_bad_key, "refuses the key (HTTP 401)", "set MIDFILL_ENGINE_KEY or engine_key_file to a valid key"),
        (with_dead_host, "does not answer (ConnectError)", "check engine, or start it there"),
        (with_other_tokenizer, "has a different tokenizer than this machine's for ", "set model to what it serves"),
        (with_unpublished_adapter, "has no adapter 'gone'", "run: midfill adapters publish"),
        (with_unknown_adapter, "has no adapter 'gone'", "publish it with midfill adapters publish"),
    ],
)
def test_one_line_with_the_remedy(
    fault: Callable[..., tuple[Vllm, dict[str, Any]]], message: str, remedy: str, vllm: Vllm, embedded_folder: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("MIDFILL_ENGINE_KEY", KEY)
    asked, more = fault(vllm, embedded_folder, tmp_path, monkeypatch)
    settings(asked, embedded_folder, **more)
    assert cli.main(["complete", place(tmp_path)]) == 1
    out = capsys.readouterr()
    line, below = out.err.splitlines()
    assert message in line
    assert below.startswith("  -> ")
    assert remedy in below
    assert out.out == ""


def test_the_doctor(
    vllm: Vllm, embedded_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIDFILL_ENGINE_KEY", KEY)
    settings(vllm, embedded_folder)
    assert cli.main(["doctor", "--engine"]) == 0
    table = capsys.readouterr().out
    assert "vLLM 0.32.0" in table
    assert "its ids are ours (it tokenises a fixed string as we do)" in table
    assert "frees its slot in" in table


def test_vllm_knows_every_field_that_it_is_sent(
    vllm: Vllm, embedded_folder: Path, adapters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapter, priority, salt, several candidates: whatever the tests of this session sent stands in its log too."""
    monkeypatch.setenv("MIDFILL_ENGINE_KEY", KEY)
    settings(vllm, embedded_folder, adapter="mine", engine_adapters=str(adapters), engine_team="t")
    assert cli.main(["complete", place(tmp_path)]) == 0
    said = vllm.said()
    assert " DEBUG " in said  # or it would not tell
    assert UNKNOWN_FIELDS not in said
