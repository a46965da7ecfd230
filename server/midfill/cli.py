"""The command line. Each command imports its own module, so that `midfill lsp` starts without the others."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from midfill import __version__
from midfill.commands import edge
from midfill.types import MidfillError

if TYPE_CHECKING:
    from midfill.config import Config
    from midfill.serve.team.listen import TeamServer

Handler = Callable[[argparse.Namespace, "Config"], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. Whatever goes wrong is one line and what to do."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit:  # help, version, or a usage error, already printed
        edge.guarded(lambda: 0)
        raise
    one_line = getattr(arguments, "one_line", False)
    if arguments.command not in ("lsp", "serve"):
        _say_news()
    return edge.guarded(lambda: int(arguments.run(arguments)), arguments.command, one_line=one_line)


def _say_news() -> None:
    """What waits to be said once, to a person at a terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        from midfill import news

        for line in news.take():
            print(f"midfill: {line}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="midfill",
        description="A local code-completion language server: fill-in-the-middle models with LoRA adapters.",
    )
    parser.add_argument("--version", action="version", version=f"midfill {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    lsp = commands.add_parser("lsp", help="the language server that an editor starts")
    lsp.add_argument("--stdio", action="store_true", help="speak over standard input and output (the default)")
    lsp.add_argument("--tcp", metavar="HOST:PORT", help="listen on this machine instead, for debugging")
    lsp.set_defaults(run=_lsp)

    serve = commands.add_parser("serve", help="the resident engine; editors start it by themselves")
    _model_options(serve)
    serve.add_argument("--max-adapters", type=int, metavar="N", help="adapters in memory at once")
    serve.add_argument("--idle-exit", type=float, metavar="SECONDS", help="leave after so long without a client")
    serve.add_argument("--tcp", metavar="HOST:PORT", help="listen on the loopback instead of a Unix socket")
    serve.add_argument("--quiet", action="store_true", help="print nothing")
    _team_options(serve)
    serve.set_defaults(run=_serve)

    token = commands.add_parser("token", help="who may ask an engine that serves a team")
    actions = token.add_subparsers(dest="kind", required=True, metavar="add|list|revoke")
    actions.add_parser("list", help="everybody who has one")
    for action in (
        actions.add_parser("add", help="a token for somebody, shown once"),
        actions.add_parser("revoke", help="take it away, at once"),
    ):
        action.add_argument("name")
    token.add_argument("--tokens", metavar="FILE", help="where they are kept (beside the configuration)")
    token.set_defaults(run=_token)

    complete = commands.add_parser("complete", help="print the middle at a place in a file")
    complete.add_argument(
        "place",
        metavar="FILE:LINE[:COL]",
        help="line and column count from 1; the cursor is before COL, or at the line's end",
    )
    _model_options(complete)
    complete.add_argument("--adapter", help="a registered name, ./a/folder, or none")
    complete.add_argument("--max-tokens", type=int, help="longest middle")
    complete.add_argument("--raw", action="store_true", help="what the model said, without post-processing")
    complete.add_argument("--json", action="store_true", help="the middle with every figure")
    complete.set_defaults(run=_complete)

    explain = commands.add_parser("explain", help="why a suggestion comes or not: the whole trace of a request")
    explain.add_argument(
        "place",
        nargs="?",
        metavar="FILE:LINE[:COL]",
        help="ask there; without it the last request of a language server, without its text",
    )
    explain.add_argument("--invoked", action="store_true", help="as if asked for by hand, not by typing")
    explain.add_argument("--json", action="store_true", help="the trace as one line of JSON")
    _model_options(explain)
    explain.add_argument("--adapter", help="a registered name, ./a/folder, or none")
    explain.set_defaults(run=_explain)

    stats = commands.add_parser("stats", help="what was shown and accepted on this machine")
    stats.add_argument("--days", type=float, metavar="N", help="of the last N days only")
    stats.add_argument("--json", action="store_true", help="one line of JSON")
    stats.add_argument("--clear", action="store_true", help="forget everything")
    stats.set_defaults(run=_stats)

    model = commands.add_parser("model", help="list, prepare or describe models")
    kinds = model.add_subparsers(dest="kind", required=True, metavar="list|prepare|info")
    listing = kinds.add_parser("list", help="the models on this machine")
    listing.add_argument("--json", action="store_true")
    prepare = kinds.add_parser("prepare", help="make a model ready, so that the first start is quick")
    prepare.add_argument("model", nargs="?", help="auto, embedded, owner/name on the hub, ./a/folder or a .gguf file")
    prepare.add_argument("--force", action="store_true", help="make it again")
    info = kinds.add_parser("info", help="what a model is, and what midfill makes of it")
    info.add_argument("model", nargs="?")
    info.add_argument("--json", action="store_true")
    model.set_defaults(run=_model)

    adapters = commands.add_parser(
        "adapters", help="LoRA adapters: list, add, check, describe, export, roll back, remove"
    )
    actions = adapters.add_subparsers(
        dest="kind", required=True, metavar="list|add|check|info|history|rollback|export|publish|remove"
    )
    actions.add_parser("list", help="the registered adapters")
    add = actions.add_parser("add", help="register a PEFT adapter under a name (a checked copy)")
    add.add_argument("folder", help="a folder, or owner/name on the hub")
    add.add_argument("--name", help="default: the folder's name")
    check = actions.add_parser("check", help="whether an adapter fits the model: 0, or 1 and one line that says why")
    check.set_defaults(one_line=True)
    about = actions.add_parser("info", help="rank, targets, size and base of an adapter, and whether it fits the model")
    about.add_argument("--no-check", dest="check", action="store_false", help="without asking the engine")
    about.add_argument("--json", action="store_true")
    for action in (check, about):
        action.add_argument("adapter", help="a registered name or a folder")
    for action in (add, check, about):
        action.add_argument("--model", help="the base, if not the configured one")
    export = actions.add_parser("export", help="copy an adapter for others, as PEFT reads it or merged into its base")
    export.add_argument("adapter", help="a registered name or a folder")
    export.add_argument("target", metavar="FOLDER", help="a new one")
    export.add_argument("--merged", action="store_true", help="a whole model, for what serves no adapters")
    export.add_argument("--model", help="the base, if not the configured one")
    nights = actions.add_parser("history", help="what midfill train --when-idle came to, night by night")
    nights.add_argument("name")
    nights.add_argument("--json", action="store_true", help="a line of JSON a night")
    nights.add_argument("--plot", metavar="FILE", help="the held-out loss as an SVG or PNG")
    back = actions.add_parser("rollback", help="put the version before the present one back")
    back.add_argument("name")
    _publish_options(actions.add_parser("publish", help="put an adapter where vLLM finds it, under a name that stays"))
    remove = actions.add_parser("remove", help="forget a registered adapter")
    remove.add_argument("name")
    adapters.set_defaults(run=_adapters)

    _train_options(commands.add_parser("train", help="an adapter from your own code: trained, measured, served"))

    demo = commands.add_parser("demo", help="a short typing session with the real server, in this terminal")
    demo.add_argument("--fast", action="store_true", help="type without pauses")
    demo.set_defaults(run=_demo)

    bench = commands.add_parser("bench", help="measure the engine beside llama.cpp and generate(), against its goals")
    bench.add_argument("--rounds", type=int, metavar="N", help="turns of each contender at unseen prompts (7)")
    bench.add_argument("--holes", type=int, metavar="N", help="holes in real code (30)")
    bench.add_argument(
        "--quick", action="store_true", help="a tiny run that shows whether it works, no figures to quote"
    )
    bench.add_argument("--llama-server", metavar="PATH", help="llama.cpp's server, measured on the same GGUF")
    bench.add_argument("--skip-generate", action="store_true", help="without transformers' generate()")
    bench.add_argument("--plot", metavar="FILE", help="an SVG or PNG, or none; in a checkout docs/images/bench.svg")
    bench.add_argument("--json-only", action="store_true", help="print nothing but the line of JSON")
    bench.set_defaults(run=_bench)

    _eval_options(commands.add_parser("eval", help="how good the suggestions are: pass@1, exact match, latency"))
    _replay_options(commands.add_parser("replay", help="type real files: keystrokes saved, acceptance, flicker"))

    load = commands.add_parser("load", help="many typists at once: how long they wait, what is decoded for nobody")
    load.add_argument("files", nargs="*", metavar="FILE", help="what is typed (midfill's own sources)")
    load.add_argument("--typists", default="1,8,32", metavar="N,...", help="people at once, one run each (1,8,32)")
    load.add_argument("--seconds", type=float, default=60.0, help="of each run, in real time (60)")
    load.add_argument("--seed", type=int, default=1, help="of the typists (1)")
    load.add_argument("--yes-i-own", action="append", default=[], metavar="HOST", help="an engine elsewhere, yours")
    _model_options(load)
    load.set_defaults(run=_load)

    doctor = commands.add_parser("doctor", help="look for what could be wrong, and say what to do")
    doctor.add_argument("--json", action="store_true")
    doctor.add_argument("--verify", action="store_true", help="also read every prepared model and compare its hashes")
    doctor.add_argument("--engine", dest="table", action="store_true", help="what the engines elsewhere can do")
    doctor.add_argument("--bundle", nargs="?", const="", metavar="FILE",
                        help="a report for an issue, without code, names or paths")  # fmt: skip
    doctor.set_defaults(run=_doctor)
    return parser


def _team_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--http", metavar="HOST:PORT", help="also serve a team, or other editors on this machine")
    parser.add_argument("--tokens", metavar="FILE", help="who may ask (what midfill token add writes)")
    parser.add_argument("--tls-cert", metavar="FILE", help="the certificate for --http, PEM")
    parser.add_argument("--tls-key", metavar="FILE", help="and its key")
    parser.add_argument("--behind-proxy", action="store_true", help="a proxy in front of --http ends TLS")
    parser.add_argument("--rate", type=float, metavar="N", help="requests a minute and person (240)")


def _publish_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="a registered adapter, or with --from what it is to be called")
    parser.add_argument("target", metavar="DIR", help="the folder that the engines read; NAME@digest appears in it")
    parser.add_argument("--from", dest="source", metavar="FOLDER", help="the adapter, if it is not registered")
    parser.add_argument("--base", help="its base as the engine was started with it (what the adapter says)")
    parser.add_argument("--revision", help="of its base")
    parser.add_argument("--for-template", metavar="NAME", help="the prompts that it was trained for")
    parser.add_argument("--rollback", action="store_true", help="NAME is what it was before; nothing is copied")
    parser.add_argument("--drain", nargs="?", type=float, const=24.0, metavar="HOURS",
                        help="remove what was replaced longer ago than that (24)")  # fmt: skip


def _train_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="*", default=["."], metavar="DIR", help="repositories to learn from (.)")
    parser.add_argument("--name", help="of the adapter; the first folder's name, if not given")
    parser.add_argument("--held-out", nargs="+", metavar="DIR", help="measure on these, not on files of DIR held out")
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="changes of the weights (200; GPU: 1000)")
    parser.add_argument(
        "--minutes", type=float, default=0, metavar="M", help="at most so long, by the first steps' pace"
    )
    parser.add_argument("--tokens", type=int, default=0, metavar="N", help="in one pass (512; GPU: 2048)")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="passes in one step (1)")
    parser.add_argument("--rank", type=int, help="(4)")
    parser.add_argument("--alpha", type=float, help="(16)")
    parser.add_argument("--dropout", type=float, default=0.1, help="(0.1)")
    parser.add_argument("--targets", metavar="A,B", help="names of linear layers (all of the blocks)")
    parser.add_argument("--start", metavar="ADAPTER", help="go on from it; none: from nothing (the one of --against)")
    parser.add_argument("--rate", type=float, default=3e-4, help="highest learning rate (0.0003)")
    parser.add_argument(
        "--prompt-share", type=float, default=0.5, metavar="P", help="of the prompt's tokens, learned too (0.5)"
    )
    parser.add_argument(
        "--end-weight", type=float, default=3.0, metavar="W", help="of the token that ends a middle (3)"
    )
    parser.add_argument("--seed", type=int, default=1, help="(1)")
    parser.add_argument("--quantise", action="store_true", help="hold the base in four bits (QLoRA); on a GPU")
    parser.add_argument("--checkpointing", action="store_true", help="less memory, more time (gradient checkpointing)")
    parser.add_argument("--restart", action="store_true", help="do not go on from an earlier run's checkpoint")
    parser.add_argument("--priority", choices=("idle", "normal"), default="idle", help="of the processor's time (idle)")
    parser.add_argument("--against", metavar="ADAPTER", help="what it has to be better than (the one that is set)")
    parser.add_argument("--holes", type=int, default=60, metavar="N", help="measured before and after (60)")
    parser.add_argument("--middles", type=int, default=200, metavar="N", help="held out, whose loss decides (200)")
    parser.add_argument(
        "--no-gate", dest="gate", action="store_false", help="train only: nothing measured or registered"
    )
    parser.add_argument("--force", action="store_true", help="register it even if it is not better")
    parser.add_argument(
        "--estimate", action="store_true", help="train nothing: say whether it is likely to pay, the time and memory"
    )
    parser.add_argument("--when-idle", action=argparse.BooleanOptionalAction,
                        help="every night while the computer is idle; shows what it installs, and asks")  # fmt: skip
    parser.add_argument("--budget", type=float, default=60, metavar="MINUTES", help="of --when-idle, a night (60)")
    parser.add_argument("--yes", action="store_true", help="of --when-idle: do not ask")
    parser.add_argument("--night", action="store_true", help=argparse.SUPPRESS)  # what the service runs
    parser.add_argument("--night-child", action="store_true", help=argparse.SUPPRESS)  # what it starts and stops
    _model_options(parser)
    parser.set_defaults(run=_train, usual=vars(parser.parse_args([])))


def _eval_options(parser: argparse.ArgumentParser) -> None:
    suites = parser.add_subparsers(dest="kind", required=True, metavar="humaneval|repo|languages|adapter|compare")
    humaneval = suites.add_parser("humaneval", help="HumanEval infilling, judged by running the tests")
    humaneval.add_argument("--suite", default="single", metavar="single|multi|random", help="kind of hole (single)")
    humaneval.add_argument("--data", metavar="FILE", help="HumanEval.jsonl.gz, if not the installed package's")
    humaneval.add_argument(
        "--no-run", dest="run_tests", action="store_false", help="run no tests: text metrics alone, no pass@1"
    )
    _run_options(humaneval, split="dev")
    humaneval.set_defaults(run=_eval)
    repo = suites.add_parser("repo", help="holes cut from any repository, compared with what stood there")
    repo.add_argument("folder", metavar="DIR")
    repo.add_argument(
        "--kinds", default="rest-of-line,line,block,call-arguments,mid-word,cross-file", help="of holes, with commas"
    )
    _run_options(repo, split="all", limit=120)
    repo.set_defaults(run=_eval)
    _languages_options(suites.add_parser("languages", help="holes in many languages: what goes wrong in each"))
    _adapter_options(suites.add_parser("adapter", help="two adapters, by the loss at a repository's held-out middles"))
    compare = suites.add_parser("compare", help="two files of --out, hole by hole")
    compare.add_argument("files", nargs=2, metavar="FILE")
    compare.set_defaults(run=_eval_compare)


def _adapter_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a registered name, ./a/folder, embedded or none")
    parser.add_argument("b", metavar="B", help="what is compared with it")
    parser.add_argument("--repo", nargs="+", default=["."], metavar="DIR", help="what training reads (.)")
    parser.add_argument("--held-out", nargs="+", metavar="DIR", help="measure on these, not on files of DIR held out")
    parser.add_argument("--all-files", action="store_true", help="not only those that training holds out")
    parser.add_argument("--middles", type=int, default=200, metavar="N", help="(200)")
    parser.add_argument("--seed", type=int, default=1, help="(1)")
    parser.add_argument("--out", metavar="FILE", help="every middle as a line of JSON")
    _model_options(parser)
    parser.set_defaults(run=_eval_adapter)


def _languages_options(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(dest="step", required=True, metavar="cut|answer|report")
    cut = steps.add_parser("cut", help="holes of the projects in DIR/<group>/<project>, and of new files")
    cut.add_argument("folder", nargs="?", metavar="DIR", help="without it, new files alone")
    cut.add_argument("--per-group", type=int, default=24, metavar="N", help="holes of each group of languages (24)")
    cut.add_argument("--no-new-files", action="store_true", help="without the beginnings of new files")
    cut.add_argument("--seed", type=int, default=1, help="(1)")
    cut.add_argument("--out", required=True, metavar="HOLES", help="a file of JSON lines")
    cut.set_defaults(run=_eval_languages_cut)
    answer = steps.add_parser("answer", help="ask for each hole; goes on where an earlier run ended")
    answer.add_argument("holes", metavar="HOLES")
    answer.add_argument("--out", required=True, metavar="ANSWERS", help="answers are added to it")
    answer.add_argument("--trigger", choices=("automatic", "invoked"), default="invoked", help="(invoked)")
    answer.add_argument("--limit", type=int, metavar="N", help="at most so many now")
    _model_options(answer)
    answer.set_defaults(run=_eval_languages_answer)
    report = steps.add_parser("report", help="the table by language; of two files of answers, paired differences")
    report.add_argument("holes", metavar="HOLES")
    report.add_argument("answers", nargs="+", metavar="ANSWERS")
    report.add_argument("--out", metavar="FILE", help="every answer with what was found in it, as JSON lines")
    report.set_defaults(run=_eval_languages_report)


def _replay_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--chars", type=int, default=400, metavar="N", help="typed at each place (400)")
    parser.add_argument("--places", type=int, default=3, metavar="N", help="in each file (3)")
    parser.add_argument("--accept", default="whole,line,word", help="what may be taken of a suggestion, with commas")
    parser.add_argument("--least", type=int, default=4, metavar="N", help="characters that are worth taking (4)")
    parser.add_argument("--real-time", action="store_true", help="sleep between the keys as a person does")
    parser.add_argument("--wait", action="store_true", help="for every answer: what could be saved at best")
    parser.add_argument("--growth", action="store_true", help="as an editor that shows suggestions while they grow")
    parser.add_argument(
        "--pace",
        metavar="FIRST,TOKEN",
        help="seconds that the engine is taken to need, whatever the machine is busy with",
    )
    parser.add_argument("--hasty", action="store_true", help="take what begins well, and delete the wrong end")
    parser.add_argument("--knob", action="store_true", help="hasty, by each eagerness in turn: one table")
    _common_options(parser)
    parser.set_defaults(run=_replay)


def _run_options(parser: argparse.ArgumentParser, split: str, limit: int | None = None) -> None:
    """What every suite of `midfill eval` can be told."""
    parser.add_argument("--limit", type=int, default=limit, metavar="N", help=f"holes, by the seed ({limit or 'all'})")
    parser.add_argument(
        "--split", choices=("dev", "test", "all"), default=split, help=f"tune on dev, report test ({split})"
    )
    parser.add_argument("--raw", action="store_true", help="a bare FIM endpoint's output: nothing cut, no context")
    parser.add_argument("--trigger", choices=("invoked", "automatic"), default="invoked", help="(invoked)")
    _common_options(parser, against="KEY=VALUE[;...]|raw")


def _common_options(parser: argparse.ArgumentParser, against: str = "KEY=VALUE[;...]") -> None:
    """What `midfill eval` and `midfill replay` can be told."""
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn by chance (1)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting; may be repeated")
    parser.add_argument(
        "--against", metavar=against, help="a second configuration at the same places, compared in pairs"
    )
    parser.add_argument("--out", metavar="FILE", help="every answer or event as a line of JSON")
    parser.add_argument("--plot", metavar="FILE", help="an SVG or PNG")
    _model_options(parser)
    parser.add_argument("--adapter", help="a registered name, ./a/folder, or none")
    parser.add_argument("--max-tokens", type=int, help="longest middle")


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="auto, embedded, owner/name on the hub, ./a/folder or a .gguf file")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--dtype", help="auto, int8 or int4 (CPU or CUDA), bfloat16, float16 or float32")
    parser.add_argument("--template", help="auto, prefix, or the name of a FIM template")


def _config(arguments: argparse.Namespace) -> Config:
    from midfill import config

    taken = config.take_user()
    for problem in taken.problems:
        print(f"midfill: warning: {problem}", file=sys.stderr)
    given = {
        field.name: value
        for field in dataclasses.fields(config.Config)
        if (value := getattr(arguments, field.name, None)) is not None
    }
    return config.merged(taken.config, given, "the command line")


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise MidfillError(f"{text!r} is not HOST:PORT", "for example 127.0.0.1:9257")
    return host.strip("[]"), int(port)


def _lsp(arguments: argparse.Namespace) -> int:
    from midfill.lsp import server

    if arguments.tcp:
        return server.serve_tcp(*_address(arguments.tcp))
    return server.serve_stdio()


def _serve(arguments: argparse.Namespace) -> int:
    from midfill.serve import daemon

    config = _config(arguments)
    if arguments.idle_exit is not None:
        config = dataclasses.replace(config, engine_idle_exit_s=arguments.idle_exit)
    team = _team(arguments) if arguments.http else None
    tcp = _address(arguments.tcp) if arguments.tcp else None
    return daemon.serve(config, tcp=tcp, quiet=arguments.quiet, team=team)


def _team(arguments: argparse.Namespace) -> TeamServer:
    from midfill import paths
    from midfill.serve.team.limits import PER_MINUTE
    from midfill.serve.team.listen import Listen, TeamServer

    files = {name: paths.expanded(value) if (value := getattr(arguments, name)) else None
             for name in ("tls_cert", "tls_key", "tokens")}  # fmt: skip
    host, port = _address(arguments.http)
    rate = PER_MINUTE if arguments.rate is None else arguments.rate
    if not 1 <= rate <= 1e6:
        raise MidfillError(f"--rate {rate:g} is out of range", "use 1 to 1000000")
    return TeamServer(
        Listen(host, port, files["tls_cert"], files["tls_key"], arguments.behind_proxy, files["tokens"], rate)
    )


def _token(arguments: argparse.Namespace) -> int:
    from midfill.commands import token

    return token.run(arguments)


def _complete(arguments: argparse.Namespace) -> int:
    from midfill.commands import complete

    return complete.run(arguments, _config(arguments))


def _explain(arguments: argparse.Namespace) -> int:
    from midfill.commands import explain

    return explain.run(arguments, _config(arguments))


def _stats(arguments: argparse.Namespace) -> int:
    from midfill.commands import stats

    return stats.run(arguments)


def _model(arguments: argparse.Namespace) -> int:
    from midfill.commands import model

    return model.run(arguments, _config(arguments))


def _adapters(arguments: argparse.Namespace) -> int:
    from midfill.commands import adapters, publish

    if arguments.kind == "publish":
        return publish.run(arguments)

    return adapters.run(arguments, _config(arguments))


def _train(arguments: argparse.Namespace) -> int:
    from midfill.commands import train

    return train.run(arguments, _config(arguments))


def _demo(arguments: argparse.Namespace) -> int:
    from midfill.demo import play

    return play.run(fast=arguments.fast)


def _bench(arguments: argparse.Namespace) -> int:
    from midfill.bench import run

    return run.run(arguments)


def _eval(arguments: argparse.Namespace) -> int:
    from midfill.commands import eval as evaluation

    return evaluation.run(arguments, _config(arguments))


def _eval_adapter(arguments: argparse.Namespace) -> int:
    from midfill.commands import scoring

    return scoring.run(arguments, _config(arguments))


def _eval_compare(arguments: argparse.Namespace) -> int:
    from midfill.commands import eval as evaluation

    return evaluation.compare(arguments)


def _eval_languages_cut(arguments: argparse.Namespace) -> int:
    from midfill.commands import eval_languages

    return eval_languages.cut(arguments)


def _eval_languages_answer(arguments: argparse.Namespace) -> int:
    from midfill.commands import eval_languages

    return eval_languages.answer(arguments, _config(arguments))


def _eval_languages_report(arguments: argparse.Namespace) -> int:
    from midfill.commands import eval_languages

    return eval_languages.show(arguments)


def _replay(arguments: argparse.Namespace) -> int:
    from midfill.commands import replay

    return replay.run(arguments, _config(arguments))


def _load(arguments: argparse.Namespace) -> int:
    from midfill.commands import load

    return load.run(arguments, _config(arguments))


def _doctor(arguments: argparse.Namespace) -> int:
    from midfill.commands import bundle, doctor

    if arguments.bundle is not None:
        return bundle.run(arguments.bundle or None)
    return doctor.run(as_json=arguments.json, verify=arguments.verify, engine=arguments.table)
