"""What the engine costs: start from the cache, resident memory, and a token beside a build.

    python bench/beside.py [--turns 5] [--tokens 48]

The engine is the one that an editor would start. Its tokens are decoded without speculation, in turns with nobody else
computing and beside two compilers that never end (as ``make -j2`` has them). Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

from midfill import config_files, paths
from midfill.bench.prompts import Windows, continuation
from midfill.commands.session import connected
from midfill.config import Config
from midfill.engine import record
from midfill.engine.http import HttpEngine
from midfill.eval.about import commit, machine, rounded, versions
from midfill.tokenizer import CodeTokenizer
from midfill.types import ModelInfo

N_CONTEXT = 1000
SETTLE_S = 1.5  # until the engine has seen what else the machine does
SOURCE = "#include <regex>\n#include <iostream>\nstd::regex m;\nint main() { return 0; }\n"


@contextlib.contextmanager
def compilers(n: int = 2) -> Iterator[None]:
    """``n`` of them, without end."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.cc"
        file.write_text(SOURCE, encoding="utf-8")
        command = f"while :; do g++ -O2 -c {file} -o /dev/null; done"
        shell = ["/bin/sh", "-c", command]
        running = [subprocess.Popen(shell, start_new_session=True) for _ in range(n)]  # noqa: S603 - our own words
        try:
            yield
        finally:
            for process in running:
                os.killpg(process.pid, 9)
                process.wait()


async def token_s(engine: HttpEngine, ids: list[int], n_tokens: int) -> float:
    """Seconds a token, the first one left out."""
    first = 0.0
    n = 0
    async with aclosing(engine.stream(continuation(ids, n_tokens))) as deltas:  # type: ignore[type-var]
        async for delta in deltas:
            first = first or time.perf_counter()
            n += len(delta.logprobs) or bool(delta.text)
            n = delta.stats.n_decoded if delta.stats and delta.finish_reason else n
    return (time.perf_counter() - first) / (n - 1)


def memory(pid: int) -> dict[str, float]:
    """Resident now and at the most, in GB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return {name: int(found[key].split()[0]) * 1024 / 1e9 for name, key in (("now", "VmRSS"), ("most", "VmHWM"))}


@contextlib.asynccontextmanager
async def started(config: Config) -> AsyncIterator[tuple[HttpEngine, ModelInfo, int, float]]:
    """An engine of our own, its pid, and the seconds from nothing to ready."""
    start = time.monotonic()
    async with connected(config, quiet=True) as (engine, info):
        seconds = time.monotonic() - start
        address = record.find(record.place(config))
        assert address is not None
        try:
            yield engine, info, address.pid, seconds
        finally:
            os.kill(address.pid, 15)


async def measure(turns: int, n_tokens: int) -> dict[str, object]:
    """Everything."""
    config = config_files.load_user()
    starts: list[float] = []
    for _ in range(3):  # the first may still prepare the model
        async with started(config) as (_, _, pid, seconds):
            starts.append(seconds)
            resident = memory(pid)
        while record.is_running(record.place(config)):
            await asyncio.sleep(0.1)
    async with started(config) as (engine, info, pid, seconds):
        starts.append(seconds)
        windows = Windows(CodeTokenizer.from_file(Path(info.tokenizer_file)), 1)
        alone: list[float] = []
        beside: list[float] = []
        await token_s(engine, windows.take(N_CONTEXT), n_tokens)
        for turn in range(turns):
            ids = windows.take(N_CONTEXT)
            await token_s(engine, ids, 4)  # the prompt is read
            await asyncio.sleep(SETTLE_S)
            alone.append(await token_s(engine, ids, n_tokens))
            with compilers():
                await asyncio.sleep(SETTLE_S)
                beside.append(await token_s(engine, ids, n_tokens))
            print(f"turn {turn + 1}: {alone[-1] * 1e3:.1f} ms a token alone, {beside[-1] * 1e3:.1f} beside", flush=True)
        used = memory(pid)
    ratios = sorted(b / a for a, b in zip(alone, beside, strict=True))
    return {
        "bench": "beside", "start_s": [round(one, 2) for one in starts[1:]], "resident_after_start_gb": resident,
        "resident_after_use_gb": used, "token_alone_ms": statistics.median(alone) * 1e3,
        "token_beside_ms": statistics.median(beside) * 1e3, "ratio": statistics.median(ratios), "ratios": ratios,
        "machine": machine(), "versions": versions(), "commit": commit(),
    }  # fmt: skip


def main() -> None:
    """Measure with an engine of our own and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=48)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="midfill-beside-") as folder:
        (Path(folder) / "config.toml").write_text('model = "embedded"\n', encoding="utf-8")
        os.environ |= {"MIDFILL_RUNTIME_DIR": f"{folder}/run", "MIDFILL_CONFIG": f"{folder}/config.toml"}
        runtime = paths.runtime_dir()
        try:
            print(json.dumps(rounded(asyncio.run(measure(options.turns, options.tokens)))))
        finally:
            shutil.rmtree(runtime, ignore_errors=True)


if __name__ == "__main__":
    main()
