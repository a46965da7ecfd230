"""Finds the model that a setting names, and prepares it: once, whole, verified.

A *prepared* model is a folder with ``config.json``, ``tokenizer.json`` and the weights as this machine serves them:
``int8.safetensors``, of ours, if the CPU multiplies int8, else ``model*.safetensors``; and ``manifest.json`` with
the sha256 of each, written last. Folders appear by one rename. With ``floats`` the folder has both, and
transformers, vLLM and SGLang load it as well: ``model.safetensors.index.json`` lists the model's files; without it,
the latter two would load every ``*.safetensors`` that they find. A caller that needs floats only once makes them for
that time (``float_files``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from midfill import paths
from midfill.engine.local.store import embedded
from midfill.engine.local.store.embedded import EMBEDDED, Progress
from midfill.engine.local.store.manifest import (
    INDEX,
    MANIFEST,
    read_manifest,
    recorded,
    weight_files,
    write_index,
    write_json,
    write_manifest,
)
from midfill.types import MidfillError

REFERENCE = "google/codegemma-7b"
REFERENCE_BYTES = 20 << 30  # bfloat16 weights, KV cache and workspace


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model as the user named it, before it is prepared."""

    kind: Literal["embedded", "gguf", "directory", "hub"]
    name: str
    path: Path | None = None
    hub_id: str = ""


def resolve(spec: str) -> ModelSource:
    """Return the model that the setting ``model`` names. Raises MidfillError if no such model can exist."""
    if spec == "embedded":
        return ModelSource("embedded", EMBEDDED.name)
    if spec == "auto":
        return ModelSource("hub", REFERENCE, hub_id=REFERENCE) if reference_is_usable() else resolve("embedded")
    # A path must look like one: a setting like a hub id never means a folder of the workspace midfill was started in.
    path = paths.expanded(spec)
    is_path = path.is_absolute() or spec.startswith((".", "~"))
    if path.suffix == ".gguf":
        if not path.is_file():
            raise MidfillError(f"model file {path} is not there", "check the setting model")
        return ModelSource("gguf", path.stem, path.resolve())
    if is_path and path.is_dir():
        return ModelSource("directory", path.resolve().name, path.resolve())
    if is_path or not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", spec):
        raise MidfillError(
            f"model {spec!r} is neither a folder, a .gguf file nor a hub id",
            "use auto, embedded, owner/name, or a path that begins with / or ./",
        )
    return ModelSource("hub", spec, hub_id=spec)


def reference_is_usable() -> bool:
    """Whether CodeGemma-7B would fit the GPU here, and its weights are here or may be fetched."""
    import torch

    if not torch.cuda.is_available():
        return False
    free, _total = torch.cuda.mem_get_info()
    return free >= REFERENCE_BYTES and (hub_folder(REFERENCE) is not None or _hub_token_works())


def _hub_token_works() -> bool:
    import huggingface_hub

    return not huggingface_hub.constants.HF_HUB_OFFLINE and huggingface_hub.get_token() is not None


def hub_folder(hub_id: str) -> Path | None:
    """Return the local snapshot of a hub model if it is complete, else None. Makes no network call."""
    import huggingface_hub

    try:
        folder = Path(huggingface_hub.snapshot_download(hub_id, local_files_only=True))
    except (OSError, ValueError):
        return None
    files = weight_files(folder)
    return folder if (folder / "config.json").is_file() and files and all(file.is_file() for file in files) else None


def find_prepared(source: ModelSource) -> Path | None:
    """Return the folder to load ``source`` from if it is ready, else None. Cheap: no hashing, no network."""
    if source.kind == "directory":
        return source.path
    if source.kind == "hub":
        return hub_folder(source.hub_id)
    for folder in sorted(paths.models_dir().glob("*/")):
        manifest = read_manifest(folder)
        if manifest is not None and _is_from(manifest.get("source", {}), source):
            return folder
    return None


def _is_from(recorded: dict[str, Any], source: ModelSource) -> bool:
    if source.kind == "embedded":
        return recorded.get("sha256") == EMBEDDED.sha256
    assert source.path is not None
    info = source.path.stat()
    known = (recorded.get("path"), recorded.get("size"), recorded.get("mtime_ns"))
    return known == (str(source.path), info.st_size, info.st_mtime_ns)


def prepare(source: ModelSource, progress: Progress, *, force: bool = False, floats: bool = False) -> Path:
    """Return the folder to load ``source`` from, prepared first if need be; with ``floats`` it keeps those as well.

    Several processes may call this at once: one works, the others wait for it. Raises MidfillError, and then
    leaves nothing half-written.
    """
    if not force and (folder := find_prepared(source)) is not None and not (floats and lacks_floats(folder)):
        if source.kind in ("embedded", "gguf"):
            _add_index(folder)
        return folder
    if source.kind == "directory":
        assert source.path is not None
        return source.path
    if source.kind == "hub":
        return _fetch(source.hub_id, progress)
    models = paths.private_dir(paths.models_dir())
    progress("waiting for another midfill that prepares this model", 0.0)
    with _lock(models / f".{source.name}.lock"):
        if force or (folder := find_prepared(source)) is None:
            return _prepare_gguf(source, models, progress, floats=floats)
        if floats and lacks_floats(folder):
            _add_floats(source, folder, models, progress)
        return folder


def lacks_floats(folder: Path) -> bool:
    """Whether ``folder`` was prepared only with the weights that serve on a CPU. Raises MidfillError."""
    return read_manifest(folder) is not None and not weight_files(folder)


def float_bytes(folder: Path) -> int:
    """Return the bytes that the weights of the model in ``folder`` take at sixteen bits each.
    Raises MidfillError, OSError."""
    if files := weight_files(folder):
        return sum(file.stat().st_size for file in files) * 16 // _bits(folder)
    return 2 * int((read_manifest(folder) or {}).get("parameters", 0))


def _bits(folder: Path) -> int:
    """Return the bits of a weight in the files of ``folder``. Raises MidfillError."""
    from midfill.engine.local.store.packed_checkpoint import packing_of

    try:
        packing = packing_of(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return 16  # loading reports what is wrong with it
    return 16 if packing is None else packing.bits


@contextlib.contextmanager
def float_files(folder: Path, progress: Progress) -> Iterator[list[Path]]:
    """Yield the files with the model's weights as floats: those of ``folder``, or, if it keeps none, files made from
    its source for as long as they are needed. Raises MidfillError."""
    if not lacks_floats(folder):
        yield weight_files(folder)
        return
    source = _source_of(folder)
    models = paths.private_dir(paths.models_dir())
    with _lock(models / f".{source.name}.lock"), _work(source, models) as work:
        _write_floats(source, work, progress)
        yield weight_files(work)


def _source_of(folder: Path) -> ModelSource:
    """Return the source that ``folder`` was prepared from. Raises MidfillError if that is gone or has changed."""
    manifest = read_manifest(folder) or {}
    origin, name = manifest.get("source", {}), str(manifest.get("name", folder.name))
    if origin.get("kind") == "embedded":
        return resolve("embedded")
    source = ModelSource("gguf", name, Path(str(origin.get("path", ""))))
    with contextlib.suppress(OSError):
        if _is_from(origin, source):
            return source
    raise MidfillError(
        f"{source.path}, of which {name} was made, is not there any more as it was", "name the model's present file"
    )


def _add_floats(source: ModelSource, folder: Path, models: Path, progress: Progress) -> None:
    """Put the weights as floats into a prepared ``folder``. The index that names them comes last."""
    with _work(source, models) as work:
        _write_floats(source, work, progress)
        manifest = dict(read_manifest(folder) or {})
        made = weight_files(work)
        for file in made:
            file.replace(folder / file.name)
        index = work / INDEX
        manifest["files"] = {**manifest["files"], **recorded([*(folder / file.name for file in made), index])}
        temporary = work / MANIFEST
        write_json(temporary, manifest)
        temporary.replace(folder / MANIFEST)
        index.replace(folder / INDEX)


def _write_floats(source: ModelSource, work: Path, progress: Progress) -> None:
    from midfill.engine.local.store.convert import write_floats

    need_space(work, _file_size(source) * 4)
    file = _gguf_of(source, work, progress)
    write_floats(file, work, progress)
    if source.kind == "embedded":
        file.unlink()


def _add_index(folder: Path) -> None:
    """Write the index of a folder that an earlier version prepared; if it cannot be written, the
    folder serves us without it."""
    single = folder / "model.safetensors"
    if (folder / INDEX).exists() or not single.is_file():
        return
    from safetensors import SafetensorError, safe_open

    with contextlib.suppress(OSError, SafetensorError), safe_open(single, framework="np") as tensors:
        write_index(folder, dict.fromkeys(tensors.keys(), single.name))


@contextlib.contextmanager
def _lock(file: Path) -> Iterator[None]:
    lock = FileLock(file)
    try:
        lock.acquire()
    except OSError as error:
        raise MidfillError(
            f"cannot write to {file.parent}: {error.strerror}", "set MIDFILL_CACHE_DIR elsewhere"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _file_size(source: ModelSource) -> int:
    return EMBEDDED.size if source.path is None else source.path.stat().st_size


def _gguf_of(source: ModelSource, work: Path, progress: Progress) -> Path:
    """Return the model's GGUF file; the embedded one is assembled in ``work``. Raises MidfillError."""
    if source.kind == "embedded":
        embedded.assemble(work / "model.gguf", progress)
        return work / "model.gguf"
    assert source.path is not None
    return source.path


def _prepare_gguf(source: ModelSource, models: Path, progress: Progress, *, floats: bool) -> Path:
    # At four to six bits per weight: the file, twice as much for eight-bit weights, four times for sixteen-bit weights.
    need_space(models, _file_size(source) * (6 if floats else 4))
    with _work(source, models) as work:
        file = _gguf_of(source, work, progress)
        if source.kind == "embedded":
            origin: dict[str, Any] = {"kind": "embedded", "sha256": EMBEDDED.sha256, "size": EMBEDDED.size}
        else:
            info = file.stat()
            origin = {"kind": "gguf", "path": str(file), "size": info.st_size, "mtime_ns": info.st_mtime_ns}
        out = work / "prepared"
        out.mkdir(mode=0o700)
        from midfill.engine.local.store.convert import convert_gguf

        figures = convert_gguf(file, out, progress, floats=floats)
        progress("checking what was prepared", 0.0)
        write_manifest(out, source.name, origin, figures)
        key = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:12]
        return _publish(out, models / f"{source.name}-{key}")


def _publish(folder: Path, target: Path) -> Path:
    if target.exists():  # damaged, of an older format, or forced: set aside, so that a reader keeps its open files
        target.rename(folder.parent / "old")
    folder.rename(target)
    return target


@contextlib.contextmanager
def _work(source: ModelSource, models: Path) -> Iterator[Path]:
    """Yield a folder beside the prepared ones, which is removed with its content at the
    end. The caller holds the lock."""
    folder = models / f".work-{source.name}"
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed preparation
    try:
        folder.mkdir(mode=0o700)
        yield folder
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = f"free some space on the disk of {folder.parent}, or set MIDFILL_CACHE_DIR to another one"
        raise MidfillError(f"preparing the model failed: {reason}", remedy) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def need_space(folder: Path, n_bytes: int) -> None:
    """Raise MidfillError if the disk of ``folder`` has less than ``n_bytes`` free."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise MidfillError(
            f"preparing the model needs {n_bytes / 1e9:.1f} GB on the disk of {folder}, {free / 1e9:.1f} GB are free",
            "free some space or set MIDFILL_CACHE_DIR to another disk",
        )


def fetch_adapter(hub_id: str) -> Path:
    """Return the folder of a PEFT adapter on the hub: its safetensors and JSON files. Raises MidfillError."""
    return _snapshot(hub_id, ["adapter_model.safetensors", "*.json"])


def _fetch(hub_id: str, progress: Progress) -> Path:
    progress(f"fetching {hub_id}", 0.0)
    folder = _snapshot(hub_id, ["*.safetensors", "*.safetensors.index.json", "*.json"])
    progress(f"fetching {hub_id}", 1.0)
    return folder


def _snapshot(hub_id: str, patterns: list[str]) -> Path:
    import huggingface_hub

    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise MidfillError(
            f"{hub_id} is not on this machine and HF_HUB_OFFLINE is set", "unset it, or choose another model"
        )
    try:
        return Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=patterns))
    except Exception as error:  # the hub client raises many kinds; all mean the same here
        kind = type(error).__name__
        remedy = 'check its name and your connection, or set model = "embedded"'
        if "Gated" in kind:
            remedy = f'accept the licence of {hub_id} on its page and log in (hf auth login), or set model = "embedded"'
        raise MidfillError(f"couldn't download the model {hub_id} ({kind})", remedy) from error
