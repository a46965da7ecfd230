"""Several windows ask at once at places never seen: how many have their answer before the deadline.

    python -m bench.overload [--windows 6] [--rounds 3] [--deadline 10] [--tokens 32]

The engine is the one that an editor would start, with the embedded model and prompts of its whole budget. A round asks
once alone and then from every window at once. Goal: at least as many answers as fit one after another into the
deadline. The last line is JSON; the exit status is 1 where the goal is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import aclosing
from pathlib import Path

from bench.beside import started

from midfill import config_files, paths
from midfill.bench.prompts import Windows
from midfill.engine.base import EngineError, GenerateRequest
from midfill.engine.http import HttpEngine
from midfill.eval.about import commit, machine, rounded, versions
from midfill.tokenizer import CodeTokenizer


async def answer_s(engine: HttpEngine, request: GenerateRequest) -> tuple[float | None, float | None]:
    """Seconds to the first piece and to the end; None where that did not come within ``within_s``."""
    start, first = time.perf_counter(), None
    try:
        async with asyncio.timeout(request.within_s), aclosing(engine.stream(request)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                if first is None and (delta.text or delta.finish_reason):
                    first = time.perf_counter() - start
    except (EngineError, TimeoutError):
        return first, None
    return first, time.perf_counter() - start


async def measure(n_windows: int, n_rounds: int, deadline_s: float, n_tokens: int) -> dict[str, object]:
    """Everything."""
    alone: list[float | None] = []
    rounds: list[list[float | None]] = []
    async with started(config_files.load_user()) as (engine, info, _, _):
        windows = Windows(CodeTokenizer.from_file(Path(info.tokenizer_file)), 1)

        def asked(window: int) -> GenerateRequest:
            ids = tuple(windows.take(info.context_tokens))
            return GenerateRequest(ids, n_tokens, window=f"window-{window}", within_s=deadline_s)

        await answer_s(engine, dataclasses.replace(asked(0), within_s=None))
        for number in range(n_rounds):
            _, seconds = await answer_s(engine, asked(0))
            alone.append(seconds)
            answers = await asyncio.gather(*(answer_s(engine, asked(window)) for window in range(n_windows)))
            rounds.append([end for _, end in answers])
            told = ", ".join("-" if end is None else f"{end:.1f}" for end in rounds[-1])
            says = "too late" if seconds is None else f"{seconds:.2f} s"
            print(f"round {number + 1}: alone {says}; at once {told}", flush=True)
    n_answered = [sum(end is not None for end in ends) for ends in rounds]
    # Of the same round: the machine's speed changes from one to the next.
    fits = [0 if one is None else min(n_windows, int(deadline_s / one)) for one in alone]
    return {
        "bench": "overload", "windows": n_windows, "deadline_s": deadline_s, "alone_s": alone, "fits": fits,
        "answered": n_answered, "reached": all(n >= fit for n, fit in zip(n_answered, fits, strict=True)),
        "machine": machine(), "versions": versions(), "commit": commit(),
    }  # fmt: skip


def main() -> None:
    """Measure with an engine of our own and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--deadline", type=float, default=10.0)
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="midfill-overload-") as folder:
        (Path(folder) / "config.toml").write_text('model = "embedded"\n', encoding="utf-8")
        os.environ |= {"MIDFILL_RUNTIME_DIR": f"{folder}/run", "MIDFILL_CONFIG": f"{folder}/config.toml"}
        runtime = paths.runtime_dir()
        try:
            figures = asyncio.run(measure(options.windows, options.rounds, options.deadline, options.tokens))
        finally:
            shutil.rmtree(runtime, ignore_errors=True)
    print(json.dumps(rounded(figures)))
    sys.exit(not figures["reached"])


if __name__ == "__main__":
    main()
