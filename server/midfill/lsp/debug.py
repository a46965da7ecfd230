"""Requests for black-box checks. They exist only with MIDFILL_DEBUG_METHODS=1 in the environment."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from midfill.client.base import Link
from midfill.lsp import convert
from midfill.lsp.protocol import InvalidParams, Params
from midfill.lsp.session import Session

MAX_THREADS = 16
PROMPT_WAIT_S = 60.0


def enabled() -> bool:
    """Whether these requests exist."""
    return os.environ.get("MIDFILL_DEBUG_METHODS") == "1"


def document_text(session: Session, params: Params) -> Any:
    """Return the text as the server holds it; null for a document that is not open."""
    document = session.documents.get(_uri(params))
    return {"text": None if document is None else document.text}


def prompt(session: Session, params: Params) -> Any:
    """Return the prompt as midfill would send it."""
    uri, position = _uri(params), convert.read_position(params.get("position"))
    snapshot = session.documents.at(uri, *position)
    if snapshot is None:
        return None

    async def answer() -> Any:
        completer = session.completer or await session.engine.wait_ready(PROMPT_WAIT_S)
        if completer is None:
            return None
        made = await completer.prompt(snapshot)
        return {"text": made.text, "controlCount": made.n_control}

    return answer()


def sleep(params: Params) -> Any:
    """Wait in the event loop."""
    return _sleep(convert.read_seconds(params))


async def _sleep(seconds: float) -> Any:
    await asyncio.sleep(seconds)
    return {}


def sleep_thread(threads: asyncio.Semaphore, params: Params) -> Any:
    """Wait in a thread until a cancellation frees it."""
    stop, seconds = threading.Event(), convert.read_seconds(params)
    return _in_thread(threads, lambda: stop.wait(seconds), stop)


def block(session: Session, threads: asyncio.Semaphore, params: Params) -> Any:
    """Keep the engine's worker busy; without an engine, compute in a thread."""
    seconds, stop = convert.read_seconds(params), threading.Event()
    if session.engine.link is not None and session.completer is not None:
        return _block_engine(session.engine.link, seconds)

    def spin() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not stop.is_set():
            sum(range(1000))

    return _in_thread(threads, spin, stop)


async def _block_engine(link: Link, seconds: float) -> Any:
    await link.debug_block(seconds)
    return {}


async def _in_thread(threads: asyncio.Semaphore, work: Callable[[], object], stop: threading.Event) -> Any:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def run() -> None:
        try:
            work()
        finally:
            loop.call_soon_threadsafe(done.set)

    async with threads:
        threading.Thread(target=run, name="midfill-debug", daemon=True).start()
        try:
            await done.wait()
        finally:
            stop.set()
    return {}


def raise_error(params: Params) -> Any:
    """Raise an error in a handler."""
    raise RuntimeError(str(params.get("text")))


def raise_base(params: Params) -> Any:
    """Raise a BaseException that would end the process in a handler."""
    raise SystemExit(3)


def print_noise(params: Params) -> Any:
    """Write what must not reach the protocol: by print() and by a child process."""
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


def handlers(session: Session) -> dict[str, Callable[[Params], Any]]:
    """Return the handlers by method."""
    threads = asyncio.Semaphore(MAX_THREADS)
    return {
        "midfill/debugDocumentText": partial(document_text, session),
        "midfill/debugPrompt": partial(prompt, session),
        "midfill/debugSleep": sleep,
        "midfill/debugSleepThread": partial(sleep_thread, threads),
        "midfill/debugBlock": partial(block, session, threads),
        "midfill/debugRaise": raise_error,
        "midfill/debugRaiseBase": raise_base,
        "midfill/debugPrint": print_noise,
    }
