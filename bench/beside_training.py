"""How long completions take while an adapter is trained on the same machine: p50 and p95, alone and beside it.

    python bench/beside_training.py FOLDER [REQUESTS]

Trains on FOLDER into a name of its own and registers nothing. Prints one line of JSON; no test judges the figure.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from midfill import config
from midfill.commands.session import session
from midfill.types import Snapshot

N_REQUESTS = 60
TRAINER_S = 60.0  # until its first steps are done


async def times(n: int) -> list[float]:
    """Seconds of ``n`` completions, each of another text, sorted."""
    mine = replace(config.load_user(), records=False, ahead=False)
    found = []
    async with session(mine) as completer:
        for number in range(-2, n):  # two to warm up
            text = f"def scale_{time.monotonic_ns()}(value, factor):\n    return "
            start = time.monotonic()
            await completer.last(Snapshot("file:///bench.py", 1, "python", text, len(text), path="bench.py"))
            found += [time.monotonic() - start] if number >= 0 else []
    return sorted(found)


def figures(values: list[float]) -> dict[str, float]:
    """p50 and p95 in seconds."""
    return {f"p{share}_s": round(values[int(share / 100 * (len(values) - 1))], 4) for share in (50, 95)}


def main() -> None:
    """Measure alone, then beside a training run that is stopped afterwards."""
    folder, n = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else N_REQUESTS
    alone = figures(asyncio.run(times(n)))
    command = [sys.executable, "-P", "-m", "midfill", "train", str(folder), "--name=beside-training", "--no-gate"]
    trainer = subprocess.Popen(  # noqa: S603 - our own interpreter
        [*command, "--restart"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert trainer.stderr is not None
        for line in trainer.stderr:
            if "step 1 of" in line:
                break
        beside = figures(asyncio.run(times(n)))
    finally:
        trainer.terminate()
        trainer.wait(TRAINER_S)
    ratio = round(beside["p95_s"] / alone["p95_s"], 2)
    print(json.dumps({"n": n, "alone": alone, "beside": beside, "p95_ratio": ratio}))


if __name__ == "__main__":
    main()
