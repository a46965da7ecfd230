"""``midfill model list|prepare|info``."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from midfill import fim, paths
from midfill.commands.options import configured
from midfill.commands.progress import stages
from midfill.config import Config
from midfill.engine.local.store.manifest import read_manifest
from midfill.tokenizer import CodeTokenizer
from midfill.types import MidfillError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill model``."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="list|prepare|info")
    listing = kinds.add_parser("list", help="list the models on this machine")
    listing.add_argument("--json", action="store_true", help="print JSON")
    prepare = kinds.add_parser("prepare", help="download and convert a model now, so that the first start is quick")
    prepare.add_argument("model", nargs="?", help="auto, embedded, owner/name on the hub, ./a/folder or a .gguf file")
    prepare.add_argument("--force", action="store_true", help="prepare it again, even if it is there already")
    prepare.add_argument("--floats", action="store_true", help="also keep the weights as floats, for vLLM")
    info = kinds.add_parser("info", help="show what a model is, and how midfill would run it")
    info.add_argument("model", nargs="?", help="the model, if it is not the configured one")
    info.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=configured(run))


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Run the chosen action."""
    spec = getattr(arguments, "model", None) or config.model
    if arguments.kind == "list":
        return _list(as_json=arguments.json)
    if arguments.kind == "prepare":
        return _prepare(spec, force=arguments.force, floats=arguments.floats)
    return _info(spec, as_json=arguments.json)


def _models() -> Any:
    try:
        from midfill.engine.local.store import models
    except ImportError as error:
        raise MidfillError(
            f"the local engine is not installed ({error.name} is missing)", "pip install 'midfill[embedded]'"
        ) from error
    return models


def _list(*, as_json: bool) -> int:
    models = _models()
    from midfill.engine.local.store import embedded

    rows: list[dict[str, Any]] = []
    for folder in sorted(paths.models_dir().glob("*/")):
        manifest = read_manifest(folder)
        if manifest is not None:
            size = sum(file["size"] for file in manifest.get("files", {}).values())
            rows.append(
                {"name": manifest.get("name", folder.name), "state": "prepared", "bytes": size, "where": str(folder)}
            )
    if not any(row["name"] == embedded.EMBEDDED.name for row in rows):
        state = "installed, not prepared" if embedded.is_installed() else "not installed"
        where = "run: midfill model prepare" if embedded.is_installed() else embedded.INSTALL
        rows.append({"name": embedded.EMBEDDED.name, "state": state, "bytes": embedded.EMBEDDED.size, "where": where})
    reference = models.hub_folder(models.REFERENCE)
    where = str(reference) if reference else "needs a GPU with 20 GiB and a hub account"
    rows.append(
        {"name": models.REFERENCE, "state": "fetched" if reference else "not here", "bytes": None, "where": where}
    )
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    table = Table("model", "state", "size", "where", box=None, pad_edge=False)
    for row in rows:
        size = f"{row['bytes'] / 1e6:.0f} MB" if row["bytes"] else ""
        table.add_row(escape(row["name"]), row["state"], size, escape(row["where"]))
    Console(width=max(120, Console().width)).print(table)
    return 0


def _prepare(spec: str, *, force: bool, floats: bool) -> int:
    models = _models()
    source = models.resolve(spec)
    with stages() as report:
        folder = models.prepare(source, report, force=force, floats=floats)
    check_whole(folder)
    print(f"{source.name} is ready: {folder}")
    return 0


def check_whole(folder: Path) -> None:
    """Raise MidfillError if ``folder`` lacks what every model folder has."""
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise MidfillError(f"{folder} is not a model folder: it has no {name}", "check the setting model")


def _info(spec: str, *, as_json: bool) -> int:
    models = _models()
    source = models.resolve(spec)
    folder: Path | None = models.find_prepared(source)
    facts: dict[str, Any] = {"model": spec, **dataclasses.asdict(source), "folder": str(folder) if folder else None}
    facts["path"] = str(source.path) if source.path else None
    if folder is not None:
        check_whole(folder)
        config = _read_config(folder / "config.json")
        tokenizer = CodeTokenizer.from_file(folder / "tokenizer.json")
        called = f"{source.name} {config.get('_name_or_path') or ''}"
        template = fim.detect(tokenizer, called)
        facts |= {
            "architecture": (config.get("architectures") or [config.get("model_type")])[0],
            "layers": config.get("num_hidden_layers"), "hidden_size": config.get("hidden_size"),
            "vocabulary": config.get("vocab_size"), "max_context": config.get("max_position_embeddings"),
            "parameters": (read_manifest(folder) or {}).get("parameters"),
            "template": template.name, "why_not_filling": fim.why_not_filling(called),
            "fills_in_the_middle": template is not fim.PREFIX_ONLY,
            "several_files": template.file is not None, "control_tokens": len(tokenizer.control_ids),
        }  # fmt: skip
    if as_json:
        print(json.dumps(facts, indent=2))
        return 0
    for key, value in facts.items():
        if value not in (None, ""):
            print(f"{key:<20} {value}")
    if folder is None:
        print(f"not prepared yet: run  midfill model prepare {spec}")
    return 0


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise MidfillError(f"{file} is not valid JSON", "fetch the model again")
    return config
