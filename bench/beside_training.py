"""How long completions take while an adapter is trained on the same machine: p50 and p95, alone and beside it.

    python bench/beside_training.py FOLDER [REQUESTS]

Trains on FOLDER under a name of its own, registers nothing, and removes the run afterwards. Prints one line of JSON; no
test judges the figure. Ends with an error where the trainer did not train all the while.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

from midfill import config_files, paths
from midfill.commands.session import session
from midfill.types import Snapshot

N_REQUESTS = 60
LEAVES_S = 60.0  # a trainer that is asked to stop saves a checkpoint
NAME = "beside-training"
COMMAND = (sys.executable, "-P", "-m", "midfill", "train", f"--name={NAME}", "--no-gate", "--restart")


class Trainer:
    """``midfill train`` as a process, whose lines are read as they come so that it never waits for its reader."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter
            [*COMMAND, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
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
        self._trains.set()  # it is gone

    def wait(self) -> None:
        """Until its first step is done. Raises SystemExit where it ends before."""
        self._trains.wait()
        self.check()

    def check(self) -> None:
        """Raises SystemExit, with its last lines, where it does not train any more."""
        if self._process.poll() is not None:
            raise SystemExit("\n".join(("the trainer ended:", *self._last)))

    def end(self) -> None:
        """Stop it, and remove what it wrote."""
        self._process.terminate()
        try:
            self._process.wait(LEAVES_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        shutil.rmtree(paths.data_dir() / "training" / NAME, ignore_errors=True)


async def times(n: int) -> list[float]:
    """Seconds of ``n`` completions, each of another text, sorted."""
    mine = replace(config_files.load_user(), records=False, ahead=False)
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
    if len(sys.argv) not in (2, 3) or not Path(sys.argv[1]).is_dir():
        raise SystemExit("usage: python bench/beside_training.py FOLDER [REQUESTS]")
    folder, n = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else N_REQUESTS
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # the trainer goes too
    alone = figures(asyncio.run(times(n)))
    trainer = Trainer(folder)
    try:
        trainer.wait()
        beside = figures(asyncio.run(times(n)))
        trainer.check()
    finally:
        trainer.end()
    ratio = round(beside["p95_s"] / alone["p95_s"], 2)
    print(json.dumps({"n": n, "alone": alone, "beside": beside, "p95_ratio": ratio}))


if __name__ == "__main__":
    main()
