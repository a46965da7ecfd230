"""``midfill demo``: types into a real file through the real server, and shows what an editor would show."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from midfill import __version__
from midfill.demo.client import OpenFile, ServerGone, ServerProcess, first_item
from midfill.types import MidfillError

FILE = "inventory.py"
SOURCE = "inventory.txt"  # the code is unfinished, so it is not a module
N_LINES = 18
START_LIMIT_S = 900.0


@dataclass(slots=True)
class Figures:
    """What the session measured, from the client's side of the wire."""

    ttft_s: list[float] = field(default_factory=list)
    total_s: list[float] = field(default_factory=list)
    n_accepted: int = 0
    cancelled: dict[str, Any] = field(default_factory=dict)
    n_decoded: int = 0
    decode_s: float = 0.0


class Screen:
    """The editor's window: the lines around the cursor, ghost text in grey, and one line below that explains what
    happens."""

    def __init__(self, live: Live | None) -> None:
        self._live = live
        self.text, self.cursor, self.ghost, self.says = "", 0, "", ""

    @property
    def before(self) -> str:
        """The text before the cursor."""
        return self.text[: self.cursor]

    def draw(self) -> None:
        """Show the current state."""
        if self._live is not None:
            self._live.update(self.frame(), refresh=True)

    def frame(self) -> RenderableType:
        """Return the window as rich renders it."""
        before = self.before
        row = before.count("\n")
        ghost_lines = self.ghost.count("\n")
        lines = self.text.split("\n")
        first = max(0, min(row - N_LINES // 2, len(lines) - N_LINES))
        body = Text()
        for number in range(first, min(first + N_LINES - ghost_lines, len(lines))):
            body.append(f"{number + 1:>4}  ", style="bright_black")
            if number != row:
                body.append_text(_highlighted(lines[number]))
            else:
                column = len(before) - before.rfind("\n") - 1
                self._cursor_line(body, lines[number], column)
            body.append("\n")
        body.rstrip()
        return Panel(
            body, title=FILE, subtitle=Text.from_markup(self.says), width=100, title_align="left", subtitle_align="left"
        )

    def _cursor_line(self, body: Text, line: str, column: int) -> None:
        body.append_text(_highlighted(line[:column]))
        first, *rest = self.ghost.split("\n")
        body.append("▏", style="bold cyan")
        body.append(first, style="bright_black italic")
        body.append_text(_highlighted(line[column:]))
        for more in rest:
            body.append("\n      ")
            body.append(more, style="bright_black italic")


def _highlighted(code: str) -> Text:
    text = Syntax("", "python", theme="ansi_dark").highlight(code)
    text.rstrip()
    return text if len(text) == len(code) else Text(code)


# One request to the engine for each request of the session, so that the figures belong to what is seen.
OPTIONS = {"candidates": 1, "ahead": False, "records": False}


class SimulatedEditor:
    """The typing: keeps the buffer, the server's copy of it, and the figures."""

    def __init__(self, client: ServerProcess, screen: Screen, key_s: float) -> None:
        self._client, self._screen, self._key_s = client, screen, key_s
        screen.text = resources.files(__package__).joinpath(SOURCE).read_text(encoding="utf-8")
        self._file = OpenFile(client, "file:///demo/" + FILE, screen.text)
        self.figures = Figures()

    def go_to(self, mark: str) -> None:
        """Put the cursor after ``mark``."""
        self._screen.cursor = self._screen.text.index(mark) + len(mark)
        self._screen.ghost = ""
        self._screen.draw()

    async def type(self, keys: str) -> None:
        """Type, one key at a time."""
        for key in keys:
            self._insert(key)
            self._screen.draw()
            await asyncio.sleep(self._key_s)

    def _insert(self, text: str) -> None:
        screen = self._screen
        self._file.insert(screen.before, text)
        screen.text = screen.text[: screen.cursor] + text + screen.text[screen.cursor :]
        screen.cursor += len(text)
        screen.ghost = ""
        self._client.on_notification.pop("$/progress", None)  # what still comes is stale

    async def suggest(self, *, until: int | None = None) -> str:
        """Request a suggestion and let it grow on the screen. ``until``: return once it has this many characters."""
        grown = asyncio.Event()
        start, first = time.monotonic(), 0.0

        def show(value: Any) -> None:
            nonlocal first
            self._screen.ghost = first_item(value)["insertText"]
            first = first or (time.monotonic() if self._screen.ghost else 0.0)
            self._screen.draw()
            if until is not None and len(self._screen.ghost) >= until:
                grown.set()

        answer = self._file.ask(self._screen.before, show, invoked=True)
        if until is not None:
            waiting = asyncio.ensure_future(grown.wait())
            await asyncio.wait({waiting, answer}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            return self._screen.ghost
        self._screen.ghost = first_item(await answer)["insertText"]
        if first:
            self.figures.ttft_s.append(first - start)
            self.figures.total_s.append(time.monotonic() - start)
        self._screen.draw()
        return self._screen.ghost

    async def accept(self) -> None:
        """Take the ghost text, as Tab does."""
        await asyncio.sleep(self._key_s * 12)
        if self._screen.ghost:
            self._insert(self._screen.ghost)
            self.figures.n_accepted += 1
        self._screen.draw()

    async def engine(self) -> dict[str, Any]:
        """Return the engine's own counters."""
        stats = await self._client.request("midfill/stats")
        engine = (stats or {}).get("engine") or {}
        assert isinstance(engine, dict)
        return engine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill demo``."""
    parser.add_argument("--fast", action="store_true", help="type without pauses")
    parser.set_defaults(run=lambda arguments: run(fast=arguments.fast))


def run(*, fast: bool = False) -> int:
    """Play the session in this terminal; return the exit code."""
    try:
        return asyncio.run(_play(fast=fast))
    except ServerGone:
        raise MidfillError("the language server ended unexpectedly", "run: midfill doctor") from None


async def _play(*, fast: bool) -> int:
    console = Console(highlight=False)
    version = importlib.metadata.version("midfill")
    console.print(f"\n[bold]midfill {version}[/]: a typing session with the real server\n")
    start = time.monotonic()
    async with ServerProcess.start() as client:
        status = _follow_status(client)
        await client.initialize(options=OPTIONS)
        console.print(f"  `midfill lsp --stdio` answered [bold]initialize[/] after {time.monotonic() - start:.2f} s")
        final = await _wait_ready(console, status)
        what = f"{final['model']} on {final['device']}, adapter {final['adapter']}"
        console.print(f"  ready after {time.monotonic() - start:.1f} s: {what}\n")
        with Live(console=console, auto_refresh=False, transient=False) as live:
            session = SimulatedEditor(client, Screen(live if console.is_terminal else None), 0.0 if fast else 0.05)
            await _story(session)
        if not console.is_terminal:
            console.print(session._screen.frame())
        _summary(console, session.figures)
    _connect(console)
    return 0


def _follow_status(client: ServerProcess) -> asyncio.Queue[dict[str, Any]]:
    states: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    client.on_notification["midfill/status"] = states.put_nowait
    return states


async def _states(states: asyncio.Queue[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
    try:
        async with asyncio.timeout(START_LIMIT_S):
            while True:
                yield await states.get()
    except TimeoutError:
        raise MidfillError("the model was not ready in time", "run: midfill doctor") from None


async def _wait_ready(console: Console, states: asyncio.Queue[dict[str, Any]]) -> dict[str, Any]:
    with Live(console=console, auto_refresh=False, transient=True) as live:
        async for state in _states(states):
            if state["state"] == "error":
                raise MidfillError(state["message"], state["remedy"])
            if state["state"] == "ready":
                return state
            done = state.get("progress") or 0.0
            left = f", {state['secondsLeft']} s left" if state.get("secondsLeft") else ""
            stage = Text(f"  {state.get('stage') or 'starting'}{left}  ")
            row = Table.grid(padding=(0, 1))
            row.add_row(stage, ProgressBar(total=1.0, completed=done, width=40), Text(f"{done:.0%}"))
            live.update(row, refresh=True)
    raise AssertionError("unreachable")


async def _type_after(session: SimulatedEditor, mark: str, text: str) -> None:
    session.go_to(mark)
    session._screen.says = "typing …"
    await session.type(text)


async def _suggest_and_accept(session: SimulatedEditor, says: str) -> None:
    session._screen.says = says
    await session.suggest()
    session._screen.says = "[green]Tab: accepted[/]"
    await session.accept()


async def _story(session: SimulatedEditor) -> None:
    grows = "[cyan]ghost text grows while the model streams[/]"
    await _type_after(session, "def total(self) -> float:", "\n        ")
    await _suggest_and_accept(session, grows)
    await session.type("")

    await _type_after(session, "for entry in json.loads(path.read_text()):", "\n        ")
    session._screen.says = "[cyan]a suggestion grows …[/]"
    await session.suggest(until=12)
    session._screen.says = "[yellow]… but the typing goes on: the request is stale, the model stops[/]"
    await session.type("item = ")
    session.figures.cancelled = await _last_cancelled(session)
    await _suggest_and_accept(session, f"[yellow]{_stale(session.figures.cancelled)}[/]")

    await _type_after(session, "return inventory", "\n\n\ndef cheapest(inventory: Inventory) -> Item:\n    ")
    await _suggest_and_accept(session, grows)
    totals = (await session.engine()).get("recent") or []
    for entry in totals:
        if entry["n_decoded"] > 1:
            session.figures.n_decoded += entry["n_decoded"] - 1
            session.figures.decode_s += entry["total_s"] - entry["ttft_s"]


async def _last_cancelled(session: SimulatedEditor) -> dict[str, Any]:
    """Return the engine's record of the request that was just cancelled."""
    for _ in range(50):
        recent = (await session.engine()).get("recent") or []
        if recent and recent[-1]["finish_reason"] == "cancelled":
            return dict(recent[-1])
        await asyncio.sleep(0.02)
    return {}


def _stale(cancelled: dict[str, Any]) -> str:
    """Return what became of the request that further typing made stale."""
    if not cancelled:
        return "was finished before it became stale"
    return (
        f"cancelled after {cancelled['n_decoded']} tokens; {cancelled['n_steps_after_cancel']} decode steps ran on, "
        f"the slot was free after {cancelled['cancel_to_free_s'] * 1000:.1f} ms"
    )


def _summary(console: Console, figures: Figures) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2))
    if figures.ttft_s:
        times = ", ".join(f"{value:.2f} s" for value in figures.ttft_s)
        table.add_row("time to first token", times)
        table.add_row("total", ", ".join(f"{value:.2f} s" for value in figures.total_s))
    if figures.decode_s:
        table.add_row("tokens per second", f"{figures.n_decoded / figures.decode_s:.1f}")
    table.add_row("suggestions accepted", str(figures.n_accepted))
    table.add_row("stale request", _stale(figures.cancelled))
    console.print()
    console.print(table)


def _connect(console: Console) -> None:
    command, vsix = _command(), f"dist/midfill-{__version__}.vsix"
    neovim = f"vim.lsp.config('midfill', {{ cmd = {{ '{command}', 'lsp', '--stdio' }} }}); vim.lsp.enable('midfill')"
    group = Group(
        Text("\nConnect your editor:", style="bold"),
        Text(f"  VS Code     make vsix; code --install-extension {vsix}; the setting midfill.path: {command}"),
        Text(f"  Neovim      {neovim}"),
        Text(f"  any other   start `{command} lsp --stdio` as a language server for your files\n"),
    )
    console.print(group, soft_wrap=True)


def _command() -> str:
    beside = Path(sys.executable).with_name("midfill")
    return str(beside) if beside.is_file() else "midfill"
