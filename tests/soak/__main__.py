"""``python -m tests.soak [--real] [COMPLETIONS [MINUTES]]``: `make soak`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.soak.run import soak

real = "--real" in sys.argv
numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
n_completions = numbers[0] if numbers else 1000 if real else 100_000
minutes = float(numbers[1]) if len(numbers) > 1 else float("inf")
with tempfile.TemporaryDirectory(prefix="midfill-soak-") as home:
    done = soak(
        Path(home), n_completions, real=real, n_windows=2 if real else 4, n_kills=2 if real else 20, max_s=minutes * 60,
        say=lambda line: print(line, flush=True),
    )  # fmt: skip
print(done)
sys.exit(bool(done.faults) or done.n_asked != done.n_answered or not done.n_shown)
