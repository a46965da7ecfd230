"""Real engine processes with a tiny model: found, shared, lost, started again, and gone when no client needs them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from transformers import AutoModelForCausalLM

from midfill import __version__, garbage, paths
from midfill.client import spawn
from midfill.config import Config
from midfill.engine import record
from midfill.engine.http import HttpEngine
from midfill.engine.record import Address
from midfill.serve import main
from midfill.types import EngineStatus
from tests.engine.test_adapters import save_adapter
from tests.serve.made import PATIENCE_S, config_of, followed, ready, text_of, until
from tests.support import at

pytestmark = pytest.mark.usefixtures("own_runtime")


def engines_of(model: Path) -> list[int]:
    """Return the processes that serve ``model``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                arguments = (entry / "cmdline").read_bytes().split(b"\0")
                if b"serve" in arguments and f"--model={model}".encode() in arguments:
                    found.append(int(entry.name))
    return found


@pytest.mark.model
async def test_eight_at_once_leave_one_engine_that_they_share(tiny: Path, own_runtime: Path) -> None:
    config = config_of(tiny)
    engines = await asyncio.gather(*(spawn.find_or_spawn(config) for _ in range(8)))
    states = [await ready(engine) for engine in engines]
    (pid,) = {state["pid"] for state in states}
    await until(lambda: engines_of(tiny) == [pid])
    texts = await asyncio.gather(text_of(engines[0]), text_of(engines[7]))
    assert texts[0] == texts[1] != ""

    where = record.place(config)
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in (own_runtime, where.record, where.socket)}
    assert list(modes.values()) == [0o700, 0o600, 0o600]
    strangers = httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(where.socket)), base_url="http://midfill")
    async with strangers as client:
        assert (await client.get("/midfill/status")).status_code == 401

    again = [sys.executable, "-P", "-m", "midfill", "serve", f"--model={tiny}", "--device=cpu", "--dtype=float32"]
    said = await asyncio.to_thread(subprocess.run, again, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == f"an engine for this model is already running (pid {pid})"

    os.kill(pid, signal.SIGTERM)
    await until(lambda: not record.is_running(where))
    await until(lambda: not where.record.exists() and not where.socket.exists())
    for engine in engines:
        await engine.aclose()


@pytest.mark.model
async def test_stale_files_are_no_obstacle_and_an_idle_engine_leaves(tiny: Path) -> None:
    config = config_of(tiny, engine_idle_exit_s=1.5)
    where = record.place(config)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(where.socket))
    left.close()
    record.write_record(where, Address(1, str(where.socket), 0, "old", __version__))
    engine = await spawn.find_or_spawn(config)
    assert (await ready(engine))["pid"] != 1
    watching = asyncio.ensure_future(_watch(engine, 3.0))
    await asyncio.sleep(2.5)
    assert record.is_running(where)  # somebody watches
    await watching
    await engine.aclose()
    await until(lambda: not record.is_running(where))
    assert not where.record.exists()
    assert "Traceback" not in (paths.state_dir() / "log" / "engine.log").read_text()


async def _watch(engine: HttpEngine, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async with engine.client.stream("GET", "/midfill/events") as response:
                async for _ in response.aiter_lines():
                    pass


@pytest.mark.model
async def test_a_killed_engine_is_started_again(tiny: Path) -> None:
    config = config_of(tiny)
    async with followed(config) as (subject, statuses):
        first = await subject.wait_ready(PATIENCE_S)
        assert first is not None
        said = await first.last(at("def f(a):\n    return ‸\n"))
        assert said.stats is not None
        assert said.stats.n_prompt > 10
        pid = subject.status.pid
        assert engines_of(tiny) == [pid]
        n_starting = [status.state for status in statuses].count("starting")
        os.kill(pid, signal.SIGKILL)
        await until(lambda: subject.completer is None)
        await until(lambda: [status.state for status in statuses].count("starting") > n_starting)
        assert statuses[-1].state == "starting"
        second = await subject.wait_ready(PATIENCE_S)
        assert second is not None
        assert subject.status.pid != pid
        assert (await second.last(at("def f(a):\n    return ‸\n"))).raw == said.raw
        assert (await subject.stats())["totals"]["n_requests"] == 1
        assert all(status.state != "error" for status in statuses)


@pytest.mark.model
async def test_a_model_that_cannot_be_loaded_is_told_and_mended(tiny: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    async with followed(config_of(model)) as (subject, _):
        assert await subject.wait_ready(PATIENCE_S) is None
        assert subject.status.state == "error"
        assert "it has no config.json" in subject.status.message
        assert subject.status.remedy == "check the setting model"
        (pid,) = engines_of(model)
        shutil.copytree(tiny, model, dirs_exist_ok=True)
        await until(lambda: subject.completer is not None and subject.status.state == "ready")
        assert pid not in engines_of(model)  # it left by itself


@pytest.mark.model
def test_serve_says_why_it_leaves(tiny: Path) -> None:
    command = [sys.executable, "-P", "-m", "midfill", "serve", f"--model={tiny}", "--device=nowhere", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "midfill: device 'nowhere' cannot be used here", '  -> set device = "auto" or "cpu"'
    ]  # fmt: skip


@contextlib.asynccontextmanager
async def pretending(own_runtime: Path, state: dict[str, Any]) -> AsyncIterator[tuple[Address, list[str]]]:
    """Answer as an engine with ``state``; yield its address and the requests that it got."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.split("\r\n")[0])
        body = json.dumps(state).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(serve, own_runtime / "pretend.sock")
    async with server:
        yield Address(1, str(own_runtime / "pretend.sock"), 0, "t", "x"), asked


@pytest.mark.parametrize(
    ("state", "is_ours", "told_to_leave"),
    [
        ({"version": __version__}, True, False),
        ({"version": __version__, "draining": True}, False, False),
        ({"version": "0.0.0"}, False, True),
        ({"version": "0.0.0", "draining": True}, False, False),
    ],
)
async def test_only_an_engine_of_our_version_is_used(
    own_runtime: Path, state: dict[str, Any], is_ours: bool, told_to_leave: bool
) -> None:
    async with pretending(own_runtime, state) as (address, asked):
        engine = await spawn._greet(address)
        assert (engine is not None) is is_ours
        assert ("POST /midfill/shutdown HTTP/1.1" in asked) is told_to_leave
        if engine is not None:
            await engine.aclose()


class TestRecords:
    """Which records of an engine's address are believed."""

    def test_what_was_written_is_found(self) -> None:
        where, address = record.place(Config()), Address(1, "/s", 0, "t", "v")
        assert record.find(where) is None
        record.write_record(where, address)
        assert record.find(where) == address
        assert [path.suffix for path in where.folder.iterdir()] == [".json"]

    @pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"pid": 1}', '{"pid": 1, "x": 2}', "\x00"])
    def test_garbage_is_not(self, content: str) -> None:
        where = record.place(Config())
        where.record.touch(0o600)
        where.record.write_text(content)
        assert record.find(where) is None

    def test_one_that_others_could_write_is_not(self) -> None:
        where = record.place(Config())
        record.write_record(where, Address(1, "/s", 0, "t", "v"))
        where.record.chmod(0o644)
        assert record.find(where) is None

    def test_a_lock_tells_who_runs(self) -> None:
        from filelock import FileLock

        where = record.place(Config())
        assert not record.is_running(where)
        with FileLock(where.lock):
            assert record.is_running(where)
        assert not record.is_running(where)

    def test_one_engine_a_model_device_and_format(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keys = {record.place(config).key for config in (Config(), Config(dtype="float32"), Config(model="a/b"))}
        assert len(keys) == 3
        assert record.place(Config(max_tokens=9, adapter="x")) == record.place(Config())
        monkeypatch.chdir(tmp_path)
        assert record.place(Config(model="./m")) == record.place(Config(model=str(tmp_path / "m")))
        assert record.place(Config(model="m.gguf")) == record.place(Config(model=str(tmp_path / "m.gguf")))


@pytest.mark.model
def test_adapters_on_the_command_line(tiny: Path, tmp_path: Path) -> None:
    """check: 0, or 1 and one line; neither it nor add leaves anything in the engine."""
    model = AutoModelForCausalLM.from_pretrained(tiny)
    save_adapter(model, tmp_path / "good", base_model_name_or_path=str(tiny))
    shutil.copytree(tmp_path / "good", tmp_path / "bad")
    (tmp_path / "bad" / "adapter_model.safetensors").write_bytes(b"")

    def midfill(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "midfill", "adapters", *arguments, f"--model={tiny}"]
        env = {**os.environ, "MIDFILL_CONFIG": str(tmp_path / "config.toml")}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=tmp_path, env=env, check=False
        )

    (tmp_path / "config.toml").write_text('device = "cpu"\ndtype = "float32"\n')
    good, bad = midfill("check", "good"), midfill("check", str(tmp_path / "bad"))
    assert (good.returncode, good.stdout, good.stderr) == (0, f"good fits {tiny}\n", "")
    assert (bad.returncode, bad.stdout) == (1, "")
    (line,) = bad.stderr.splitlines()
    assert line.startswith("midfill: ")
    assert "not a valid safetensors file" in line
    assert line.endswith("(fetch or prepare it again)")
    assert midfill("add", "good", "--name", "mine").returncode == 0
    assert f"{tiny}: yes" in midfill("info", "mine").stdout
    assert midfill("info", "bad").returncode == 1
    assert midfill("check", "mine").returncode == 0
    engine = asyncio.run(_adapters_of(config_of(tiny)))
    assert engine == []


async def _adapters_of(config: Config) -> list[Any]:
    address = record.find(record.place(config))
    assert address is not None
    engine = address.connect()
    try:
        state = (await engine.client.get("/midfill/status")).json()
    finally:
        await engine.aclose()
    return list(state["adapters"])


@pytest.mark.model
async def test_a_front_end_loads_again_what_made_room_and_hears_of_bad_files(tiny: Path, tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        save_adapter(AutoModelForCausalLM.from_pretrained(tiny), tmp_path / name, seed)
    configs = [config_of(tiny, adapter=str(tmp_path / name), max_adapters=1) for name in "ab"]
    async with followed(configs[0]) as (first, statuses), followed(configs[1]) as (second, _):
        completers = [await subject.wait_ready(PATIENCE_S) for subject in (first, second)]
        said = []
        for i in range(4):
            completer = completers[i % 2]
            assert completer is not None
            completer.reuse.forget()
            said.append((await completer.last(at("def f(a):\n    return ‸\n"))).raw)
        assert said[:2] == said[2:]
        assert said[0] != said[1]
        (entry,) = (await _adapters_of(configs[0]),)
        assert [adapter["name"][0] for adapter in entry] == ["b"]

        weights = tmp_path / "b" / "adapter_model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-10])
        await until(lambda: "the old version stays active" in second.status.message)
        assert second.status.state == "ready"
        assert second.status.remedy
        assert all("stays" not in status.message for status in statuses)
        shutil.copyfile(tmp_path / "a" / "adapter_model.safetensors", weights)
        await until(lambda: not second.status.message)
        completer = completers[1]
        assert completer is not None
        assert (await completer.last(at("def f(a):\n    return ‸\n"))).origin == "engine"  # the old answer is not shown


async def test_an_adapter_that_is_missing_is_a_warning_while_the_base_answers(tiny: Path, tmp_path: Path) -> None:
    async with followed(config_of(tiny, adapter=str(tmp_path / "nowhere"))) as (subject, statuses):
        completer = await subject.wait_ready(PATIENCE_S)
        assert completer is not None
        await until(lambda: subject.status.state == "ready")
        assert "using the base model" in subject.status.message
        assert subject.status.remedy
        assert (await completer.last(at("def f(a):\n    return ‸\n"))).finished
        assert all(status.state != "error" for status in statuses)


def test_the_front_end_imports_no_torch() -> None:
    code = (
        "import sys, midfill.lsp.server, midfill.client.link, midfill.cli, midfill.commands.complete\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'safetensors', 'gguf') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


async def test_an_engine_collects_as_usual_once_its_model_is_loaded() -> None:
    """But it does not look at what was there by then: torch's objects alone take a tenth of a second."""
    engine = SimpleNamespace(status=EngineStatus("starting"))
    service: Any = SimpleNamespace(clients=SimpleNamespace(idle_s=lambda: 0.0))
    garbage.defer()
    work = asyncio.create_task(main._housekeeping(service, engine, 0.04, lambda: None))
    try:
        await asyncio.sleep(0.1)
        assert garbage.is_deferred()
        engine.status = EngineStatus("ready")
        await until(lambda: not garbage.is_deferred())
        assert gc.get_freeze_count() > 1000
    finally:
        work.cancel()
        garbage.settle()
        gc.unfreeze()
