"""What reading ahead is worth: time to first text at a place where the cursor rested, against one never seen.

    python bench/ahead.py [--rounds 10] [--rest 2.0]

Places in modules of the standard library, a module each, cold and rested at in turns, through the whole server path
with the embedded model. The last line is JSON: medians in seconds, and their ratio. Beside a busy machine nothing is
read ahead: such places are counted and left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from contextlib import aclosing

from midfill.bench.holes import read_module
from midfill.bench.prompts import MODULES
from midfill.client.link import EngineLink
from midfill.completer import Completer
from midfill.config import Config
from midfill.types import MidfillError, Snapshot

READY_S = 600.0
ENOUGH = 0.8  # of a prompt: so much must have been read for its place to count as rested at


def place(module: str, seed: int) -> Snapshot:
    """The middle of a line that has something to say, some way into a module."""
    text = read_module(module)
    assert text
    rng = random.Random(seed)  # noqa: S311 - the same places each time
    starts = [at for at in range(4000, min(len(text), 40_000)) if text[at - 1] == "\n" and text[at : at + 8] == " " * 8]
    start = rng.choice(starts)
    end = text.find("\n", start)
    cursor = start + 8 + (end - start - 8) // 3
    return Snapshot(f"file:///bench/{module}.py", 1, "python", text[:cursor] + text[end:], cursor, path=f"{module}.py")


async def first_text_s(completer: Completer, snapshot: Snapshot) -> tuple[float, float]:
    """(seconds until something is shown, or it is known that nothing is; the part of the prompt that was read)."""
    stats, start, found = None, time.monotonic(), 0.0
    async with aclosing(completer.stream(snapshot, trigger="invoked")) as values:  # type: ignore[type-var]
        async for value in values:
            found, stats = found or (time.monotonic() - start if value.text or value.finished else 0.0), value.stats
    return found, stats.n_cached / max(1, stats.n_prompt) if stats is not None else 0.0


async def measure(rounds: int, rest_s: float) -> dict[str, object]:
    """The figures. Raises MidfillError."""
    link = EngineLink(Config(model="embedded", adapter="none", records=False, max_debounce_s=0.0), lambda _status: None)
    link.start()
    completer = await link.wait_ready(READY_S)
    if completer is None:
        raise MidfillError(link.status.message or "the engine is not ready", link.status.remedy)
    cold, warm, n_busy = list[float](), list[float](), 0
    await first_text_s(completer, place(MODULES[0], 0))  # the engine's own first request
    for number in range(rounds):
        here, there = (place(MODULES[(2 * number + side) % len(MODULES)], number + 1) for side in (0, 1))
        cold.append((await first_text_s(completer, here))[0])
        completer.rests(there)
        await asyncio.sleep(rest_s)
        seconds, share = await first_text_s(completer, there)
        if share < ENOUGH:
            n_busy += 1
        else:
            warm.append(seconds)
        print(f"{number + 1}: cold {cold[-1]:.3f} s, rested at {seconds:.3f} s ({share:.0%} read)", flush=True)
    await link.aclose()
    figures: dict[str, object] = {"rounds": rounds, "rest_s": rest_s, "n_busy": n_busy, "cores": os.cpu_count()}
    if warm:
        figures |= {"cold_s": statistics.median(cold), "rested_s": statistics.median(warm)}
        figures |= {"ratio": statistics.median(warm) / statistics.median(cold)}
    return figures


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--rest", type=float, default=2.0, help="seconds that the cursor rests")
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(measure(arguments.rounds, arguments.rest))))


if __name__ == "__main__":
    main()
