"""Options that several commands share."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO

from midfill import config, config_files, paths
from midfill.config import Config
from midfill.types import MidfillError


def model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the model, for every command that asks an engine."""
    parser.add_argument("--model", help="auto, embedded, owner/name on the hub, ./a/folder or a .gguf file")
    parser.add_argument("--device", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--dtype", help="auto, int8, int4, float8, bfloat16, float16 or float32")
    parser.add_argument("--template", help="auto, prefix, or the name of a FIM template")


def common_options(parser: argparse.ArgumentParser, against: str = "KEY=VALUE[;...]") -> None:
    """Add the options that `midfill eval` and `midfill replay` share."""
    parser.add_argument("--seed", type=int, default=1, help="seed of every random choice (1)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting; may be repeated"
    )
    parser.add_argument(
        "--against", metavar=against, help="a second configuration, compared with the first one place by place"
    )
    parser.add_argument("--out", metavar="FILE", help="write every answer or event as a line of JSON")
    parser.add_argument("--plot", metavar="FILE", help="draw the result as an SVG or PNG")
    model_options(parser)
    parser.add_argument("--adapter", help="a registered name, ./a/folder, or none")
    parser.add_argument("--max-tokens", type=int, help="longest suggestion, in tokens")


def configured(run: Callable[[argparse.Namespace, Config], int]) -> Callable[[argparse.Namespace], int]:
    """Return a ``run`` that takes only the arguments and reads the configuration first."""
    return lambda arguments: run(arguments, read_config(arguments))


def read_config(arguments: argparse.Namespace) -> Config:
    """Return the user's configuration with the command line on top; problems of the file are warnings."""
    taken = config_files.take_user()
    for problem in taken.problems:
        print(f"midfill: warning: {problem}", file=sys.stderr)
    given = {
        field.name: value
        for field in dataclasses.fields(config.Config)
        if (value := getattr(arguments, field.name, None)) is not None
    }
    return config.merged(taken.config, given, "the command line")


def settings(given: Sequence[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs, each value as in TOML or a plain word. Raises MidfillError."""
    found: dict[str, Any] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key.strip():
            raise MidfillError(f"{one[:60]!r} is not key=value", "for example max_tokens=96")
        try:
            found[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = value.strip()
    return found


@contextlib.contextmanager
def opened(name: str | None) -> Iterator[TextIO | None]:
    """Return the file for the records, opened before anything is measured. Raises MidfillError."""
    if name is None:
        yield None
        return
    file = paths.expanded(name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        out = file.open("w", encoding="utf-8")
    except OSError as error:
        raise MidfillError(f"cannot write {file}: {error.strerror}", "name another file with --out") from error
    with out:
        yield out
