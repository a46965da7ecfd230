"""``midfill doctor``: everything that midfill needs, whether it is there, and what to do if not."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from midfill import __version__, accepted, config, config_files, paths
from midfill.addresses import leaving
from midfill.client.remote import renderer_of
from midfill.commands.model import check_whole
from midfill.engine import record
from midfill.engine.local.store.manifest import read_manifest
from midfill.faults import in_words
from midfill.remote.capabilities import Capabilities
from midfill.remote.connect import connect
from midfill.remote.credentials import read_key
from midfill.remote.vocabulary import InlineVocabulary, Vocabulary
from midfill.types import MidfillError


@dataclass(frozen=True, slots=True)
class Finding:
    """``state`` is "ok", "warning" or "fault"."""

    what: str
    state: str
    says: str
    remedy: str = ""


def run(*, as_json: bool, verify: bool = False, engine: bool = False) -> int:
    """Print the findings; return 1 if there is a fault. ``verify``: read and hash every file of every prepared model.

    ``engine``: only the capability table of the engines elsewhere.
    """
    findings = list(_table() if engine else examine(verify=verify))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        marks = {"ok": "ok     ", "warning": "warning", "fault": "FAULT  "}
        width = max((len(finding.what) for finding in findings), default=0)
        for finding in findings:
            print(f"{marks[finding.state]}  {finding.what:<{width}}  {finding.says}")
            if finding.remedy and finding.state != "ok":
                print(f"{'':<9}{'':<{width}}  -> {finding.remedy}")
    return int(any(finding.state == "fault" for finding in findings))


def examine(*, verify: bool = False) -> Iterator[Finding]:
    """Run every check; a check that fails by itself is a fault, not a crash."""
    checks = (_python, _packages, _configuration, _folders, _model, _gpu, _adapters, _engine)
    for check in (*checks, _hashes) if verify else checks:
        try:
            yield from check()
        except MidfillError as error:
            yield Finding(check.__name__.strip("_"), "fault", error.message, error.remedy)
        except Exception as error:  # noqa: BLE001 - the doctor must not die of the illness
            known = in_words(error)
            yield Finding(check.__name__.strip("_"), "fault", known.message, known.remedy)


def _python() -> Iterator[Finding]:
    state = "ok" if sys.version_info >= (3, 11) else "fault"
    yield Finding(
        "python", state, f"{sys.version.split()[0]} at {sys.executable}", "midfill needs Python 3.11 or newer"
    )
    yield Finding("midfill", "ok", f"{__version__} at {Path(__file__).parents[1]}")


def _packages() -> Iterator[Finding]:
    front = [
        name for name in ("pygls", "lsprotocol", "tokenizers", "httpx", "starlette", "uvicorn") if not _version(name)
    ]
    if front:
        yield Finding("front end", "fault", f"missing: {', '.join(front)}", "pip install --force-reinstall midfill")
    else:
        yield Finding("front end", "ok", f"pygls {_version('pygls')}, tokenizers {_version('tokenizers')}")
    missing = [
        name for name in ("torch", "transformers", "safetensors", "gguf") if importlib.util.find_spec(name) is None
    ]
    if missing:
        yield Finding("local engine", "fault", f"missing: {', '.join(missing)}", "pip install 'midfill[embedded]'")
    else:
        beside = [name for name in ("numba", "bitsandbytes", "optimum-quanto", "peft") if _version(name)]
        versions = [f"{name} {_version(name)}" for name in ("torch", "transformers", *beside)]
        yield Finding("local engine", "ok", ", ".join(versions))


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _configuration() -> Iterator[Finding]:
    taken, file = config_files.take_user(), paths.config_file()
    for problem in taken.problems:
        yield Finding("configuration", "warning", problem.message, problem.remedy)
    says = f"{file}" if file.is_file() else f"defaults (there is no {file})"
    yield Finding("configuration", "ok", f"{says}: model {taken.config.model}, adapter {taken.config.adapter}")
    n_texts = len(accepted.texts())
    if taken.config.learn_from_accepted or n_texts:
        state = "on" if taken.config.learn_from_accepted else "off"
        says = f"learn_from_accepted is {state}; {n_texts} accepted texts in {accepted.accepted_file()}"
        yield Finding("privacy", "ok", f"{says}; midfill stats --clear deletes them")


def _folders() -> Iterator[Finding]:
    for name, folder in (("cache", paths.cache_dir()), ("state", paths.state_dir()), ("data", paths.data_dir())):
        paths.private_dir(folder)
        writable = os.access(folder, os.W_OK)
        free = shutil.disk_usage(folder).free / 1e9
        state = "fault" if not writable else "warning" if name == "cache" and free < 2 else "ok"
        yield Finding(
            name, state, f"{folder}, {free:.1f} GB free", f"make it writable, or set MIDFILL_{name.upper()}_DIR"
        )
    yield Finding("runtime", "ok", f"{paths.runtime_dir()}")


def _model() -> Iterator[Finding]:
    if importlib.util.find_spec("gguf") is None:
        return
    from midfill.engine.local.store import embedded, models

    settings = config_files.take_user().config
    if not embedded.is_installed():
        yield Finding("embedded model", "warning", "its packages are not installed", embedded.INSTALL)
    source = models.resolve(settings.model)
    folder = models.find_prepared(source)
    if folder is None:
        yield Finding(
            "model", "warning", f"{source.name} is not prepared", "the first start does it, or: midfill model prepare"
        )
        return
    check_whole(folder)
    manifest = read_manifest(folder)
    for name, recorded in (manifest or {}).get("files", {}).items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != recorded["size"]:
            yield Finding("model", "fault", f"{file} is missing or truncated", "run: midfill model prepare --force")
            return
    yield Finding("model", "ok", f"{source.name} in {folder}")


def _hashes() -> Iterator[Finding]:
    """Compare each prepared model with its manifest, and the configured model if it is a snapshot of the hub."""
    if importlib.util.find_spec("torch") is None:
        return
    from midfill.engine.local.store import models
    from midfill.engine.local.store.safetensors_reader import compare

    for folder in sorted(paths.models_dir().glob("*/")):
        manifest = read_manifest(folder)
        if manifest is None:
            says = f"{folder}: manifest.json is missing, unreadable or of another version"
            yield Finding("files", "warning", says, "the next start makes it again, or remove the folder")
            continue
        recorded = manifest.get("files", {})
        problems = [problem for name in sorted(recorded) if (problem := compare(folder, name, recorded[name]))]
        for problem in problems:
            yield Finding("files", "fault", problem, f"run: midfill model prepare --force {_spec(manifest)}".rstrip())
        if not problems:
            yield Finding("files", "ok", f"{folder}: {len(recorded)} files are what was recorded")
    source = models.resolve(config_files.load_user().model)
    snapshot = models.hub_folder(source.hub_id) if source.kind == "hub" else None
    if snapshot is not None:
        yield from _snapshot(snapshot)


def _spec(manifest: dict[str, Any]) -> str:
    """Return the name of the model of ``manifest`` on the command line."""
    source = manifest.get("source", {})
    return "embedded" if source.get("kind") == "embedded" else str(source.get("path", ""))


def _snapshot(folder: Path) -> Iterator[Finding]:
    """The weights of a hub's snapshot are links to files whose names are their sha256."""
    n = 0
    for link in sorted(folder.glob("*.safetensors")):
        name = link.resolve().name
        if re.fullmatch(r"[0-9a-f]{64}", name) is None:
            continue
        n += 1
        with link.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != name:
                yield Finding("files", "fault", f"{link} is damaged", f"remove {link.resolve()} and start again")
    yield Finding("files", "ok", f"{folder}: {n} files with a recorded hash were read")


def _gpu() -> Iterator[Finding]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield Finding("gpu", "ok", "none; the engine runs on the CPU")
        return
    command = [tool, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 - found on PATH
    says = answer.stdout.strip().replace("\n", "; ")
    state = "ok" if answer.returncode == 0 else "warning"
    yield Finding("gpu", state, says or "nvidia-smi fails", "check the driver")
    if answer.returncode == 0 and "+cpu" in _version("torch"):
        yield Finding("gpu", "warning", "torch is a CPU build", "install torch's CUDA build to use the GPU")


def _adapters() -> Iterator[Finding]:
    names = sorted(folder.name for folder in paths.adapters_dir().glob("*/") if not folder.name.startswith("."))
    yield Finding("adapters", "ok", ", ".join(names) or f"none in {paths.adapters_dir()}")


def _table() -> Iterator[Finding]:
    """Return what each engine elsewhere can do, found out by asking it."""
    settings = config_files.take_user().config
    if not settings.engine:
        yield Finding("engine", "ok", 'on this machine; engine = "https://host/v1" names another')
        return
    try:
        yield from _leaving(settings)
        known, problems = asyncio.run(_looked_at(settings))
    except MidfillError as error:
        yield Finding("engine", "fault", error.message, error.remedy)
        return
    for host, capabilities in known.items():
        yield Finding("engine", "ok", host)
        for name, says in capabilities.rows():
            state = "warning" if name == "cancel" and capabilities.cancel.swallowed else "ok"
            yield Finding(f"  {name}", state, says, "let it pass on that a client has gone: docs/remote.md")
    for host, problem in problems.items():
        yield Finding("engine", "warning" if known else "fault", f"{host}: {problem.message}", problem.remedy)


async def _looked_at(settings: config.Config) -> tuple[dict[str, Capabilities], dict[str, MidfillError]]:
    async def vocabulary(file: Path, model: str) -> Vocabulary:
        return InlineVocabulary(renderer_of(file, model, settings))

    remote = await connect(settings, vocabulary, cancel=True)
    try:
        return remote.table, remote.problems
    finally:
        await remote.engine.aclose()


def _leaving(settings: config.Config) -> Iterator[Finding]:
    if said := leaving(settings.engine):
        yield Finding("privacy", "warning", said, "this is what engine is set to; the local engine sends nothing")


def _engine() -> Iterator[Finding]:
    settings = config_files.take_user().config
    if settings.engine:
        yield from _leaving(settings)
        yield Finding("engine", "ok", f"{', '.join(settings.engine)}; what it can do: midfill doctor --engine")
        read_key(settings)
        return
    where = record.place(config_files.take_user().config)
    address = record.find(where)
    if address is None or not record.is_running(where):
        yield Finding("engine", "ok", "not running; the first editor starts it")
        return
    yield Finding(
        "engine", "ok", f"running, pid {address.pid}, version {address.version}, log in {paths.state_dir() / 'log'}"
    )
