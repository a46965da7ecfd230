"""Many typists against one engine, and the arguments of the command."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from midfill import cli, paths
from midfill.client.scripted import scripted
from midfill.commands.load import check_owned
from midfill.config import Config
from midfill.engine.base import Delta, Engine, EngineError, GenerateRequest
from midfill.eval import load
from midfill.eval.keys import keys_of
from midfill.eval.replay import places
from midfill.types import MidfillError
from tests.client.made import in_a_thread
from tests.remote.mocks import Mock


@pytest.mark.parametrize(
    ("engine", "owned", "refused"),
    [
        ((), [], ""),
        (("http://127.0.0.1:1/v1",), [], ""),
        (("https://ai.example/v1",), [], "ai.example is another"),
        (("https://ai.example/v1",), ["ai.example"], ""),
        (("https://ai.example/v1",), ["other.example"], "ai.example is another"),
        (("https://a.example", "https://b.example"), ["a.example"], "b.example is another"),
    ],
)
def test_only_ones_own(engine: tuple[str, ...], owned: list[str], refused: str) -> None:
    if not refused:
        check_owned(Config(engine=engine), owned)
        return
    with pytest.raises(MidfillError, match=refused):
        check_owned(Config(engine=engine), owned)


def test_the_command(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = paths.config_file()
    file.parent.mkdir(parents=True)
    mock = Mock(says={"": "self.value = value"})
    with in_a_thread(mock):
        file.write_text(f'engine = "{mock.url}"\nmodel = "{model}"\n')
        assert cli.main(["load", "--typists", "1,3", "--seconds", "3"]) == 0
        n_asked = len(mock.asked)
    out = capsys.readouterr()
    lines = [json.loads(line) for line in out.out.splitlines()]
    assert [line["typists"] for line in lines] == [1, 3]
    assert 0 < n_asked <= sum(line["requests"] for line in lines)  # some are given up before they are sent
    for line in lines:
        assert line["asked"] > 0
        assert 0 <= line["never_reached_the_engine"] <= 1
        assert 0 <= line["stale"] <= 1
        assert line["failed"] == 0
        assert line["people_a_replica"] == line["typists"]
    assert lines[1]["asked"] > lines[0]["asked"]
    assert "typists: ghost text after" in out.err


class RecordingEngine:
    """An engine that keeps the requests it gets."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.requests: list[GenerateRequest] = []

    def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        self.requests.append(request)
        return self.engine.stream(request)

    async def aclose(self) -> None:
        await self.engine.aclose()


async def test_each_typist_is_a_window_of_its_own(tmp_path: Path) -> None:
    """An engine lets windows take turns; if all typists were one window, only the newest request of all would run."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"chunks": ["a", " + b"], "delay_s": 0.01}))
    completer = scripted(Config(max_debounce_s=0.0), script)
    completer.engine = asked = RecordingEngine(completer.engine)
    found = places(tmp_path, "a.py", "python", "total = first + second\nother = first - second\n" * 20, 2, 200)
    await load.run(completer, found, 3, 2.0, len)
    await completer.aclose()
    assert {request.window for request in asked.requests} == {"typist-0", "typist-1", "typist-2"}


class Failing:
    """An engine whose every request fails."""

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        raise EngineError("down", "start it")
        yield Delta("")

    async def aclose(self) -> None:
        pass


async def test_a_typist_goes_on_where_the_engine_fails(tmp_path: Path) -> None:
    """An editor shows nothing then, and the user goes on: the typist types one place to its end, not the beginnings of
    many."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"chunks": ["a"], "delay_s": 0.01}))
    completer = scripted(Config(max_debounce_s=0.0), script)
    completer.engine = Failing()
    found = places(tmp_path, "a.py", "python", "total = first + second\nother = first - second\n" * 20, 1, 200)
    done = await load.run(completer, found, 1, 2.0, len)
    await completer.aclose()
    assert done.counts.n_failed == done.counts.n_requests > 1
    assert done.tally.n_keys == len(keys_of(found[0].text[found[0].start : found[0].end]))


@pytest.mark.parametrize(
    ("given", "message"),
    [(["--typists", "0"], "not a number of people"), (["--typists", "x"], "not a number of people"),
     (["--seconds", "0"], "out of range"), (["--seconds", "1", "/gone.py"], "cannot read")],
)  # fmt: skip
def test_what_it_refuses(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["load", *given]) == 1
    assert message in capsys.readouterr().err


def test_an_empty_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.py").write_text("\n")
    assert cli.main(["load", str(tmp_path / "empty.py")]) == 1
    assert "too short to type" in capsys.readouterr().err
