"""A LoRA adapter's files as they are on disk, in PEFT's format: their facts, checked. No torch here."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midfill.types import MidfillError

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
MAX_CONFIG_BYTES, MAX_WEIGHTS_BYTES = 1 << 20, 4 << 30
MAX_HEADER_BYTES = 16 << 20
MAX_RANK = 1024
PLAIN_INITS = (True, False, None, "gaussian", "orthogonal", "eva")
KEY = re.compile(r"base_model\.model\.(?P<module>[\w.]{1,300})\.lora_(?P<side>[AB])(?:\.default)?\.weight")
_SUFFIXES = re.compile(r"-(instruct|base|it|gguf|awq|gptq|hf|q\d\w*)$")

Signature = tuple[tuple[int, int, int, int] | None, ...]


def signature(folders: Iterable[Path]) -> Signature:
    """Return a value that changes as soon as one of the files in ``folders`` is replaced or written to; costs
    two calls to the file system for each folder."""
    return tuple(_signature(folder / name) for folder in folders for name in (CONFIG_FILE, WEIGHTS_FILE))


def digest_of(digests: Iterable[str]) -> str:
    """Return the digest of a sum of adapters, whose order counts; that of a single one is its own."""
    several = list(digests)
    return several[0] if len(several) == 1 else hashlib.sha256("+".join(several).encode()).hexdigest()


def _signature(file: Path) -> tuple[int, int, int, int] | None:
    try:
        info = file.stat()
    except OSError:
        return None
    return info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_ino


def refusal(folder: Path, reason: str, remedy: str) -> MidfillError:
    """Return the error for a problem of ``folder``."""
    return MidfillError(f"adapter {folder.name} cannot be used: {reason}", remedy)


def check_regular(folder: Path, name: str, limit: int) -> int:
    """Return the size in bytes of a plain file inside ``folder``: no pipe that would block, no link out
    of the folder, no absurd size.

    Raises MidfillError for anything else.
    """
    file = folder / name
    try:
        info = file.stat()
        inside = file.resolve(strict=True).is_relative_to(folder.resolve(strict=True))
    except (OSError, ValueError):
        raise refusal(folder, f"{name} is missing", "the folder must hold a PEFT adapter") from None
    if not stat.S_ISREG(info.st_mode) or not inside:
        raise refusal(folder, f"{name} is not a plain file in the folder", "copy the file itself there")
    if info.st_size > limit:
        raise refusal(folder, f"{name} is larger than {limit >> 20} MiB", "that is no LoRA adapter")
    return info.st_size


def read_config(folder: Path) -> tuple[bytes, dict[str, Any]]:
    """Return ``adapter_config.json`` as bytes and as its content, checked. Raises MidfillError."""
    check_regular(folder, CONFIG_FILE, MAX_CONFIG_BYTES)
    try:
        with (folder / CONFIG_FILE).open("rb") as stream:
            raw = stream.read(MAX_CONFIG_BYTES)
    except OSError as error:
        raise refusal(folder, f"{CONFIG_FILE}: {error.strerror}", "make it readable") from error
    return raw, _parse_config(folder, raw)


def _parse_config(folder: Path, raw: bytes) -> dict[str, Any]:
    try:
        config = json.loads(raw)
    except (ValueError, RecursionError):
        raise refusal(folder, f"{CONFIG_FILE} is not JSON", "save the adapter again with PEFT") from None
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise refusal(folder, "it is not a LoRA adapter", "midfill serves PEFT adapters of type LORA")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not 1 <= rank <= MAX_RANK:
        raise refusal(folder, f"rank {str(rank)[:20]} is not a number from 1 to {MAX_RANK}", "train it again")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not 0 < alpha <= 1e6:
        raise refusal(folder, f"lora_alpha {str(alpha)[:20]} is not sensible", "train it again")
    if type(config.get("use_rslora", False)) not in (bool, type(None)):
        raise refusal(
            folder, f"use_rslora = {str(config['use_rslora'])[:40]} is neither true nor false", f"mend {CONFIG_FILE}"
        )
    for key, plain in (
        ("use_dora", False), ("modules_to_save", None), ("bias", "none"), ("fan_in_fan_out", False),
        ("lora_bias", False), ("trainable_token_indices", None), ("target_parameters", None),
        ("layer_replication", None), ("alora_invocation_tokens", None), ("use_qalora", False), ("use_bdlora", None),
        ("monteclora_config", None), ("arrow_config", None), ("kasa_config", None), ("velora_config", None),
    ):  # fmt: skip
        if config.get(key, plain) not in (plain, None, False, [], {}):
            raise refusal(folder, f"{key} = {str(config[key])[:40]} is not supported", f"train with {key} = {plain}")
    if config.get("init_lora_weights", True) not in PLAIN_INITS:  # the others change the base's own weights as well
        raise refusal(
            folder,
            f"init_lora_weights = {str(config['init_lora_weights'])[:40]} changes the base",
            "save it with path_initial_model_for_weight_conversion, which makes a plain LoRA of it",
        )
    return config


def is_same_base(a: str, b: str) -> bool:
    """Whether two recorded names mean the same base; an adapter that records none fits any."""
    return not a or not b or _plain_name(a) == _plain_name(b)


def check_base(folder: Path, recorded: str, base_names: Iterable[str]) -> None:
    """Check that ``recorded`` is one of ``base_names``. Raises MidfillError."""
    if recorded and _plain_name(recorded) not in {_plain_name(name) for name in base_names}:
        raise refusal(
            folder,
            f"it was trained on {recorded[:100]}, another base than the engine's",
            f"set model to {recorded[:100]}; if both are the same model, mend base_model_name_or_path in {CONFIG_FILE}",
        )


def _plain_name(name: str) -> str:
    """``Qwen/Qwen2.5-Coder-0.5B-Instruct`` and a prepared folder's ``qwen2.5-coder-0.5b-1a2b3c4d5e6f`` are one base."""
    plain = name.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1].lower()
    plain = re.sub(r"-[0-9a-f]{12}$", "", plain)
    while (shorter := _SUFFIXES.sub("", plain)) != plain:
        plain = shorter
    return plain


@dataclass(frozen=True, slots=True)
class AdapterSummary:
    """The facts in an adapter's files."""

    rank: int
    alpha: float
    base: str
    targets: tuple[str, ...]  # the kinds of layers it adapts
    n_layers: int  # linear layers
    parameters: int
    size: int  # bytes of the weights' file
    digest: str  # of config and weights, as the engine computes it


def describe(folder: Path) -> AdapterSummary:
    """Return the facts of the adapter in ``folder``, for any model. Raises MidfillError."""
    raw, config = read_config(folder)
    size = check_regular(folder, WEIGHTS_FILE, MAX_WEIGHTS_BYTES)
    digest, modules, parameters = hashlib.sha256(raw), set[str](), 0
    try:
        with (folder / WEIGHTS_FILE).open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(MAX_HEADER_BYTES, size):
                raise ValueError
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            for key in sorted(header):
                start, end = header[key]["data_offsets"]
                if not 0 <= start <= end <= size - 8 - length:
                    raise ValueError
                stream.seek(8 + length + start)
                digest.update(key.encode())
                digest.update(stream.read(end - start))
                n = 1
                for extent in header[key]["shape"]:
                    n *= int(extent)
                parameters += n
                if match := KEY.fullmatch(key):
                    modules.add(match["module"])
    except OSError as error:
        raise refusal(folder, f"{WEIGHTS_FILE}: {error.strerror}", "make it readable") from error
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise refusal(folder, f"{WEIGHTS_FILE} is not a valid safetensors file", "save it again with PEFT") from None
    targets = tuple(sorted({module.rpartition(".")[2] for module in modules}))
    base = str(config.get("base_model_name_or_path") or "")
    return AdapterSummary(
        config["r"], float(config["lora_alpha"]), base, targets, len(modules), parameters, size, digest.hexdigest()
    )
