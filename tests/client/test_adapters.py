"""Which adapter is used: by setting, by language, and the one that comes with the embedded model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

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
from midfill.types import MidfillError, ModelInfo, Snapshot

INFO = ModelInfo("m", "tokenizer.json", None, 1024, 2048, "cpu", "int8")


async def loaded(config: Config, model: str = "m") -> tuple[Adapters, list[dict[str, Any]]]:
    """Return the adapters that ``config`` loads, and the requests that the engine got. Raises MidfillError."""
    asked: list[dict[str, Any]] = []

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

    async def load(self, adapter: str) -> tuple[str | None, list[dict[str, Any]]]:
        adapters, asked = await loaded(Config(adapter=adapter))
        return adapters.default, asked

    async def test_none(self) -> None:
        assert await self.load("none") == await self.load("") == (None, [])

    async def test_a_sum(self, tmp_path: Path) -> None:
        for name in ("team", "mine"):
            (paths.adapters_dir() / name).mkdir(parents=True)
        (tmp_path / "c++").mkdir()
        team, mine = (str(paths.adapters_dir() / name) for name in ("team", "mine"))
        assert await self.load("team+mine") == ("team+mine", [{"lora_name": "team+mine", "lora_path": [team, mine]}])
        assert await self.load("none+mine") == ("mine", [{"lora_name": "mine", "lora_path": mine}])
        named, asked = await self.load(f"team + {tmp_path}/c++")
        assert named is not None
        assert named.startswith("team+c---")
        assert asked[0]["lora_path"] == [team, str(tmp_path / "c++")]

    @pytest.mark.parametrize(
        ("setting", "message"), [("mine+mine", "adds mine twice"), ("a+b+c+d+mine", "adds 5 adapters")]
    )
    async def test_a_mistake_in_a_sum(self, setting: str, message: str) -> None:
        for name in ("a", "b", "c", "d", "mine"):
            (paths.adapters_dir() / name).mkdir(parents=True)
        with pytest.raises(MidfillError, match=message):
            await self.load(setting)

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


@pytest.mark.parametrize(
    ("setting", "instead"), [("mine+gone", "mine"), ("mine+web+gone", "mine+web"), ("gone+mine", None), ("gone", None)]
)
async def test_of_a_sum_those_before_the_missing_one_answer(
    registered: Path, setting: str, instead: str | None
) -> None:
    engine = HttpEngine("http://midfill")
    engine._client = httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json={})), base_url="http://midfill"
    )
    adapters, refusal = await load_adapters(engine, Config(adapter=setting, adapters=("go=web",)), INFO)
    assert (adapters.default, adapters.instead, adapters.of_part) == (instead, instead, {"go": "web"})
    assert refusal is not None
    assert refusal.message == "no adapter named 'gone'"


async def test_by_language_and_folder(registered: Path) -> None:
    config = Config(adapter="mine", adapters=("services/**=web", "go=none"))
    adapters, _ = await loaded(config)
    assert str(adapters) == "mine; services/**: web; go: none"
    completer = Completer(
        None, None, INFO, config, adapter=adapters.default, adapters=adapters.of_part,  # type: ignore[arg-type]
    )  # fmt: skip
    places = [("go", "main.go"), ("go", "services/main.go"), ("python", "a.py")]
    found = [completer.adapter_of(Snapshot(path, 0, language, "", 0, path=path)) for language, path in places]
    assert found == [None, "web", "mine"]


async def test_by_language(registered: Path) -> None:
    config = Config(adapter="mine", adapters=("typescript=web", "go=none"))
    adapters, asked = await loaded(config)
    assert {one["lora_name"] for one in asked} == {"mine", "web"}
    assert str(adapters) == "mine; typescript: web; go: none"
    completer = Completer(
        None, None, INFO, config, adapter=adapters.default, adapters=adapters.of_part,  # type: ignore[arg-type]
    )  # fmt: skip
    found = [completer.adapter_of(Snapshot("", 0, language, "", 0)) for language in ("python", "typescript", "go")]
    assert found == ["mine", "web", None]


async def test_one_that_is_missing_does_not_take_the_others_away(registered: Path) -> None:
    with pytest.raises(MidfillError, match="no adapter named 'gone'"):
        await loaded(Config(adapter="mine", adapters=("go=gone",)))


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
    with pytest.raises(MidfillError, match="adapters"):
        Config(adapters=(entry,))


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ('["go=mine"]', True),
        ('{golang = "mine"}', True),
        ('["go=../mine"]', False),
        ('["go=/x"]', False),
        ('{go = "./x"}', False),
        ('["go=mine + ../x"]', False),
    ],
)
def test_a_workspace_names_registered_ones_only(tmp_path: Path, value: str, fits: bool) -> None:
    (tmp_path / ".midfill.toml").write_text(f"adapters = {value}\n")
    if fits:
        assert config_files.take_workspace(Config(), tmp_path).strict().adapters == ("go=mine",)
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


@pytest.mark.parametrize(
    ("background", "prefill_only", "n_loads"), [(True, False, 0), (True, True, 1), (False, False, 1)]
)
async def test_only_a_person_takes_another_adapter_out(
    background: bool, prefill_only: bool, n_loads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By asking, or by putting the cursor into a document whose prompt is then read ahead."""
    loads: list[str] = []

    async def load(_engine: object, name: str, _folders: tuple[Path, ...]) -> None:
        loads.append(name)

    monkeypatch.setattr(subject, "_load", load)
    engine = WithoutAdapter()
    keeper = subject.AdapterKeeper(engine, {"mine": (Path("/mine"),)})  # type: ignore[arg-type]
    request = GenerateRequest((1,), adapter="mine", background=background, prefill_only=prefill_only)
    with pytest.raises(AdapterMissingError):
        async for _ in keeper.stream(request):
            pass
    assert (len(loads), engine.n_asked) == (n_loads, 1 + n_loads)
