"""Which model is meant, where it lies, and making it ready: once, whole, verified.

A *prepared* model is a folder that transformers could load as well: ``config.json``, ``model*.safetensors``,
``tokenizer.json``, and of ours ``int8.safetensors`` where the CPU can use it, and ``manifest.json`` with the sha256 of
each, written last. Folders appear by one rename. ``model.safetensors.index.json`` says which files are the model's:
without it vLLM and SGLang load every ``*.safetensors`` that they find.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from midfill import paths
from midfill.engine.local import embedded
from midfill.engine.local.embedded import EMBEDDED, Progress
from midfill.types import MidfillError

REFERENCE = "google/codegemma-7b"
REFERENCE_BYTES = 20 << 30  # bfloat16 weights, KV cache and workspace
MANIFEST = "manifest.json"
INDEX = "model.safetensors.index.json"
FORMAT = 4  # raised when a prepared folder's content changes meaning: older ones are made again


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A model as it is named, before it is prepared."""

    kind: Literal["embedded", "gguf", "directory", "hub"]
    name: str
    path: Path | None = None
    hub_id: str = ""


def resolve(spec: str) -> ModelSource:
    """What the setting ``model`` means. Raises MidfillError where nothing of that name can be there."""
    if spec == "embedded":
        return ModelSource("embedded", EMBEDDED.name)
    if spec == "auto":
        return ModelSource("hub", REFERENCE, hub_id=REFERENCE) if reference_is_usable() else resolve("embedded")
    # A path is written as one: what looks like a hub id never means a folder of the workspace we were started in.
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
    """The local snapshot of a hub model, if it is complete. Touches no network."""
    import huggingface_hub

    try:
        folder = Path(huggingface_hub.snapshot_download(hub_id, local_files_only=True))
    except (OSError, ValueError):
        return None
    files = weight_files(folder)
    return folder if (folder / "config.json").is_file() and files and all(file.is_file() for file in files) else None


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model: the index's, or the one, or all there are."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return [folder / name for name in sorted({Path(str(file)).name for file in index["weight_map"].values()})]
    except FileNotFoundError:
        single = folder / "model.safetensors"
        return [single] if single.is_file() else sorted(folder.glob("*.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MidfillError(
            f"the index of weights in {folder} is damaged", "fetch or prepare the model again"
        ) from error


def find_prepared(source: ModelSource) -> Path | None:
    """The folder to load ``source`` from, if it is ready. Cheap: no hashing, no network."""
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


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a prepared folder of the present format, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files, source = manifest.get("files", {}), manifest.get("source", {})
        sound = all(type(entry["size"]) is int and isinstance(entry["sha256"], str) for entry in files.values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    sound = sound and isinstance(manifest.get("name", ""), str) and isinstance(source, dict)
    return manifest if sound and manifest.get("format") == FORMAT else None


def prepare(source: ModelSource, progress: Progress, *, force: bool = False) -> Path:
    """The folder to load ``source`` from, made ready first if need be.

    Several processes may call this at once: one works, the others wait for it. Raises MidfillError, and leaves
    nothing half-written.
    """
    if not force and (folder := find_prepared(source)) is not None:
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
        if not force and (folder := find_prepared(source)) is not None:
            return folder
        return _prepare_gguf(source, models, progress)


def write_index(folder: Path, where: Mapping[str, str]) -> None:
    """Say which file of ``folder`` holds each tensor of the model. It appears by one rename. Raises OSError."""
    temporary = folder / f".{INDEX}.{os.getpid()}"
    temporary.write_text(json.dumps({"metadata": {}, "weight_map": dict(sorted(where.items()))}), encoding="utf-8")
    temporary.replace(folder / INDEX)


def _add_index(folder: Path) -> None:
    """Give a folder that an earlier version prepared its index; one that cannot be written serves us without it."""
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


def _prepare_gguf(source: ModelSource, models: Path, progress: Progress) -> Path:
    file_size = EMBEDDED.size if source.path is None else source.path.stat().st_size
    # At four to six bits a weight: the file, and of it four times as much in sixteen-bit and eight-bit weights.
    work_folder = models / f".work-{source.name}"
    shutil.rmtree(work_folder, ignore_errors=True)  # what a killed preparation left: we hold the lock
    need_space(models, file_size * 5)
    with _working_in(work_folder) as work:
        if source.kind == "embedded":
            file = work / "model.gguf"
            embedded.assemble(file, progress)
            origin: dict[str, Any] = {"kind": "embedded", "sha256": EMBEDDED.sha256, "size": EMBEDDED.size}
        else:
            assert source.path is not None
            file = source.path
            info = file.stat()
            origin = {"kind": "gguf", "path": str(file), "size": info.st_size, "mtime_ns": info.st_mtime_ns}
        out = work / "prepared"
        out.mkdir(mode=0o700)
        from midfill.engine.local.convert import convert_gguf

        write_manifest(out, source.name, origin, convert_gguf(file, out, progress))
        key = hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:12]
        return _publish(out, models / f"{source.name}-{key}")


def write_manifest(folder: Path, name: str, origin: dict[str, Any], figures: dict[str, Any]) -> None:
    """Record size and sha256 of every file of ``folder``, and sync all of it to the disk. The manifest comes last."""
    files = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as stream:
            files[file.name] = {
                "size": file.stat().st_size,
                "sha256": hashlib.file_digest(stream, "sha256").hexdigest(),
            }
            os.fsync(stream.fileno())
    manifest = {"format": FORMAT, "name": name, "source": origin, **figures, "files": files}
    with (folder / MANIFEST).open("w", encoding="utf-8") as out:
        json.dump(manifest, out, indent=1)
        out.flush()
        os.fsync(out.fileno())


def _publish(folder: Path, target: Path) -> Path:
    if target.exists():  # damaged, of an older format, or forced: set aside, so that a reader keeps its open files
        target.rename(folder.parent / "old")
    folder.rename(target)
    return target


@contextlib.contextmanager
def _working_in(folder: Path) -> Iterator[Path]:
    """Make ``folder``, and remove it with all that is left in it."""
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
    """Raises MidfillError where the disk of ``folder`` has less than ``n_bytes`` free."""
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise MidfillError(
            f"preparing the model needs {n_bytes / 1e9:.1f} GB on the disk of {folder}, {free / 1e9:.1f} GB are free",
            "free some space or set MIDFILL_CACHE_DIR to another disk",
        )


def fetch_adapter(hub_id: str) -> Path:
    """The folder of a PEFT adapter on the hub: its safetensors and JSON files. Raises MidfillError."""
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
        remedy = 'check the network, or set model = "embedded"'
        if "Gated" in kind:
            remedy = f'accept the licence of {hub_id} on its page and log in (hf auth login), or set model = "embedded"'
        raise MidfillError(f"cannot fetch {hub_id} ({kind})", remedy) from error
