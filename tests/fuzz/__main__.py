"""``python -m tests.fuzz [MESSAGES] [SEED]``: `make fuzz`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.run import fuzz

numbers = [int(word) for word in sys.argv[1:]]
n_messages = numbers[0] if numbers else 1_000_000
seed = numbers[1] if len(numbers) > 1 else int(time.time())
print(f"seed {seed}", flush=True)
with tempfile.TemporaryDirectory(prefix="midfill-fuzz-") as home:
    print(fuzz(Path(home), n_messages, seed, lambda line: print(line, flush=True)))
