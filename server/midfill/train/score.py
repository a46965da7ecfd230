"""The process that scores: ``python -m midfill.train.score`` reads a ScoreJob from standard
input and writes lines of JSON.

It is a separate process, so that the model's memory is free again when the table is done. It ends when its standard
input is closed, which also happens when its parent ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import threading
from functools import partial

from midfill import fim
from midfill.engine.local.lora.adapter import Adapter
from midfill.engine.local.scoring import Scorer
from midfill.faults import in_words
from midfill.train.examples import Example
from midfill.train.middles import ScoreJob, cut, score
from midfill.train.worker import INTERRUPTED, Tell, held_out_files, teller
from midfill.types import MidfillError


def main() -> int:
    """Do the job; return the exit status."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # keeps output of libraries out of our messages
    tell = teller(out)
    try:
        job = ScoreJob.of(json.loads(sys.stdin.readline()))
        threading.Thread(target=_end_with_input, daemon=True).start()
        run(job, tell)
    except Exception as error:  # noqa: BLE001 - the command that started the scoring shows it to the user
        known = in_words(error, "train")
        tell({"kind": "error", "message": known.message, "remedy": known.remedy})
        return 1
    return 0


def _end_with_input() -> None:
    """End at once when standard input closes: no file is being written that this could spoil."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdin.read()
    os._exit(INTERRUPTED)


def run(job: ScoreJob, tell: Tell) -> None:
    """Send each middle's score by ``tell``. Raises MidfillError."""
    files = held_out_files(job)
    scorer = Scorer(
        job.model, device=job.device, dtype=job.dtype,
        progress=lambda stage, fraction: tell({"kind": "stage", "stage": stage, "fraction": fraction}),
    )  # fmt: skip
    template = fim.find(job.template, scorer.tokenizer, job.model)
    middles = cut(files, fim.FimRenderer(template, scorer.tokenizer, job.order, heal=True), job.n, job.seed)
    if not middles:
        raise MidfillError("no middle could be cut from the held-out files", "name more folders, or others to hold out")
    adapters = [
        scorer.read(name, folders) if folders else None for name, folders in zip("ab", job.folders, strict=True)
    ]
    tell({"kind": "middles", "n": len(middles), "files": len({one.file for one in middles}),
          "number_format": scorer.number_format})  # fmt: skip

    before, after = (partial(_nats, scorer, adapter) for adapter in adapters)
    for scored in score(middles, before, after):
        tell({"kind": "scored", **dataclasses.asdict(scored)})


def _nats(scorer: Scorer, adapter: Adapter | None, example: Example) -> list[float]:
    return scorer.nats(example.ids, example.n_prompt, adapter)


if __name__ == "__main__":
    sys.exit(main())
