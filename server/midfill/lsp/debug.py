"""Requests for checks from outside. They exist only with MIDFILL_DEBUG_METHODS=1 in the environment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from midfill.lsp import convert
from midfill.lsp.protocol import InvalidParams, Params

if TYPE_CHECKING:
    from midfill.client.base import Link
    from midfill.lsp.server import MidfillServer

MAX_THREADS = 16
PROMPT_WAIT_S = 60.0


def enabled() -> bool:
    """Whether they exist."""
    return os.environ.get("MIDFILL_DEBUG_METHODS") == "1"


def document_text(ls: MidfillServer, params: Params) -> Any:
    """The text as the server holds it; null for a document that is not open."""
    document = ls.documents.get(_uri(params))
    return {"text": None if document is None else document.text}


def prompt(ls: MidfillServer, params: Params) -> Any:
    """The prompt as it would be sent."""
    uri, position = _uri(params), convert.read_position(params.get("position"))
    place = ls.documents.place(uri, *position)
    snapshot = ls.documents.snapshot(uri, *position, closers=place.closers if place is not None else "")
    if snapshot is None:
        return None

    async def answer() -> Any:
        completer = ls.completer or await ls.wait_ready(PROMPT_WAIT_S)
        if completer is None:
            return None
        made = await completer.prompt(snapshot)
        return {"text": made.text, "controlCount": made.n_control}

    return answer()


def sleep(ls: MidfillServer, params: Params) -> Any:
    """Waits in the loop."""
    return _sleep(convert.read_seconds(params))


async def _sleep(seconds: float) -> Any:
    await asyncio.sleep(seconds)
    return {}


def sleep_thread(ls: MidfillServer, params: Params) -> Any:
    """Waits in a thread, which a cancel frees."""
    stop, seconds = threading.Event(), convert.read_seconds(params)
    return _in_thread(ls, lambda: stop.wait(seconds), stop)


def block(ls: MidfillServer, params: Params) -> Any:
    """Keeps the engine's worker busy; without an engine, a thread that computes."""
    seconds, stop = convert.read_seconds(params), threading.Event()
    if ls.link is not None and ls.completer is not None:
        return _block_engine(ls.link, seconds)

    def spin() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not stop.is_set():
            sum(range(1000))

    return _in_thread(ls, spin, stop)


async def _block_engine(link: Link, seconds: float) -> Any:
    await link.debug_block(seconds)
    return {}


async def _in_thread(ls: MidfillServer, work: Callable[[], object], stop: threading.Event) -> Any:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            loop.call_soon_threadsafe(done.set)

    async with ls.debug_threads:
        threading.Thread(target=run, name="midfill-debug", daemon=True).start()
        try:
            await done.wait()
        finally:
            stop.set()
    return {}


def raise_error(ls: MidfillServer, params: Params) -> Any:
    """A handler that fails."""
    raise RuntimeError(str(params.get("text")))


def raise_base(ls: MidfillServer, params: Params) -> Any:
    """A handler that wants to end the process."""
    raise SystemExit(3)


def print_noise(ls: MidfillServer, params: Params) -> Any:
    """What must not reach the protocol: print() and a child process that writes."""
    print("noise from print()", flush=True)
    return _child_noise()


async def _child_noise() -> Any:
    command = [sys.executable, "-I", "-S", "-c", "print('noise from a child', flush=True)"]
    await asyncio.to_thread(subprocess.run, command, check=False, timeout=10)
    return {}


def _uri(params: Params) -> str:
    uri = params.get("uri")
    if not isinstance(uri, str):
        raise InvalidParams
    return uri


HANDLERS: dict[str, Callable[[Any, Params], Any]] = {
    "midfill/debugDocumentText": document_text,
    "midfill/debugPrompt": prompt,
    "midfill/debugSleep": sleep,
    "midfill/debugSleepThread": sleep_thread,
    "midfill/debugBlock": block,
    "midfill/debugRaise": raise_error,
    "midfill/debugRaiseBase": raise_base,
    "midfill/debugPrint": print_noise,
}
