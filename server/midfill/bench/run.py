"""The run: every contender is started once, then they take turns within every round and at every hole.

The machine is shared and its speed changes from minute to minute. So no contender is measured in one piece: what slows
one meets the others a moment later, and only ratios of the same run are judged.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from midfill import config_files, fim, paths
from midfill.bench import beside, footprint
from midfill.bench import report as reporting
from midfill.bench.contenders import Contender, Generate, LlamaServer, Midfill, Timing
from midfill.bench.figures import ANSWER, COLD, EXACT, KEY, OURS, TOKEN, Samples, prefill
from midfill.bench.goals import exit_code, judge
from midfill.bench.holes import cut
from midfill.bench.load import Strangers, cpu_s, until_quiet
from midfill.bench.own import MODEL, own_folders, started
from midfill.bench.prompts import Layouts, Windows, shortened
from midfill.bench.replay import Replay, replay
from midfill.engine.local.store import embedded, models
from midfill.eval.about import load_average, measured, need_matplotlib, rounded
from midfill.eval.figures import compared
from midfill.eval.holes import Hole
from midfill.eval.report import console as wide_console
from midfill.eval.summary import ALL
from midfill.tokenizer import CodeTokenizer
from midfill.types import MidfillError

RIVALS = "rivals"
BENCHES = {"footprint": footprint.measure, **beside.BENCHES}
REPOSITORY_PLOT = Path("docs/images/bench.svg")
N_TYPED = 8  # characters between the prompt that is read whole and the keystroke that is measured
N_WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Workload:
    """How much is measured."""

    rounds: int = 7
    holes: int = 30
    sizes: tuple[int, ...] = (256, 1024, 2048)
    context_tokens: int = 1024
    answer_tokens: int = 32
    replay_keys: int = 300
    seed: int = 1
    baseline_dtype: str = "auto"
    model: str = MODEL
    quick: bool = False


QUICK = Workload(
    rounds=1, holes=2, sizes=(128,), context_tokens=256, answer_tokens=8, replay_keys=20, quick=True
)  # fmt: skip


@dataclass(slots=True)
class Turns:
    """The contenders, and their answers so far."""

    settings: Workload
    ours: Midfill
    contenders: list[Contender]
    tokenizer: CodeTokenizer
    say: Callable[[str], None]
    samples: Samples = field(default_factory=Samples)
    answers: dict[str, list[Timing]] = field(default_factory=dict)
    right: list[tuple[bool, bool]] = field(default_factory=list)  # (default layout, exact layout)
    disturbed_s: dict[str, float] = field(default_factory=dict)
    strangers: Strangers = field(default_factory=Strangers)

    def count(self, text: str) -> int:
        """Return the number of tokens of ``text``."""
        return len(self.tokenizer.encode(text))

    def order(self, turn: int) -> list[Contender]:
        """Return the contenders; another one is first each time."""
        at = turn % len(self.contenders)
        return self.contenders[at:] + self.contenders[:at]

    @contextlib.asynccontextmanager
    async def alone(self, contender: Contender) -> AsyncIterator[None]:
        """Give ``contender`` its turn: begin when all are idle, and count what the others compute meanwhile."""
        everyone = [each.pid for each in self.contenders]
        await until_quiet(everyone)
        others = [each.pid for each in self.contenders if each is not contender]
        before = cpu_s(others)
        with self.strangers.watched(everyone):
            yield
        self.disturbed_s[contender.name] = self.disturbed_s.get(contender.name, 0.0) + cpu_s(others) - before


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill bench``."""
    parser.add_argument(
        "what", nargs="?", choices=[RIVALS, *BENCHES], default=RIVALS,
        help="what to measure: the engine beside others (default); its start, memory and disk; completions beside "
        "a build, a training run or other windows; places read ahead",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="rounds, each with every contender at unseen prompts (7)"
    )
    parser.add_argument("--holes", type=int, metavar="N", help="number of holes in real code (30)")
    parser.add_argument("--quick", action="store_true", help="a tiny run that only shows whether everything works")
    parser.add_argument("--footprint", dest="what", action="store_const", const="footprint", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, metavar="DIR", help="the folder to train on (midfill's own code)")
    parser.add_argument("--llama-server", metavar="PATH", help="also measure llama.cpp's server, on the same GGUF")
    parser.add_argument("--skip-generate", action="store_true", help="leave out transformers' generate()")
    parser.add_argument(
        "--plot", metavar="FILE", help="the SVG or PNG to draw, or none (in a checkout docs/images/bench.svg)"
    )
    parser.add_argument("--json-only", action="store_true", help="print only the line of JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, show, and judge; return the exit code."""
    if arguments.what != RIVALS:
        return _bench(arguments)
    settings = _settings(arguments)
    picture = _plot_file(arguments.plot, settings)
    if picture is not None:
        need_matplotlib("say --plot none")
    console = wide_console(quiet=arguments.json_only)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is also stopped
    with own_folders() as folder:
        result = asyncio.run(_measure(settings, arguments, folder, console))
    reporting.show(result, console)
    if picture is not None:
        reporting.plot(result, picture)
        console.print(f"plot: {picture}")
    print(json.dumps(rounded(result.line())))
    return exit_code(result.verdicts)


def _bench(arguments: argparse.Namespace) -> int:
    console = wide_console(quiet=arguments.json_only)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with own_folders() as folder:
        measure = BENCHES[arguments.what](arguments, folder, lambda text: console.print(text, markup=False))
        figures, verdicts = asyncio.run(measure)
    if verdicts:
        console.print(reporting.goals(verdicts))
    goals = [dataclasses.asdict(verdict) for verdict in verdicts]
    print(json.dumps(measured(arguments.what, {**figures, "goals": goals})))
    return exit_code(verdicts)


def _settings(arguments: argparse.Namespace) -> Workload:
    settings = QUICK if arguments.quick else Workload()
    given = {name: value for name in ("rounds", "holes") if (value := getattr(arguments, name)) is not None}
    for name, value in given.items():
        if not 1 <= value <= 1000:
            raise MidfillError(f"--{name} {value} is out of range", "use 1 to 1000")
    return dataclasses.replace(settings, **given)


def _plot_file(given: str | None, settings: Workload) -> Path | None:
    """Return the plot's file: by default, in a checkout of the project, among its documents."""
    if given is not None:
        return None if given == "none" else paths.expanded(given)
    is_checkout = REPOSITORY_PLOT.parent.is_dir() and Path("server/midfill").is_dir()
    return REPOSITORY_PLOT if is_checkout and not settings.quick else None


async def _measure(
    settings: Workload, arguments: argparse.Namespace, folder: Path, console: Console
) -> reporting.Report:
    start, load_before = time.monotonic(), load_average()

    def say(text: str) -> None:
        console.print(f"[{time.monotonic() - start:6.0f} s] {text}", markup=False)

    async with contextlib.AsyncExitStack() as stack:
        say("starting midfill serve")
        ours, layouts, tokenizer = await _start(stack)
        contenders: list[Contender] = [ours]
        versions = {}
        if arguments.llama_server:
            say("starting llama.cpp's server on the same GGUF")
            gguf = folder / "model.gguf"
            await asyncio.to_thread(embedded.assemble, gguf, lambda stage, fraction: None)
            binary = paths.expanded(arguments.llama_server).absolute()
            llama = await stack.enter_async_context(LlamaServer.start(binary, gguf))
            contenders.append(llama)
            versions["llama.cpp"] = llama.version
        if not arguments.skip_generate:
            say("starting transformers' generate()")
            prepared = models.prepare(models.resolve(MODEL), lambda stage, fraction: None, floats=True)
            starting = Generate.start(prepared, layouts, settings.baseline_dtype)
            contenders.append(baseline := await stack.enter_async_context(starting))
            settings = dataclasses.replace(settings, baseline_dtype=baseline.dtype)
        turns = Turns(settings, ours, contenders, tokenizer, say)
        await _rounds(turns)
        await _holes(turns)
        typed = await _replay(turns)
    result = _report(turns, typed, versions)
    result.load_average = {"before": load_before, "after": load_average()}
    return result


async def _start(stack: contextlib.AsyncExitStack) -> tuple[Midfill, Layouts, CodeTokenizer]:
    """Start a ``midfill serve`` of our own that ends with ``stack``."""
    ours = await stack.enter_async_context(started(config_files.load_user()))
    tokenizer = CodeTokenizer.from_file(Path(ours.info.tokenizer_file))
    template = fim.find(ours.info.template or fim.PREFIX_ONLY.name, tokenizer)
    layouts = Layouts(template, tokenizer, keeps_suffix=ours.info.suffix_shift)
    return Midfill(ours.engine, layouts, ours.pid), layouts, tokenizer


async def _rounds(turns: Turns) -> None:
    """Measure unseen prompts of several sizes; after one of them, tokens without speculation."""
    settings = turns.settings
    windows = Windows(turns.tokenizer, settings.seed)
    for i in range(N_WARM_UP if not settings.quick else 1):
        for contender in turns.order(i):
            await contender.window(windows.take(min(settings.sizes)), 2)
    for i in range(settings.rounds):
        turns.say(f"round {i + 1} of {settings.rounds}")
        for size in settings.sizes:
            for contender in turns.order(i):
                async with turns.alone(contender):
                    timing = await contender.window(windows.take(size), 1)
                turns.samples.add(prefill(size), contender.name, timing.ttft_s)
        for contender in turns.order(i):
            async with turns.alone(contender):
                timing = await contender.window(windows.take(settings.context_tokens), settings.answer_tokens)
            if timing.n_tokens > 1:  # otherwise the model ended at once
                turns.samples.add(TOKEN, contender.name, timing.spent_s / (timing.n_tokens - 1))


async def _holes(turns: Turns) -> None:
    """Measure at each hole: the whole prompt, some typing, and then the keystroke that counts."""
    settings = turns.settings
    for i, hole in enumerate(cut(settings.holes, settings.seed)):
        turns.say(f"hole {i + 1} of {settings.holes}: {hole.kind} in {hole.source}")
        hole = shortened(hole, turns.tokenizer, settings.context_tokens)
        answers = {}
        for contender in turns.order(i):
            async with turns.alone(contender):
                cold = await contender.infill(hole.snapshot(N_TYPED), 1)
                await contender.infill(hole.snapshot(1), 1)
                answers[contender.name] = await contender.infill(hole.snapshot(), settings.answer_tokens)
                if contender is turns.ours:  # without a turn of its own: the engine already knows everything up to here
                    await turns.ours.infill_exactly(hole.snapshot(1), 1)
                    answers[EXACT] = await turns.ours.infill_exactly(hole.snapshot(), settings.answer_tokens)
            turns.samples.add(COLD, contender.name, cold.ttft_s)
        _take(turns, hole, answers)


def _take(turns: Turns, hole: Hole, answers: dict[str, Timing]) -> None:
    """Compare all contenders by the time to as many tokens as the text of our answer has."""
    ours, exact = answers[OURS], answers[EXACT]
    turns.right.append((hole.is_answered_by(ours.text), hole.is_answered_by(exact.text)))
    n = max(1, min(ours.n_tokens, turns.count(ours.text)))
    for name, answer in answers.items():
        turns.answers.setdefault(name, []).append(answer)
        turns.samples.add(KEY, name, answer.ttft_s)
        turns.samples.add(ANSWER, name, answer.total_s if name == EXACT else answer.until(n))


async def _replay(turns: Turns) -> Replay:
    turns.say(f"typing replay: {turns.settings.replay_keys} keys")
    await until_quiet([each.pid for each in turns.contenders])
    return await replay(turns.settings.replay_keys, turns.count, turns.settings.seed)


def _report(turns: Turns, typed: Replay, versions: dict[str, str]) -> reporting.Report:
    pairs = [(str(at), float(exact), float(ours)) for at, (ours, exact) in enumerate(turns.right)]
    quality = compared(ALL, "first_line", pairs, 10_000) if pairs else None
    return reporting.Report(
        settings=dataclasses.asdict(turns.settings),
        samples=turns.samples,
        tokens_per_s={name: rate for name, answers in turns.answers.items() if (rate := _rate(answers))},
        quality=quality,
        replay=typed,
        verdicts=judge(turns.samples, quality),
        versions=versions,
        n_tokens=_n_tokens(turns.answers.get(OURS, [])),
        disturbed_s=turns.disturbed_s,
        strangers=turns.strangers.share(),
    )


def _n_tokens(answers: Sequence[Timing]) -> dict[str, float]:
    """Return how long our engine's prompts and answers after a keystroke were, and how many drafts were right."""
    if not answers:
        return {}
    names = ("n_prompt", "n_cached", "n_decoded")
    medians = {f"{name}_p50": statistics.median(getattr(answer.stats, name) for answer in answers) for name in names}
    n_drafted = sum(answer.stats.n_drafted for answer in answers)
    n_accepted = sum(answer.stats.n_accepted for answer in answers)
    return {**medians, "draft_acceptance": n_accepted / n_drafted if n_drafted else 0.0}


def _rate(answers: Sequence[Timing]) -> float | None:
    """Return the tokens per second from each answer's first token to its last."""
    said = [timing for timing in answers if timing.n_tokens > 1]
    spent = sum(timing.spent_s for timing in said)
    return sum(timing.n_tokens - 1 for timing in said) / spent if spent else None
