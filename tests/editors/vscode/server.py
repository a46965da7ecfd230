"""The program that tests use as midfill: the real one, with a scripted engine, and a log of its messages.

``python server.py SCRIPT WIRE lsp --stdio``. The script is read again for every generation, so one server serves many
tests. As long as it says ``"loading": true`` when the server starts, the engine loads. Everything but ``lsp`` is
midfill itself.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from midfill import cli
from midfill.client.base import Link
from midfill.client.scripted import ScriptedLink
from midfill.completer import Completer
from midfill.config import Config
from midfill.context.gather import ContextSource
from midfill.engine.base import Delta, GenerateRequest
from midfill.engine.scripted import ScriptedEngine
from midfill.lsp import protocol, server, transport
from midfill.lsp.connection import MakeLink
from midfill.types import EngineStatus


class FileReplay(ScriptedEngine):
    """Replays the file's content at that time."""

    def __init__(self, file: Path) -> None:
        super().__init__([])
        self.file = file

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        script = json.loads(self.file.read_text(encoding="utf-8"))
        self.chunks, self.delay_s, self.others = script["chunks"], script["delay_s"], script.get("others", ())
        async for delta in super().stream(request):
            yield delta


def make_link(file: Path) -> MakeLink:
    def make(config: Config, on_status: Callable[[EngineStatus], None], sources: Sequence[ContextSource]) -> Link:
        link = ScriptedLink(config, on_status, file, sources)
        start = link.start

        def dictated() -> None:
            start()
            if link.completer is not None:
                link.completer.engine = FileReplay(file)

        async def load() -> None:
            while is_loading(file):
                await asyncio.sleep(0.02)
            dictated()
            ready.set()

        async def wait_ready(timeout_s: float) -> Completer | None:
            await asyncio.wait_for(ready.wait(), timeout_s)  # the server handles a TimeoutError
            return link.completer

        def begin() -> None:
            if is_loading(file):
                on_status(EngineStatus("starting", stage="loading the weights", progress=0.5, model="scripted"))
                tasks.append(asyncio.get_running_loop().create_task(load()))
            else:
                dictated()
                ready.set()

        ready, tasks = asyncio.Event(), list[asyncio.Task[None]]()
        link.start, link.wait_ready = begin, wait_ready  # type: ignore[method-assign]
        return link

    return make


def is_loading(script: Path) -> bool:
    """Return whether the engine is not ready yet. The link reports a script that is not JSON."""
    try:
        return bool(json.loads(script.read_text(encoding="utf-8")).get("loading"))
    except ValueError:
        return False


def tap(wire: Path) -> None:
    """Write each message to a file, as a line of JSON with its time and direction."""
    stream = wire.open("a", encoding="utf-8", buffering=1)

    def note(direction: str, message: Any) -> None:
        stream.write(json.dumps({"t": time.monotonic(), "direction": direction, **message}) + "\n")

    class Tapped(protocol.MidfillProtocol):
        def handle_message(self, message: Any) -> None:
            note("in", message)
            super().handle_message(message)

        def _send_data(self, data: Any, *, droppable: bool = False) -> None:
            note("out", self.plain(data))
            super()._send_data(data, droppable=droppable)

    setattr(server, "MidfillProtocol", Tapped)  # noqa: B010 - mypy knows the name as another module's


def main() -> int:
    script, wire, command = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    if command[:1] != ["lsp"]:
        return cli.main(command)
    tap(wire)
    return transport.serve_stdio(lambda: server.MidfillServer(None, make_link(script)))


if __name__ == "__main__":
    sys.exit(main())
