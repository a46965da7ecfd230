"""One run of `midfill train`: read, train, measure, promote."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout
from rich.console import Console
from rich.table import Table

from midfill import paths, registry
from midfill.adapter_names import MAX_SUMMED
from midfill.commands import before_after, scoring
from midfill.commands.training import clock, watch, watch_estimate
from midfill.config import Config
from midfill.engine.adapter_setting import folders_of
from midfill.engine.local.lora.files import CONFIG_FILE, WEIGHTS_FILE, describe, digest_of
from midfill.engine.local.store import models
from midfill.eval.holes import Hole
from midfill.eval.run import Record
from midfill.train import card, gate, middles, style
from midfill.train.collect import SourceText
from midfill.train.job import Job
from midfill.train.part import RepositoryPart
from midfill.train.worker import check_enough, gather
from midfill.types import MidfillError

FILES = (
    CONFIG_FILE, WEIGHTS_FILE, "tokenizer.json", "trainer_state.json", "training_args.bin", "training_args.json",
    "midfill.json", "README.md", "loss.svg",
)  # fmt: skip
NOT_PROMOTED, UNCHANGED = 2, 4  # exit statuses
RANK, ALPHA = 4, 16.0  # alpha of the reference adapter


def once(arguments: argparse.Namespace, config: Config, night: Night | None = None) -> int:
    """Train, measure, promote; return the exit status. ``night``: what it continues."""
    console = Console(file=sys.stderr, highlight=False)
    if not console.is_terminal:
        console.width = scoring.WIDTH
    job = job_of(arguments, config)
    console.print(f"continuing from the adapter {job.start_name}" if job.start else "starting with a fresh adapter")
    if arguments.estimate:
        found = watch_estimate(dataclasses.replace(job, estimate=True), console)
        for line in estimate_lines(found):
            console.print(line)
        print(json.dumps({"train": job.name, **found}))
        return 0
    if arguments.gate:
        # Read the same texts as the worker, and first: if they cannot show an improvement, refuse before the work.
        collection, train, held_out = gather(job)
        check_enough(collection, train, held_out)
        holes = gate.holes(held_out, arguments.holes)
        _check_holes(holes, held_out)
        if night is not None and not night.begin(collection.digest):
            print(json.dumps({"train": job.name, "unchanged": True}))
            return UNCHANGED
    trained = night.trained(job, console) if night is not None else watch(job, console)
    figures = _figures(trained)
    if not arguments.gate:
        console.print(f"trained, not measured and not registered: {trained}")
        print(json.dumps({"train": job.name, "folder": str(trained), **figures}))
        return 0
    present = dataclasses.replace(config, adapter=arguments.against or arguments.on_top_of or config.adapter)
    name, before = folders_of(present.adapter, models.resolve(present.model).name) or ("none", ())
    versions = {
        "digest": describe(trained).digest, "against": name,
        "replaced": describe(before[-1]).digest if before else "",
        **(_as_served(before, (*map(Path, job.under), trained)) if job.under else {}),
    }  # fmt: skip
    after = (*map(Path, job.under), trained)
    scored = scoring.job_of(present, before, after, job.roots, job.held_out)
    scored = dataclasses.replace(scored, languages=job.languages, glob=job.glob)
    likelihood = middles.table(scoring.watch(dataclasses.replace(scored, n=arguments.middles), console))
    console.print(scoring.shown(likelihood))
    records, dtype = _judge(holes, trained, present, arguments.on_top_of, console)
    verdict = gate.decide(records, likelihood)
    styles = style.probe(train, *([one for one in records if one["who"] == who] for who in (gate.BEFORE, gate.AFTER)))
    gate_figures = {**gate.as_figures(verdict), "style": style.as_figures(styles)}
    card.add_gate(trained, job.name, {**gate_figures, "dtype": dtype})
    console.print(before_after.shown(verdict.differences))
    if styles:
        console.print(_style_table(styles))
    console.print(f"loss at held-out middles: {scoring.says(likelihood)}")
    promoted = verdict.promoted or arguments.force
    console.print(verdict.reason if verdict.promoted else f"not better: {verdict.reason}")
    if promoted:
        registry.register(trained, job.name, FILES)
        console.print(
            f"{job.name} is registered; running engines that serve it load the new version. {_how_to_use(job)}",
            markup=False,
        )
    else:
        console.print(f"not registered; the adapter is in {trained}")
    if night is not None:
        night.judged()
    print(json.dumps({"train": job.name, "folder": str(trained), "promoted": promoted, **versions, **figures,
                      "gate": gate_figures}))  # fmt: skip
    return 0 if promoted else NOT_PROMOTED


def estimate_lines(found: Mapping[str, Any]) -> list[str]:
    """Return what ``--estimate`` tells users."""
    return [
        f"time: {clock(60 * found['minutes'])} for {found['n_steps']} steps on this machine as it is now, and about "
        f"{clock(2 * gate_middles(found) * found['middle_s'])} to compare the losses afterwards",
        f"memory: {found['memory'] / 1e9:.1f} GB, {found['memory_there'] / 1e9:.1f} GB are free",
        f"loss at held-out middles now: {found['loss']:.2f} nats a token",
        f"of the words that held-out code needs and its prompt lacks, other files have {found['known']:.0%}; "
        f"{found['repeated']:.0%} of its lines stand in them as they are",
        found["verdict"],
    ]


def gate_middles(found: Mapping[str, Any]) -> int:
    """Return how many middles the gate will compare at most."""
    return min(middles.N_MIDDLES, middles.N_TURNS * int(found["n_held_out"]))


class Night(Protocol):
    """What a run that spans several nights continues."""

    def begin(self, digest: str) -> bool:
        """Begin with these texts; return False if they were judged before."""

    def trained(self, job: Job, console: Console) -> Path:
        """Train, or find what was trained and not judged yet; return its folder."""

    def judged(self) -> None:
        """Record the verdict on what was trained."""


def lock() -> FileLock:
    """Return the lock that is held while training: a night begins only if it is free."""
    return FileLock(paths.private_dir(paths.data_dir() / "training") / ".lock")


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the lock, if it is free."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(Timeout, OSError):
            stack.enter_context(lock().acquire(timeout=0))
        yield


def name_of(arguments: argparse.Namespace) -> str:
    """Return the name of the adapter. Raises MidfillError."""
    return registry.check_name(arguments.name or _default_name(arguments.folders))


def job_of(arguments: argparse.Namespace, config: Config) -> Job:
    """Return the job to train. Raises MidfillError."""
    name, under = name_of(arguments), _under(arguments, config)
    part = RepositoryPart.of(arguments.language, arguments.folder)
    shape, start = _shape(arguments, config)
    if not 1 <= shape.rank <= 256 or not 0 < shape.alpha <= 1e4 or not 0 <= arguments.dropout < 1:
        raise MidfillError("--rank, --alpha or --dropout is out of range", "the defaults are 4, 16 and 0.1")
    if arguments.steps < 0 or arguments.minutes < 0 or arguments.accumulate < 1 or not 0 < arguments.rate < 1:
        raise MidfillError("--steps, --minutes, --accumulate or --rate is out of range", "leave them out")
    if not 0 <= arguments.prompt_share <= 1 or not 0 <= arguments.start_share < 1:
        raise MidfillError("--prompt-share or --start-share is out of range", "leave them out")
    if not 0 < arguments.end_weight <= 100:
        raise MidfillError("--end-weight is out of range", "leave it out")
    if arguments.tokens and arguments.tokens < 256:
        raise MidfillError(f"--tokens {arguments.tokens} is too few", "use 256 or more")
    return Job(
        name=name,
        roots=tuple(str(paths.expanded(folder).absolute()) for folder in arguments.folders),
        held_out=tuple(str(paths.expanded(folder).absolute()) for folder in arguments.held_out or ()),
        folder=str(paths.private_dir(paths.data_dir() / "training") / name),
        model=config.model, device=config.device, template=config.template, order=config.order,
        rank=shape.rank, alpha=shape.alpha, dropout=arguments.dropout, targets=shape.targets,
        on_top_of=under[0], under=tuple(map(str, under[1])), languages=part.languages, glob=part.glob,
        start=str(start[1]) if start else "", start_name=start[0] if start else "",
        n_steps=arguments.steps, minutes=arguments.minutes, n_tokens=arguments.tokens, accumulate=arguments.accumulate,
        rate=arguments.rate, seed=arguments.seed, quantise=arguments.quantise, checkpointing=arguments.checkpointing,
        resume=not arguments.restart, throttled=arguments.priority == "idle",
        prompt_share=arguments.prompt_share, end_weight=arguments.end_weight, start_share=arguments.start_share,
        draw=arguments.draw, learn_from_accepted=config.learn_from_accepted,
    )  # fmt: skip


def _under(arguments: argparse.Namespace, config: Config) -> tuple[str, tuple[Path, ...]]:
    """Return the adapter to train on top of, and its folders; ("", ()) if there is none. Raises MidfillError."""
    if not arguments.on_top_of:
        return "", ()
    found = folders_of(arguments.on_top_of, models.resolve(config.model).name)
    if found is None:
        raise MidfillError(
            f"--on-top-of {arguments.on_top_of} is no adapter", "leave it out, or run: midfill adapters list"
        )
    if len(found[1]) >= MAX_SUMMED:
        raise MidfillError(f"--on-top-of adds {len(found[1])} adapters already", f"add at most {MAX_SUMMED}")
    return found


@dataclass(frozen=True, slots=True)
class _LoraShape:
    rank: int
    alpha: float
    targets: tuple[str, ...]  # none: every linear layer of the blocks


def _shape(arguments: argparse.Namespace, config: Config) -> tuple[_LoraShape, tuple[str, Path] | None]:
    """Return the adapter's shape, and what it continues from: what was learned there need not be learned again.

    That is the adapter it will be compared with, unless another shape is asked for. Raises MidfillError.
    """
    targets = tuple(target for target in (arguments.targets or "").split(",") if target)
    rank = RANK if arguments.rank is None else arguments.rank
    wanted = _LoraShape(rank, ALPHA if arguments.alpha is None else arguments.alpha, targets)
    # On top of another adapter, a fresh one begins: that it adds nothing yet is where the other one is.
    setting = arguments.start or ("none" if arguments.on_top_of else arguments.against or config.adapter)
    found = folders_of(setting, models.resolve(config.model).name)
    if found is None:
        return wanted, None
    if len(found[1]) > 1:
        if not arguments.start:
            return wanted, None
        raise MidfillError(f"training cannot continue from a sum ({found[0]})", "use --on-top-of, or --start one of it")
    start = found[0], found[1][0]
    facts = describe(start[1])
    there = _LoraShape(facts.rank, facts.alpha, facts.targets)
    same = (
        arguments.rank in (None, there.rank)
        and arguments.alpha in (None, there.alpha)
        and (not targets or set(targets) == set(there.targets))
    )
    if same:
        return there, start
    if arguments.start:
        raise MidfillError(
            f"{arguments.start} has rank {there.rank}, alpha {there.alpha:g}, on {', '.join(there.targets)}",
            "leave --rank, --alpha and --targets out to continue from it, or use --start none",
        )
    return wanted, None


def _default_name(folders: Sequence[str]) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", paths.expanded(folders[0]).resolve().name).strip("-.") or "mine"


def _check_holes(holes: Sequence[Hole], held_out: Sequence[SourceText]) -> None:
    if len(holes) < gate.MIN_HOLES:
        raise MidfillError(
            f"{len(held_out)} held-out files give only {len(holes)} holes, too few to show a difference",
            "name more folders, others with --held-out, or --no-gate to train without measuring",
        )


def _figures(trained: Path) -> dict[str, Any]:
    content = json.loads((trained / "midfill.json").read_text(encoding="utf-8"))
    return {name: content[name] for name in ("base", "steps", "tokens", "examples", "seconds", "loss")}


def _as_served(before: Sequence[Path], after: Sequence[Path]) -> dict[str, str]:
    """Return the digests of two sums as engines report them."""
    found = [digest_of(describe(folder).digest for folder in folders) for folders in (before, after)]
    return dict(zip(("served_before", "served"), found, strict=True))


def _how_to_use(job: Job) -> str:
    setting = f"{job.on_top_of}+{job.name}" if job.on_top_of else job.name
    if not (parts := RepositoryPart(job.languages, job.glob).settings):
        return f'Set adapter = "{setting}"'
    entries = ", ".join(f'"{part}={setting}"' for part in parts)
    return f"Set adapters = [{entries}]"


def _judge(
    holes: Sequence[Hole], trained: Path, config: Config, on_top_of: str | None, console: Console
) -> tuple[list[Record], str]:
    """Return the records, and the number format of the base model they come from, which may differ from training's.

    ``config`` names the adapter that the new one, or its sum with ``on_top_of``, has to improve on.
    """
    present = dataclasses.replace(config, adapters=(), records=False)
    adapted = dataclasses.replace(present, adapter=" + ".join(filter(None, (on_top_of, str(trained)))))
    records, dtype = before_after.answered(holes, present, adapted, console)
    (trained.parent / "gate.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return records, dtype


def _style_table(rows: Sequence[style.StyleRow]) -> Table:
    table = Table(title="Answers that follow the repository's style (decides nothing)", title_justify="left")
    for column in ("", "the repository", "before", "after", "its own text there"):
        table.add_column(column, justify="right" if column in ("before", "after", "its own text there") else "left")
    for row in rows:
        counts = (f"{n_follow} of {n}" for n_follow, n in (row.before, row.after, row.original))
        table.add_row(row.name, row.style, *counts)
    return table
