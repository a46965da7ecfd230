"""Adapters under names that never change their meaning, pointers that front ends follow, and the way back."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

import midfill
from midfill import cli, registry
from midfill.engine.base import AdapterMissingError
from midfill.remote import published
from midfill.remote.published import Pointers, drain, publish, read_pointer, roll_back
from midfill.types import MidfillError
from tests.remote.conftest import Connect, text_of
from tests.remote.made import REQUEST
from tests.remote.mocks import BASE, Mock, running

EMBEDDED = Path(midfill.__file__).parent / "embedded_adapter"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shared"


def adapter(tmp_path: Path, n: int, base: str = BASE) -> Path:
    """Return the n-th of several adapters that differ in their weights."""
    made = tmp_path / f"made-{n}-{base.replace('/', '-')}"
    made.mkdir(exist_ok=True)
    (made / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "r": 4, "lora_alpha": 8}))
    (made / "adapter_model.safetensors").write_bytes(b"weights %d" % n)
    return made


def test_a_name_never_changes_its_meaning(tmp_path: Path, folder: Path) -> None:
    one, two = (publish("mine", adapter(tmp_path, n), folder) for n in (1, 2))
    assert one.current != two.current
    assert read_pointer("mine", folder) == two
    assert (folder / one.current / "adapter_model.safetensors").read_bytes() == b"weights 1"
    assert (folder / two.current / "adapter_model.safetensors").read_bytes() == b"weights 2"
    again = publish("mine", adapter(tmp_path, 2), folder)
    assert (again.current, [full for full, _ in again.earlier]) == (two.current, [one.current])
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_the_way_back(tmp_path: Path, folder: Path) -> None:
    one, two, three = (publish("mine", adapter(tmp_path, n), folder).current for n in (1, 2, 3))
    assert roll_back("mine", folder).current == two
    assert roll_back("mine", folder).current == one
    assert (folder / three).is_dir()
    assert publish("mine", adapter(tmp_path, 3), folder).current == three
    assert roll_back("mine", folder).current == one
    with pytest.raises(MidfillError, match="has no adapter 'other'"):
        roll_back("other", folder)


def test_old_ones_go_after_a_drain_time(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (publish("mine", adapter(tmp_path, n), folder).current for n in (1, 2))
    assert drain("mine", folder) == []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + published.DRAIN_S + 1)
    three = publish("mine", adapter(tmp_path, 3), folder).current
    assert drain("mine", folder) == [one]
    assert sorted(path.name for path in folder.glob("mine@*")) == sorted([two, three])
    pointer = read_pointer("mine", folder)
    assert pointer is not None
    assert (pointer.current, [full for full, _ in pointer.earlier]) == (three, [two])


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ({"base": "a/one"}, {"base": "b/two"}, "an adapter of a/one, not b/two"),
        ({"template": "starcoder2"}, {"template": "codegemma"}, "for template starcoder2, not codegemma"),
        ({"base": "a/one"}, {"base": "a/one"}, ""),
    ],
)
def test_one_name_is_one_base_and_one_template(
    first: dict[str, str], second: dict[str, str], says: str, tmp_path: Path, folder: Path
) -> None:
    publish("mine", adapter(tmp_path, 1), folder, **first)
    if not says:
        publish("mine", adapter(tmp_path, 2), folder, **second)
        return
    with pytest.raises(MidfillError, match=says):
        publish("mine", adapter(tmp_path, 2), folder, **second)


def test_the_base_is_written_as_the_engine_calls_it(tmp_path: Path, folder: Path) -> None:
    """vLLM's resolver passes over an adapter whose base has another name than the model it serves."""
    full = publish("mine", adapter(tmp_path, 1), folder, base="/models/qwen").current
    content = json.loads((folder / full / "adapter_config.json").read_text())
    assert (content["base_model_name_or_path"], content["r"]) == ("/models/qwen", 4)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".x", "none", "auto", "a@b", "x" * 65])
def test_names_that_are_none(name: str, tmp_path: Path, folder: Path) -> None:
    with pytest.raises(MidfillError, match="is not a valid adapter name"):
        publish(name, adapter(tmp_path, 1), folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"current": 1}', '{"current": "../x@0123456789ab"}', "[" * 9999])
def test_a_damaged_pointer(content: str, folder: Path) -> None:
    folder.mkdir()
    (folder / "mine.midfill.json").write_text(content)
    with pytest.raises(MidfillError, match="is damaged"):
        read_pointer("mine", folder)
    with pytest.raises(AdapterMissingError, match="is damaged"):
        Pointers(str(folder)).resolve("mine")


@pytest.mark.parametrize(
    ("bases", "template", "says"),
    [
        (("/models/made-coder", "x"), "qwen2.5-coder", ""),
        (("other/model", BASE), "qwen2.5-coder", ""),
        (("other/model",), "qwen2.5-coder", "is of Qwen/made-coder, and other/model is served"),
        ((BASE,), "codegemma", "was trained for template qwen2.5-coder, not codegemma"),
    ],
)
def test_an_adapter_for_another_base_is_not_asked_for(
    bases: tuple[str, ...], template: str, says: str, tmp_path: Path, folder: Path
) -> None:
    full = publish("mine", adapter(tmp_path, 1), folder, template="qwen2.5-coder").current
    pointers = Pointers(str(folder), bases, template)
    if not says:
        assert pointers.resolve("mine") == full
        return
    with pytest.raises(AdapterMissingError, match=says):
        pointers.resolve("mine")


def test_without_a_folder_names_are_the_engines_own() -> None:
    assert Pointers("").resolve("anything@1") == "anything@1"


async def test_front_ends_follow_the_pointer(
    tmp_path: Path, folder: Path, connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter is replaced while the engine serves; the next request names the new one, and none was reloaded."""
    monkeypatch.setattr(published, "LOOK_S", 0.0)
    one = publish("mine", adapter(tmp_path, 1), folder).current
    mock = Mock("vllm", {"": "base", one: "one"})
    async with running(mock), connected(mock, engine_adapters=str(folder)) as remote:
        request = replace(REQUEST, adapter="mine")
        assert await text_of(remote, request) == "one"
        two = publish("mine", adapter(tmp_path, 2), folder).current
        mock.says[two] = "two"  # found by its resolver when it is asked for
        assert await text_of(remote, request) == "two"
        roll_back("mine", folder)
        assert await text_of(remote, request) == "one"
    assert [body["model"] for body in mock.asked[-3:]] == [one, two, one]


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry.register(EMBEDDED, "mine", ("adapter_config.json", "adapter_model.safetensors"))
    assert cli.main(["adapters", "publish", "mine", str(folder), "--base", "/models/base"]) == 0
    pointer = read_pointer("mine", folder)
    assert pointer is not None
    assert f"mine is {pointer.current} in {folder}, of /models/base" in capsys.readouterr().out
    assert cli.main(["adapters", "publish", "mine", str(folder), "--rollback"]) == 1
    assert "has no earlier version" in capsys.readouterr().err
    assert cli.main(["adapters", "publish", "mine", str(folder), "--drain", "0"]) == 0
    assert "nothing removed" in capsys.readouterr().out
    shutil.rmtree(folder / pointer.current)
    assert cli.main(["adapters", "publish", "unknown", str(folder)]) == 1
    assert "no adapter 'unknown' is registered" in capsys.readouterr().err
