"""How long completions take beside something else: a build, a training run, other windows; and where the cursor rested.

Each bench measures with and without it in turns, with an engine of its own. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from midfill import config_files
from midfill.bench.contenders import ask
from midfill.bench.goals import GoalResult, Measured
from midfill.bench.holes import read_module
from midfill.bench.own import move_data, started
from midfill.bench.prompts import MODULES, Windows, continuation
from midfill.commands.session import session
from midfill.completer import Completer
from midfill.config import Config
from midfill.engine.base import EngineError, GenerateRequest
from midfill.eval.figures import percentile
from midfill.tokenizer import CodeTokenizer
from midfill.types import MidfillError, ModelInfo, Snapshot, Stats

Say = Callable[[str], None]

SETTLE_S = 1.5  # until the engine has noticed what else the machine does
N_CONTEXT, N_TOKENS = 1000, 48
SOURCE = "#include <regex>\n#include <iostream>\nstd::regex m;\nint main() { return 0; }\n"
N_COMPILERS = 2  # like `make -j2`

N_WINDOWS, DEADLINE_S, N_ANSWER = 6, 10.0, 32

REST_S = 2.0  # the cursor rests this long
ENOUGH = 0.8  # part of a prompt that must have been read before its place counts as rested at

N_REQUESTS = 60  # beside training
LEAVES_S = 60.0  # a trainer that is asked to stop saves a checkpoint first
TRAIN = (sys.executable, "-P", "-m", "midfill", "train", "--name=bench", "--no-gate", "--restart")


def windows_of(info: ModelInfo) -> Windows:
    """Return prompts that no cache knows."""
    return Windows(CodeTokenizer.from_file(Path(info.tokenizer_file)), 1)


async def build(options: argparse.Namespace, folder: Path, say: Say) -> Measured:
    """Measure a token without speculation, alone and beside compilers that never end; in ms."""
    alone: list[float] = []
    beside: list[float] = []
    async with started(config_files.load_user()) as ours:
        windows = windows_of(ours.info)

        async def token_ms(ids: list[int]) -> float:
            timing = await ask(ours.engine, continuation(ids, N_TOKENS))
            return timing.spent_s / max(1, timing.n_tokens - 1) * 1000

        await token_ms(windows.take(N_CONTEXT))
        for turn in range(options.rounds or 5):
            ids = windows.take(N_CONTEXT)
            await ask(ours.engine, continuation(ids, 4))  # so that the prompt is read
            await asyncio.sleep(SETTLE_S)
            alone.append(await token_ms(ids))
            with compilers():
                await asyncio.sleep(SETTLE_S)
                beside.append(await token_ms(ids))
            say(f"turn {turn + 1}: {alone[-1]:.1f} ms a token alone, {beside[-1]:.1f} beside a build")
    ratios = sorted(b / a for a, b in zip(alone, beside, strict=True))
    medians = {"token_alone_ms": statistics.median(alone), "token_beside_ms": statistics.median(beside)}
    return {**medians, "ratio": statistics.median(ratios), "ratios": ratios}, []


@contextlib.contextmanager
def compilers() -> Iterator[None]:
    """Run N_COMPILERS endless compilers inside the block."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.cc"
        file.write_text(SOURCE, encoding="utf-8")
        shell = ["/bin/sh", "-c", f"while :; do g++ -O2 -c {file} -o /dev/null; done"]
        running = [subprocess.Popen(shell, start_new_session=True) for _ in range(N_COMPILERS)]  # noqa: S603 - our own words
        try:
            yield
        finally:
            for process in running:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


async def overload(options: argparse.Namespace, folder: Path, say: Say) -> Measured:
    """Measure how many of several windows that ask at once get their answer before the deadline.

    Prompts have the engine's whole budget. Each round asks once alone, then from every window. The goal: at least as
    many answers as fit one after another into the deadline.
    """
    alone: list[float | None] = []
    rounds: list[list[float | None]] = []
    async with started(config_files.load_user()) as ours:
        windows = windows_of(ours.info)

        async def answer_s(window: int, within_s: float | None = DEADLINE_S) -> float | None:
            ids = tuple(windows.take(ours.info.context_tokens))
            request = GenerateRequest(ids, N_ANSWER, window=f"window-{window}", within_s=within_s)
            try:
                async with asyncio.timeout(within_s):
                    return (await ask(ours.engine, request)).total_s
            except (EngineError, TimeoutError):
                return None

        await answer_s(0, None)
        for number in range(options.rounds or 3):
            alone.append(await answer_s(0))
            rounds.append(await asyncio.gather(*(answer_s(window) for window in range(N_WINDOWS))))
            told = ", ".join("-" if end is None else f"{end:.1f}" for end in rounds[-1])
            says = "too late" if (one := alone[-1]) is None else f"{one:.2f} s"
            say(f"round {number + 1}: alone {says}; at once {told}")
    answered = [sum(end is not None for end in ends) for ends in rounds]
    # Of the same round: the machine's speed changes from one round to the next.
    fits = [0 if one is None else min(N_WINDOWS, int(DEADLINE_S / one)) for one in alone]
    missing = max(fit - n for n, fit in zip(answered, fits, strict=True))
    name = f"{N_WINDOWS} windows at once, within {DEADLINE_S:g} s"
    verdict = GoalResult(name, "as many as fit one by one", f"{answered}, {fits} fit", missing, missing <= 0)
    return {"windows": N_WINDOWS, "deadline_s": DEADLINE_S, "alone_s": alone, "fits": fits, "answered": answered}, [
        verdict
    ]


async def ahead(options: argparse.Namespace, folder: Path, say: Say) -> Measured:
    """Measure the seconds to the first text where the cursor rested, and at places never seen, through the whole server
    path.

    Beside a busy machine the engine reads nothing ahead: such places are counted and left out.
    """
    config = config_files.load_user()
    cold, rested, n_busy = list[float](), list[float](), 0
    async with started(config), session(_plain(config)) as completer:
        completer.resident = True  # as in the language server
        await first_text(completer, _in_module(0, 0))  # the engine's own first request
        for number in range(options.rounds or 10):
            here, there = (_in_module(2 * number + side, number + 1) for side in (0, 1))
            cold.append((await first_text(completer, here))[0])
            completer.rests(there)
            await asyncio.sleep(REST_S)
            seconds, share = await first_text(completer, there)
            n_busy += share < ENOUGH
            rested += [seconds] if share >= ENOUGH else []
            say(f"{number + 1}: cold {cold[-1]:.3f} s, rested at {seconds:.3f} s ({share:.0%} read)")
    figures = {"rest_s": REST_S, "n_busy": n_busy, "cold_s": percentile(cold, 0.5), "rested_s": percentile(rested, 0.5)}
    return {**figures, "ratio": statistics.median(rested) / statistics.median(cold) if rested else None}, []


def _plain(config: Config) -> Config:
    """Return the settings for measuring, with everything else switched off."""
    return replace(config, adapter="none", records=False, max_debounce_s=0.0)


def _in_module(number: int, seed: int) -> Snapshot:
    """Return a cursor in the middle of a line with some code, some way into a module."""
    module = MODULES[number % len(MODULES)]
    text, indent = read_module(module), " " * 8
    rng = random.Random(seed)  # noqa: S311 - the same places each time
    start = rng.choice([at for at in range(4000, min(len(text), 40_000)) if text.startswith(f"\n{indent}", at - 1)])
    end = text.find("\n", start)
    cursor = start + len(indent) + (end - start - len(indent)) // 3
    return Snapshot(f"file:///bench/{module}.py", 1, "python", text[:cursor] + text[end:], cursor, path=f"{module}.py")


async def first_text(completer: Completer, snapshot: Snapshot) -> tuple[float, float]:
    """Return (seconds until something is shown or it is known that nothing is, the part of the prompt that was
    cached)."""
    stats, start, found = Stats(), time.monotonic(), 0.0
    async with aclosing(completer.stream(snapshot, trigger="invoked")) as values:  # type: ignore[type-var]
        async for value in values:
            found = found or (time.monotonic() - start if value.text or value.finished else 0.0)
            stats = value.stats or stats
    return found, stats.n_cached / max(1, stats.n_prompt)


async def training(options: argparse.Namespace, folder: Path, say: Say) -> Measured:
    """Measure the seconds of completions alone and while an adapter is trained; registers nothing.

    Raises MidfillError if the trainer did not train the whole time.
    """
    move_data(folder, "STATE", "DATA")
    n, config = options.rounds or N_REQUESTS, config_files.load_user()
    async with started(config), session(replace(config, records=False, ahead=False)) as completer:
        alone = await _completions(completer, n)
        say("the trainer starts")
        trainer = Trainer(options.folder or Path(__file__).parents[1])
        try:
            await asyncio.to_thread(trainer.wait)
            say("it trains")
            beside = await _completions(completer, n)
            trainer.check()
        finally:
            trainer.end()
    ratio = beside["p95_s"] / alone["p95_s"]
    return {"n": n, "alone": alone, "beside": beside, "p95_ratio": ratio}, []


async def _completions(completer: Completer, n: int) -> dict[str, float]:
    """Return p50 and p95 of ``n`` completions, each of another text."""
    found: list[float] = []
    for number in range(-2, n):  # two warm-ups
        text = f"def scale_{time.monotonic_ns()}(value, factor):\n    return "
        snapshot = Snapshot("file:///bench.py", 1, "python", text, len(text), path="bench.py")
        start = time.monotonic()
        await completer.last(snapshot)
        found += [time.monotonic() - start] if number >= 0 else []
    return {f"p{share}_s": percentile(found, share / 100) or 0.0 for share in (50, 95)}


class Trainer:
    """``midfill train`` as a process, whose lines are read as they come so that it never waits for its reader."""

    def __init__(self, folder: Path, command: Sequence[str] = TRAIN) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [*command, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._last: deque[str] = deque(maxlen=5)
        self._trains = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._last.append(line.rstrip())
            if " step 1 of " in line:
                self._trains.set()
        self._trains.set()  # it has exited

    def wait(self) -> None:
        """Wait until its first step is done. Raises MidfillError if it ends earlier."""
        self._trains.wait()
        self.check()

    def check(self) -> None:
        """Raise MidfillError, with its last lines, if it has stopped training."""
        if self._process.poll() is not None:
            raise MidfillError(
                "; ".join(("the trainer ended", *self._last)), "run it by hand: midfill train DIR --no-gate"
            )

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        try:
            self._process.wait(LEAVES_S)
        except subprocess.TimeoutExpired:
            self._process.kill()


BENCHES = {"build": build, "training": training, "overload": overload, "ahead": ahead}
