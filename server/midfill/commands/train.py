"""``midfill train``: an adapter from the user's own code, shown to help, and served at once."""

from __future__ import annotations

import argparse

from midfill.commands import train_run
from midfill.commands.options import configured, model_options
from midfill.config import Config

RANK, ALPHA = 4, 16.0  # of the reference adapter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define what ``midfill train`` can be told."""
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
    parser.add_argument(
        "--quantise", action="store_true", help="hold the base in four bits (QLoRA), with --checkpointing; on a GPU"
    )
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
    model_options(parser)
    parser.set_defaults(run=configured(run), usual=vars(parser.parse_args([])))


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Train, measure, promote; the exit status."""
    if arguments.when_idle is not None or arguments.night or arguments.night_child:
        from midfill.commands import when_idle

        return when_idle.run(arguments, config)
    with train_run.locked():  # where another one trains already, that is the user's will: only a night waits
        return train_run.once(arguments, config)
