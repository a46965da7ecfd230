"""Which adapter is used: by setting, by language, and the one that comes with the embedded model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from midfill import config_files, paths
from midfill.client import adapters as subject
from midfill.client.adapters import Adapters, load_adapters
from midfill.completer import Completer
from midfill.config import Config
from midfill.engine import adapter_setting
from midfill.engine.base import AdapterMissingError, Delta, GenerateRequest
from midfill.engine.http import HttpEngine
from midfill.types import MidfillError, ModelInfo

INFO = ModelInfo("m", "tokenizer.json", None, 1024, 2048, "cpu", "int8")


async def loaded(config: Config, model: str = "m") -> tuple[Adapters, list[dict[str, str]]]:
    """Return the adapters that ``config`` loads, and the requests that the engine got. Raises MidfillError."""
    asked: list[dict[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return httpx.Response(200, json={})

    engine = HttpEngine("http://midfill")
    engine._client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://midfill")
    info = ModelInfo(model, "tokenizer.json", None, 1024, 2048, "cpu", "int8")
    adapters, refusal = await load_adapters(engine, config, info)
    if refusal is not None:
        raise refusal
    return adapters, asked


class TestAdapterNames:
    """Which folder a setting means. The tests look at the requests; there is no engine."""

    async def load(self, adapter: str) -> tuple[str | None, list[dict[str, str]]]:
        adapters, asked = await loaded(Config(adapter=adapter))
        return adapters.default, asked

    async def test_none(self) -> None:
        assert await self.load("none") == await self.load("") == (None, [])

    async def test_registered_and_by_path(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (paths.adapters_dir() / "mine").mkdir(parents=True)
        (tmp_path / "other.v1").mkdir()
        name, asked = await self.load("mine")
        assert (name, asked) == ("mine", [{"lora_name": "mine", "lora_path": str(paths.adapters_dir() / "mine")}])
        monkeypatch.chdir(tmp_path)
        for setting in ("./other.v1", str(tmp_path / "other.v1")):
            name, asked = await self.load(setting)
            assert name is not None
            assert name.startswith("other-v1-")
            assert asked[0]["lora_path"] == str(tmp_path / "other.v1")

    @pytest.mark.parametrize("setting", ["evil", "..", ".", "../x", "/not/there", "~no-such-user/x"])
    async def test_a_folder_of_the_workspace_is_no_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
    ) -> None:
        (tmp_path / "w" / "evil").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "w" / "evil" if setting in (".", "..") else tmp_path / "w")
        if setting in (".", ".."):  # paths, and taken as such: never a place among the registered ones
            _, asked = await self.load(setting)
            assert Path(asked[0]["lora_path"]).is_relative_to(tmp_path / "w")
            return
        with pytest.raises(MidfillError, match="no adapter named") as caught:
            await self.load(setting)
        assert "adapters list" in caught.value.remedy


@pytest.fixture
def registered() -> Path:
    for name in ("mine", "web"):
        (paths.adapters_dir() / name).mkdir(parents=True)
    return paths.adapters_dir()


async def test_by_language(registered: Path) -> None:
    config = Config(adapter="mine", adapter_by_language=("typescript=web", "go=none"))
    adapters, asked = await loaded(config)
    assert {one["lora_name"] for one in asked} == {"mine", "web"}
    assert str(adapters) == "mine; go: none; typescript: web"
    completer = Completer(
        None, None, INFO, config, adapter=adapters.default, adapters=adapters.of_language,  # type: ignore[arg-type]
    )  # fmt: skip
    assert [completer.adapter_of(language) for language in ("python", "typescript", "go")] == ["mine", "web", None]


async def test_one_that_is_missing_does_not_take_the_others_away(registered: Path) -> None:
    with pytest.raises(MidfillError, match="no adapter named 'gone'"):
        await loaded(Config(adapter="mine", adapter_by_language=("go=gone",)))


@pytest.mark.parametrize(
    ("adapter", "model", "is_there", "name"),
    [
        ("auto", adapter_setting.EMBEDDED_MODEL, True, "embedded"),
        ("auto", adapter_setting.EMBEDDED_MODEL, False, None),
        ("auto", "codegemma-7b", True, None),
        ("embedded", adapter_setting.EMBEDDED_MODEL, True, "embedded"),
        ("none", adapter_setting.EMBEDDED_MODEL, True, None),
    ],
)
async def test_the_embedded_one(
    adapter: str, model: str, is_there: bool, name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_setting, "embedded_folder", lambda: tmp_path if is_there else None)
    adapters, _ = await loaded(Config(adapter=adapter), model)
    assert adapters.default == name


async def test_the_embedded_one_fits_its_own_model_only() -> None:
    with pytest.raises(MidfillError, match="codegemma-7b has no embedded adapter"):
        await loaded(Config(adapter="embedded"), "codegemma-7b")


@pytest.mark.parametrize("entry", ["python", "=mine", "py thon=mine", "python="])
def test_a_mistake_in_the_languages(entry: str) -> None:
    with pytest.raises(MidfillError, match="adapter_by_language"):
        Config(adapter_by_language=(entry,))


@pytest.mark.parametrize(("value", "fits"), [('["go=mine"]', True), ('["go=../mine"]', False), ('["go=/x"]', False)])
def test_a_workspace_names_registered_ones_only(tmp_path: Path, value: str, fits: bool) -> None:
    (tmp_path / ".midfill.toml").write_text(f"adapter_by_language = {value}\n")
    if fits:
        assert config_files.take_workspace(Config(), tmp_path).strict().adapter_by_language == ("go=mine",)
    else:
        with pytest.raises(MidfillError, match="path of an adapter"):
            config_files.take_workspace(Config(), tmp_path).strict()


class WithoutAdapter:
    """An engine that had to make room for another adapter."""

    n_asked = 0

    async def stream(self, _request: GenerateRequest) -> AsyncIterator[Delta]:
        self.n_asked += 1
        raise AdapterMissingError("no adapter", "load it")
        yield Delta("")


@pytest.mark.parametrize(("background", "n_loads"), [(True, 0), (False, 1)])
async def test_only_a_person_takes_another_adapter_out(
    background: bool, n_loads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []

    async def load(_engine: object, name: str, _folder: Path) -> None:
        loads.append(name)

    monkeypatch.setattr(subject, "_load", load)
    engine = WithoutAdapter()
    keeper = subject.AdapterKeeper(engine, {"mine": Path("/mine")})  # type: ignore[arg-type]
    with pytest.raises(AdapterMissingError):
        async for _ in keeper.stream(GenerateRequest((1,), adapter="mine", background=background)):
            pass
    assert (len(loads), engine.n_asked) == (n_loads, 1 + n_loads)
