"""The training process: ``python -m midfill.train.worker``, a job on standard input, lines of JSON on standard output.

The process that started it stops it by closing its standard input, or by SIGINT or SIGTERM; the last
step is then in a checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from midfill import accepted, fim
from midfill.engine.local.store import models
from midfill.faults import in_words
from midfill.tokenizer import CodeTokenizer
from midfill.train.collect import Collection, SourceText, collect, split
from midfill.train.job import ADAPTER, Job
from midfill.train.middles import ScoreJob
from midfill.train.part import RepositoryPart
from midfill.train.priority import lower_priority
from midfill.types import MidfillError, one_line

MIN_TRAIN_CHARS = 20_000
N_HELD_OUT = 32  # examples whose loss is measured; the gate has its own middles
ON_CPU, ON_GPU = (200, 512), (1000, 2048)  # steps, tokens in one pass
INTERRUPTED = 3  # exit status

Tell = Callable[[dict[str, Any]], None]


def main() -> int:
    """Do the job; return the exit status."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # keeps output of libraries out of our messages
    warnings.filterwarnings("ignore", category=FutureWarning)  # messages of libraries to their developers
    stop = threading.Event()
    job = Job(**_tuples(json.loads(sys.stdin.readline())))
    if job.throttled:
        lower_priority()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_until_closed, args=(sys.stdin, stop), daemon=True).start()
    tell = teller(out)
    try:
        return work(job, tell, stop.is_set)
    except Exception as error:  # noqa: BLE001 - the command that started the training shows it to the user
        known = in_words(error, "train")
        tell({"kind": "error", "message": known.message, "remedy": known.remedy})
        return 1
    finally:
        with contextlib.suppress(OSError):
            out.close()


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _until_closed(stream: TextIO, stop: threading.Event) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.read()
    stop.set()


def teller(out: TextIO) -> Tell:
    """Return a function that writes messages to ``out``, one line of JSON each; it ignores a reader that has gone."""

    def tell(line: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            out.write(json.dumps(line) + "\n")
            out.flush()

    return tell


def work(job: Job, tell: Tell, is_stopped: Callable[[], bool]) -> int:
    """Collect, train, write; return the exit status. Raises MidfillError."""
    tell({"kind": "stage", "stage": "reading the sources", "fraction": 0.0})
    collection, train, held_out = gather(job)
    tell({"kind": "data", **summary(collection, train, held_out)})
    check_enough(collection, train, held_out)
    folder = models.prepare(models.resolve(job.model), _staged(tell), floats=job.quantise)  # transformers reads floats
    tokenizer = CodeTokenizer.from_file(folder / "tokenizer.json")
    template = fim.find(job.template, tokenizer, job.model)
    renderer = fim.FimRenderer(template, tokenizer, job.order, heal=True)
    return _train(job, collection, train, held_out, folder, renderer, tell, is_stopped)


def gather(job: Job) -> tuple[Collection, list[SourceText], list[SourceText]]:
    """Return all texts, those to train on, and those held out: never a text in both. Raises MidfillError."""
    roots, part = [Path(root) for root in job.roots], RepositoryPart(job.languages, job.glob)
    if not job.held_out:
        collection = collect(roots)
        train, held_out = split(collection.files)  # before the part is taken: a file stays on its side
        limited = part.limited(collection)
        return limited, list(filter(part.has, train)), list(filter(part.has, held_out))
    # Collected together, so that near duplicates are in one half only: the folders named later lose them.
    n = len(job.held_out)
    collection = collect([*(Path(root) for root in job.held_out), *roots])
    others, collection = set(list(collection.licences)[:n]), part.limited(collection)
    train = [file for file in collection.files if file.project not in others]
    return collection, train, [file for file in collection.files if file.project in others]


def held_out_files(job: ScoreJob) -> list[SourceText]:
    """Return the files that training on the same folders would hold out, or all of them."""
    if job.all_files:
        return list(RepositoryPart(job.languages, job.glob).limited(collect([Path(root) for root in job.roots])).files)
    whole = Job(
        name="", roots=job.roots, held_out=job.held_out, folder="", model=job.model, languages=job.languages,
        glob=job.glob,
    )  # fmt: skip
    return gather(whole)[2]


def check_enough(collection: Collection, train: Sequence[SourceText], held_out: Sequence[SourceText]) -> None:
    """Raise MidfillError if there is too little to learn from, or nothing to show whether it helps."""
    n_chars = sum(len(file.text) for file in train)
    if n_chars < MIN_TRAIN_CHARS:
        reasons = ", ".join(f"{reason} ({n:,})" for reason, n in collection.left_out.most_common(3))
        raise MidfillError(
            f"{len(train)} files with {n_chars:,} characters are not enough to learn from"
            + (f"; left out: {reasons}" if reasons else ""),
            f"name more folders: {MIN_TRAIN_CHARS:,} characters of source code at least",
        )
    if not held_out:
        raise MidfillError(
            "no file is left to hold out, so nothing could show whether the adapter helps",
            "name more folders, or others with --held-out",
        )


def summary(collection: Collection, train: Sequence[SourceText], held_out: Sequence[SourceText]) -> dict[str, Any]:
    """Return a summary of the data for the user."""
    return {
        "n_train": len(train),
        "n_held_out": len(held_out),
        "n_chars": sum(len(file.text) for file in train),
        "languages": dict(collection.languages.most_common()),
        "licences": collection.licences,
        "left_out": dict(collection.left_out.most_common()),
        "secrets": [one_line(path) for path in collection.secrets[:20]],
    }


def _staged(tell: Tell) -> Callable[[str, float], None]:
    return lambda stage, fraction: tell({"kind": "stage", "stage": stage, "fraction": fraction})


def _train(
    job: Job, collection: Collection, train: list[SourceText], held_out: list[SourceText], base: Path,
    renderer: fim.FimRenderer, tell: Tell, is_stopped: Callable[[], bool],
) -> int:  # fmt: skip
    import torch

    from midfill.engine.local.lora.adapter import read_adapter
    from midfill.engine.local.lora.files import digest_of
    from midfill.engine.local.model.load import pick_device
    from midfill.train import write
    from midfill.train.base import Lora, freeze, load_base, name_of, with_lora
    from midfill.train.estimate import estimate
    from midfill.train.examples import Loss, Maker
    from midfill.train.examples import held_out as held_out_examples
    from midfill.train.kept import accepted_places
    from midfill.train.memory import check, need
    from midfill.train.run import Hyperparameters, Interrupted, Run
    from midfill.train.throttle import Throttle

    device = pick_device(job.device)
    n_steps, n_tokens = ON_GPU if device.type == "cuda" else ON_CPU
    n_tokens = job.n_tokens or n_tokens
    memory = need(base, device, n_tokens, quantised=job.quantise, checkpointing=job.computes_again)
    check(memory)
    ages = collection.commits_ago() if job.draw == "own" else None
    kept = accepted_places(train, collection.folders, accepted.texts()) if job.learn_from_accepted else []
    maker = Maker(train, renderer, job.seed, collection.others, ages, kept)
    unseen = list(held_out_examples(Maker(held_out, renderer, job.seed), N_HELD_OUT, n_tokens))
    source = models.resolve(job.model)
    loaded = load_base(base, source.name, str(device), _staged(tell), quantise=job.quantise)
    base_name = name_of(source)
    start = read_adapter(job.start_name, Path(job.start), loaded.model, loaded.base_names) if job.start else None
    under = [read_adapter(job.on_top_of, Path(each), loaded.model, loaded.base_names) for each in job.under]
    lora = Lora(job.rank, job.alpha, job.dropout, job.targets)
    settings = Hyperparameters(
        lora, job.n_steps or n_steps, n_tokens, job.accumulate, job.rate, job.seed, job.minutes, job.computes_again,
        job.quantise, f"{start.name} ({start.digest[:12]})" if start is not None else "",
        Loss(job.prompt_share, job.end_weight),
        f"{job.on_top_of} ({digest_of(one.digest for one in under)[:12]})" if under else "", job.draw,
        job.start_share if start is not None or under else 0.0, loaded.number_format,
    )  # fmt: skip
    for one in under:
        freeze(loaded.model, one)
    model = with_lora(loaded, lora, base_name, job.seed, checkpointing=job.computes_again, start=start)
    if job.estimate:
        tell({"kind": "stage", "stage": "measuring", "fraction": 0.0})
        found = estimate(
            model, device, renderer, train, held_out, memory, n_steps=settings.n_steps, n_tokens=n_tokens,
            accumulate=job.accumulate, seed=job.seed, loss=settings.loss, is_stopped=is_stopped,
        )  # fmt: skip
        tell({"kind": "estimate", **dataclasses.asdict(found), "minutes": found.minutes, "verdict": found.verdict})
        return 0
    n_weights = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    folder = Path(job.folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write.need_space(folder, n_weights, n_checkpoints=2)
    if kept:
        tell({"kind": "accepted", "n": len(kept)})
    tell({"kind": "stage", "stage": "measuring the base", "fraction": 0.0})
    throttle = Throttle()
    if job.throttled and device.type == "cuda":  # a CPU's idle class gives way by itself
        throttle.start().attach(model)
    run = Run(
        loaded, model, maker, unseen, settings, folder, job.run or collection.digest,
        on_step=lambda report: tell({"kind": "step", **dataclasses.asdict(report)}), is_stopped=is_stopped,
    )  # fmt: skip
    try:
        trained = run.run(resume=job.resume)
    except Interrupted:
        tell({"kind": "interrupted"})
        return INTERRUPTED
    except torch.OutOfMemoryError as error:
        raise MidfillError(f"{device} is out of memory", "use fewer --tokens, or --quantise") from error
    finally:
        throttle.close()
    trained_upon = write.Base(base, base_name, _licence(base_name), renderer.template.name)
    keys = [file.key for file in held_out]
    write.write(folder / ADAPTER, trained, settings, trained_upon, collection, keys, job.name)
    tell({"kind": "done", "folder": str(folder / ADAPTER), "n_weights": n_weights})
    return 0


def _licence(base_name: str) -> str:
    known = {"qwen": "Apache-2.0", "google/codegemma": "Gemma Terms of Use", "bigcode/starcoder2": "BigCode OpenRAIL-M"}
    return next((licence for prefix, licence in known.items() if base_name.lower().startswith(prefix)), "see the base")


if __name__ == "__main__":
    sys.exit(main())
