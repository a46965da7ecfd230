"""Real engine processes that die or hang while they work: what midfill remembers and reports, and that work goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from midfill.client import ends
from midfill.engine import record
from midfill.engine.base import EngineError, GenerateRequest
from midfill.engine.suspects import Suspects
from midfill.serve import main
from midfill.types import EngineStatus
from tests.serve.made import PATIENCE_S, config_of, followed, text_of, until

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("own_runtime")]
KILLED = "the engine was killed, probably by the system because memory ran out"


async def test_a_prompt_that_killed_its_engine_is_not_sent_again(tiny: Path) -> None:
    """No window sends it again, and another engine does not evaluate it for any other client."""
    config = config_of(tiny)
    where = record.place(config)
    deadly = GenerateRequest((5, 6, 7), 1500)
    async with followed(config) as (first, statuses), followed(config) as (second, _):
        assert await first.wait_ready(PATIENCE_S) is not None
        assert await second.wait_ready(PATIENCE_S) is not None
        address = record.find(where)
        assert address is not None
        engine = address.connect()
        stream = engine.stream(deadly)
        await anext(stream)
        os.kill(address.pid, signal.SIGKILL)
        with pytest.raises(EngineError):
            async for _ in stream:
                pass
        await engine.aclose()
        await until(lambda: first.completer is None and second.completer is None)
        await until(lambda: any(status.message == KILLED for status in statuses))
        for link in (first, second):
            await until(lambda: first.completer is not None and second.completer is not None)
            assert link.completer is not None
            with pytest.raises(EngineError, match="crashed on this prompt"):
                await anext(link.completer.engine.stream(deadly))
        assert deadly.prompt in Suspects(where.suspects)
        address = record.find(where)
        assert address is not None
        engine = address.connect()
        with pytest.raises(EngineError, match="crashed on this prompt"):
            await anext(engine.stream(deadly))
        assert await text_of(engine) != ""  # any other is answered
        assert (await engine.client.get("/midfill/stats")).json()["totals"].get("n_error", 0) == 0
        await engine.aclose()


async def test_a_worker_that_hangs_is_ended_and_the_reason_told(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_DEBUG_METHODS", "1")
    config = config_of(tiny)
    statuses: list[EngineStatus]
    async with followed(config) as (link, statuses):
        assert await link.wait_ready(PATIENCE_S) is not None
        pid = link.status.pid
        hanging = asyncio.ensure_future(link.debug_block(60))
        await until(lambda: any("did not get on for 15 s" in status.message for status in statuses))
        end = ends.read(record.place(config).end)
        assert end is None or end.code == main.STUCK
        await hanging
        await until(lambda: link.completer is not None and link.status.pid not in (0, pid))
