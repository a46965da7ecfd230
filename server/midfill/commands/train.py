"""``midfill train``: an adapter from the user's own code, measured, and served at once if it is better."""

from __future__ import annotations

import argparse

from midfill.commands import train_run
from midfill.commands.options import configured, model_options
from midfill.commands.scoring import part_options
from midfill.config import Config
from midfill.train.weights import DRAWS

RANK, ALPHA = 4, 16.0  # rank of the reference adapter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill train``."""
    parser.add_argument("folders", nargs="*", default=["."], metavar="DIR", help="repositories to learn from (.)")
    parser.add_argument("--name", help="name of the adapter (the first folder's name)")
    parser.add_argument(
        "--held-out", nargs="+", metavar="DIR", help="measure on these folders, not on held-out files of DIR"
    )
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="training steps (200; GPU: 1000)")
    parser.add_argument(
        "--minutes",
        type=float,
        default=0,
        metavar="M",
        help="train for at most M minutes, estimated from the first steps",
    )
    parser.add_argument("--tokens", type=int, default=0, metavar="N", help="tokens per pass (512; GPU: 2048)")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="passes per step (1)")
    parser.add_argument("--rank", type=int, help="rank of the LoRA (4)")
    parser.add_argument("--alpha", type=float, help="alpha of the LoRA (16)")
    parser.add_argument("--dropout", type=float, default=0.1, help="dropout of the LoRA (0.1)")
    parser.add_argument("--targets", metavar="A,B", help="names of the linear layers to adapt (all in the blocks)")
    parser.add_argument(
        "--start", metavar="ADAPTER", help="the adapter to continue from; none: a fresh one (the adapter of --against)"
    )
    parser.add_argument(
        "--on-top-of", metavar="ADAPTER", help="freeze this adapter in the base, and train one that is added to it"
    )
    part_options(parser, "learn from")
    parser.add_argument("--rate", type=float, default=3e-4, help="highest learning rate (0.0003)")
    parser.add_argument(
        "--prompt-share", type=float, default=0.5, metavar="P", help="share of the prompt's tokens to learn too (0.5)"
    )
    parser.add_argument(
        "--end-weight", type=float, default=3.0, metavar="W", help="weight of the token that ends a middle (3)"
    )
    parser.add_argument(
        "--start-share", type=float, default=0.5, metavar="P",
        help="share of the adapter that it continues from in the average of the weights at the end (0.5)",
    )  # fmt: skip
    parser.add_argument(
        "--draw", choices=DRAWS, default=DRAWS[0],
        help="own: more middles with names that the repository defines, more of newer files, fewer that repeat (even)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="(1)")
    parser.add_argument(
        "--quantise",
        action="store_true",
        help="keep the base model in four bits (QLoRA, implies --checkpointing); needs a GPU",
    )
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing: less memory, more time")
    parser.add_argument("--restart", action="store_true", help="ignore the checkpoint of an earlier run")
    parser.add_argument("--priority", choices=("idle", "normal"), default="idle", help="processor priority (idle)")
    parser.add_argument(
        "--against", metavar="ADAPTER", help="the adapter that it must improve on (the one that is set)"
    )
    parser.add_argument(
        "--holes", type=int, default=60, metavar="N", help="number of holes measured before and after (60)"
    )
    parser.add_argument(
        "--middles", type=int, default=200, metavar="N", help="number of held-out middles whose loss decides (200)"
    )
    parser.add_argument("--no-gate", dest="gate", action="store_false", help="only train; measure and register nothing")
    parser.add_argument("--force", action="store_true", help="register the adapter even if it is not better")
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="train nothing; say how long it would take, in how much memory, and whether it is likely to pay",
    )
    parser.add_argument("--when-idle", action=argparse.BooleanOptionalAction,
                        help="train every night while the computer is idle; shows the service, then asks")  # fmt: skip
    parser.add_argument(
        "--budget", type=float, default=60, metavar="MINUTES", help="longest training per night with --when-idle (60)"
    )
    parser.add_argument("--yes", action="store_true", help="with --when-idle: do not ask")
    parser.add_argument("--night", action="store_true", help=argparse.SUPPRESS)  # what the service runs
    parser.add_argument("--night-child", action="store_true", help=argparse.SUPPRESS)  # what that starts and stops
    model_options(parser)
    parser.set_defaults(run=configured(run), usual=vars(parser.parse_args([])))


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Train, measure, promote; return the exit status."""
    if arguments.when_idle is not None or arguments.night or arguments.night_child:
        from midfill.commands import when_idle

        return when_idle.run(arguments, config)
    with train_run.locked():  # another training is the user's decision: only a night waits for it
        return train_run.once(arguments, config)
