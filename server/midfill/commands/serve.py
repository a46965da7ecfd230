"""``midfill serve``: the resident engine, for this machine's editors and with ``--http`` for a team."""

from __future__ import annotations

import argparse
import dataclasses

from midfill import paths
from midfill.addresses import read_listen
from midfill.commands.options import configured, model_options
from midfill.config import Config
from midfill.serve import main
from midfill.serve.team.limits import PER_MINUTE
from midfill.serve.team.listen import Listen, TeamServer
from midfill.types import MidfillError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill serve``."""
    model_options(parser)
    parser.add_argument("--max-adapters", type=int, metavar="N", help="adapters in memory at once")
    parser.add_argument("--idle-exit", type=float, metavar="SECONDS", help="exit after this long without a client")
    parser.add_argument("--tcp", metavar="HOST:PORT", help="listen on the loopback instead of a Unix socket")
    parser.add_argument("--quiet", action="store_true", help="print nothing")
    parser.add_argument("--http", metavar="HOST:PORT", help="also serve a team, or other editors on this machine")
    parser.add_argument(
        "--tokens", metavar="FILE", help="the tokens that may ask (the file that midfill token add writes)"
    )
    parser.add_argument("--tls-cert", metavar="FILE", help="the certificate for --http, PEM")
    parser.add_argument("--tls-key", metavar="FILE", help="the key of that certificate, PEM")
    parser.add_argument("--behind-proxy", action="store_true", help="a proxy in front of --http ends TLS")
    parser.add_argument("--rate", type=float, metavar="N", help="requests per person and minute (240)")
    parser.set_defaults(run=configured(run))


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Serve until no client needs it any more; return the exit code."""
    if arguments.idle_exit is not None:
        config = dataclasses.replace(config, engine_idle_exit_s=arguments.idle_exit)
    team = _team(arguments) if arguments.http else None
    tcp = read_listen(arguments.tcp) if arguments.tcp else None
    return main.serve(config, tcp=tcp, quiet=arguments.quiet, team=team)


def _team(arguments: argparse.Namespace) -> TeamServer:
    files = {name: paths.expanded(value) if (value := getattr(arguments, name)) else None
             for name in ("tls_cert", "tls_key", "tokens")}  # fmt: skip
    host, port = read_listen(arguments.http)
    rate = PER_MINUTE if arguments.rate is None else arguments.rate
    if not 1 <= rate <= 1e6:
        raise MidfillError(f"--rate {rate:g} is out of range", "use 1 to 1000000")
    return TeamServer(
        Listen(host, port, files["tls_cert"], files["tls_key"], arguments.behind_proxy, files["tokens"], rate)
    )
