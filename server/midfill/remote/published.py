"""Adapters under names that never change their meaning: ``NAME@sha12/``, and a pointer that says which of them NAME is
now.

An engine that caches prompts by an adapter's name would continue with the old adapter's cache if another adapter came
under the same name. The folder is the one that vLLM's filesystem resolver looks into: a new adapter is served at its
first request, if ``base_model_name_or_path`` in its configuration is the very name that vLLM was started with.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from midfill import paths
from midfill.adapter_names import ADAPTER_NAME, RESERVED_ADAPTERS
from midfill.engine.base import AdapterMissingError
from midfill.engine.local.lora.files import CONFIG_FILE, WEIGHTS_FILE
from midfill.types import MidfillError

FILES = (CONFIG_FILE, WEIGHTS_FILE)
POINTER = ".midfill.json"  # appended to a name
N_DIGITS = 12
DRAIN_S = 24 * 3600.0  # an earlier version stays this long: windows and requests may still name it
MAX_EARLIER = 20
LOOK_S = 2.0  # a pointer is read again after this long
MAX_POINTER_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Pointer:
    """What NAME is now. ``earlier``: what it was before, the latest first, with the time when it was replaced."""

    current: str
    base: str = ""
    revision: str = ""
    template: str = ""
    earlier: tuple[tuple[str, float], ...] = field(default=())


def publish(
    name: str, source: Path, folder: Path, *, base: str = "", revision: str = "", template: str = ""
) -> Pointer:
    """Copy ``source`` to ``folder/NAME@sha12`` by one rename and point NAME to it. Raises MidfillError.

    ``base``, ``revision`` and ``template`` are what the adapter was trained for; if they are not given, its card's are
    used. A later version must have the same base and template.
    """
    if not re.fullmatch(ADAPTER_NAME, name) or name in RESERVED_ADAPTERS:
        raise MidfillError(
            f"{name!r} is not a valid adapter name", "letters, digits, dot, dash, underscore, at most 64"
        )
    card = _card(source)
    base, revision = base or card["base"], revision or card["revision"]
    template = template or card["template"]
    full = f"{name}@{_digest(source, base, revision, template)}"
    folder.mkdir(parents=True, exist_ok=True)
    before = read_pointer(name, folder)
    for what, was, now in (
        ("an adapter of", before.base if before else "", base),
        ("for template", before.template if before else "", template),
    ):
        if was and now and was != now:
            raise MidfillError(f"{name} is {what} {was}, not {now}", "publish it under another name")
    _copy(source, folder / full, {"base": base, "revision": revision, "template": template})
    earlier = before.earlier if before is not None else ()
    if before is not None and before.current != full:
        earlier = ((before.current, time.time()), *earlier)
    earlier = tuple(entry for entry in earlier if entry[0] != full)[:MAX_EARLIER]
    pointer = Pointer(full, base, revision, template, earlier)
    _write(name, folder, pointer)
    return pointer


def roll_back(name: str, folder: Path) -> Pointer:
    """Point NAME to its previous version; nothing is copied. Raises MidfillError."""
    pointer = read_pointer(name, folder)
    if pointer is None:
        raise MidfillError(f"{folder} has no adapter {name!r}", "publish it first")
    there = [entry for entry in pointer.earlier if (folder / entry[0]).is_dir()]
    if not there:
        raise MidfillError(f"adapter {name} has no earlier version in {folder}", "publish another one")
    back, rest = there[0][0], tuple(entry for entry in there[1:])
    facts = _facts(folder / back)
    earlier = (*rest, (pointer.current, time.time()))  # rolled back from: the next roll-back does not mean this one
    turned = Pointer(back, facts["base"], facts["revision"], facts["template"], earlier)
    _write(name, folder, turned)
    return turned


def drain(name: str, folder: Path, *, older_than_s: float = DRAIN_S) -> list[str]:
    """Remove the versions that NAME has not had for ``older_than_s``; return their names. Raises MidfillError."""
    pointer = read_pointer(name, folder)
    if pointer is None:
        raise MidfillError(f"{folder} has no adapter {name!r}", "publish it first")
    gone = [full for full, at in pointer.earlier if time.time() - at >= older_than_s and full != pointer.current]
    left = tuple(entry for entry in pointer.earlier if entry[0] not in gone)
    _write(name, folder, Pointer(pointer.current, pointer.base, pointer.revision, pointer.template, left))
    for full in gone:
        shutil.rmtree(folder / full, ignore_errors=True)
    return gone


def read_pointer(name: str, folder: Path) -> Pointer | None:
    """Return what NAME is; None if the folder does not have it. Raises MidfillError for a damaged pointer."""
    file = folder / (name + POINTER)
    try:
        content = json.loads(file.read_bytes()[:MAX_POINTER_BYTES])
        current = content["current"]
        if not isinstance(current, str) or not re.fullmatch(rf"{re.escape(name)}@[0-9a-f]{{{N_DIGITS}}}", current):
            raise ValueError("current")
        texts = {key: str(content.get(key, "")) for key in ("base", "revision", "template")}
        earlier = tuple((str(full), float(at)) for full, at in content.get("earlier", ()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MidfillError(f"{file} is damaged", f"publish {name} again") from error
    sound = tuple(entry for entry in earlier if re.fullmatch(rf"{re.escape(name)}@[0-9a-f]+", entry[0]))
    return Pointer(current, earlier=sound, **texts)


class Pointers:
    """Follows the pointers of a folder; without a folder, names are the engines' own."""

    def __init__(self, folder: str, bases: Sequence[str] = (), template: str = "") -> None:
        """``bases``: names of the served model; ``template``: that of the prompts."""
        self._folder = paths.expanded(folder) if folder else None
        self._bases, self._template = [base for base in bases if base], template
        self._known: dict[str, tuple[float, Pointer | MidfillError | None]] = {}

    def resolve(self, name: str) -> str:
        """Return the engines' name for NAME now. Raises AdapterMissingError if it cannot be used, with the reason."""
        if self._folder is None or "@" in name:
            return name
        at, found = self._known.get(name, (0.0, None))
        if time.monotonic() - at >= LOOK_S or not at:
            try:
                found = read_pointer(name, self._folder)
            except MidfillError as error:
                found = error
            self._known[name] = (time.monotonic(), found)
        if isinstance(found, MidfillError):
            raise AdapterMissingError(found.message, found.remedy)
        if found is None:
            raise AdapterMissingError(f"{self._folder} has no adapter {name!r}", "run: midfill adapters publish")
        if (misfit := self._misfit(name, found)) is not None:
            raise misfit
        return found.current

    def _misfit(self, name: str, pointer: Pointer) -> AdapterMissingError | None:
        if pointer.template and self._template and pointer.template != self._template:
            message = f"adapter {name} was trained for template {pointer.template}, not {self._template}"
            return AdapterMissingError(message, f'set template = "{pointer.template}", or adapter = "none"')
        if pointer.base and self._bases and not any(same_base(pointer.base, base) for base in self._bases):
            message = f"adapter {name} is of {pointer.base}, and {self._bases[0]} is served"
            return AdapterMissingError(message, 'serve its base, or set adapter = "none"')
        return None


def same_base(one: str, other: str) -> bool:
    """Whether two names may be the same base: the last part of a path or of a hub name, ignoring case."""
    return one.rstrip("/").rpartition("/")[2].lower() == other.rstrip("/").rpartition("/")[2].lower()


def _digest(source: Path, base: str, revision: str, template: str) -> str:
    digest = hashlib.sha256(json.dumps([base, revision, template]).encode())
    try:
        for name in FILES:
            with (source / name).open("rb") as stream:
                digest.update(name.encode() + hashlib.file_digest(stream, "sha256").digest())
    except OSError as error:
        raise MidfillError(f"{source} is no adapter: {error.strerror}", f"it has {' and '.join(FILES)}") from error
    return digest.hexdigest()[:N_DIGITS]


def _card(source: Path) -> dict[str, str]:
    """Return what the adapter was trained for, according to its own files."""
    found = {"base": "", "revision": "", "template": ""}
    for name, keys in (
        (CONFIG_FILE, {"base": "base_model_name_or_path", "revision": "revision"}),
        ("midfill.json", {"base": "base", "revision": "base_revision", "template": "template"}),
    ):
        with contextlib.suppress(OSError, ValueError, RecursionError):
            content = json.loads((source / name).read_text(encoding="utf-8"))
            found |= {
                key: value
                for key, its in keys.items()
                if isinstance(content, dict) and isinstance(value := content.get(its), str) and value
            }
    return found


def _facts(folder: Path) -> Mapping[str, str]:
    try:
        content = json.loads((folder / "published.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = {}
    return {key: str(content.get(key, "")) for key in ("base", "revision", "template")}


def _copy(source: Path, target: Path, facts: Mapping[str, str]) -> None:
    """Make a folder that appears as a whole; if it exists, it has the same content."""
    if target.is_dir():
        return
    work = Path(tempfile.mkdtemp(prefix=".publish-", dir=target.parent))
    try:
        for name in (*FILES, "midfill.json", "README.md"):
            if name in FILES or (source / name).is_file():
                shutil.copyfile(source / name, work / name)
        _name_base(work / CONFIG_FILE, facts["base"])
        (work / "published.json").write_text(json.dumps(dict(facts)), encoding="utf-8")
        work.chmod(0o755)  # engines read it as another user
        work.rename(target)
    except OSError as error:
        if target.is_dir():
            return  # another publisher was faster
        raise MidfillError(f"cannot write {target}: {error.strerror}", "nothing was changed") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _name_base(file: Path, base: str) -> None:
    """Write the engine's name of the base into an adapter's configuration: vLLM compares the two."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if base and content.get("base_model_name_or_path") != base:
            file.write_text(json.dumps({**content, "base_model_name_or_path": base}, indent=2), encoding="utf-8")
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise MidfillError(f"{file.name} is damaged", "export the adapter again") from error


def _write(name: str, folder: Path, pointer: Pointer) -> None:
    file = folder / (name + POINTER)
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    content: dict[str, Any] = asdict(pointer)
    try:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        raise MidfillError(f"cannot write {file}: {error.strerror}", "nothing was changed") from error


def listed(folder: Path) -> Sequence[tuple[str, Pointer]]:
    """Return every name of the folder and what it is."""
    names = sorted(file.name.removesuffix(POINTER) for file in folder.glob(f"*{POINTER}"))
    return [(name, pointer) for name in names if (pointer := read_pointer(name, folder)) is not None]
