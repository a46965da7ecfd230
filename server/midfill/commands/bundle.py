"""``midfill doctor --bundle``: what is needed to understand an issue, and nothing of the user's.

Everything in the report is a number, a version, or a word from midfill's own source: settings whose value is one of
ours, and lines of the log as the program's text without the values filled in. So it holds no code, path, name or key,
wherever one turns up.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import functools
import json
import os
import platform
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from midfill import __version__, config, config_files, paths, records
from midfill.commands import doctor
from midfill.types import MidfillError

PACKAGES = ("pygls", "lsprotocol", "tokenizers", "httpx", "starlette", "uvicorn", "tree-sitter", "torch",
            "transformers", "safetensors", "gguf", "numba", "peft", "bitsandbytes", "optimum-quanto")  # fmt: skip
VARIABLES = ("MIDFILL_CONFIG", *(f"MIDFILL_{name}_DIR" for name in ("CONFIG", "CACHE", "DATA", "STATE", "RUNTIME")),
             "MIDFILL_DEBUG_METHODS", "MIDFILL_SCRIPT", "PYTHONPATH", "XDG_RUNTIME_DIR", "HF_HOME",
             "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")  # fmt: skip
WORDS = frozenset({
    "", "auto", "none", "embedded", "cpu", "cuda", "mps", "xpu",
    *(choice for setting in config.SETTINGS.values() for choice in setting.choices),
})  # fmt: skip
MAX_LOG_BYTES = 200_000  # bytes from the end of each log
MAX_KINDS = 20
_VERSION = re.compile(r"[0-9][0-9a-z.+]{0,40}")
_LINE = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ \d+ (DEBUG|INFO|WARNING|ERROR|CRITICAL) \S+: (.*)")
_ERROR = re.compile(r"([A-Z]\w+)(?::|$)")


def run(file: str | None) -> int:
    """Print the report, or write it to ``file``; return 0. Raises MidfillError if it cannot be written."""
    if file is None:
        print("\n".join(report()))
        return 0
    try:
        with Path(file).open("a", encoding="utf-8") as stream:  # before the work, which takes seconds
            text = "\n".join(report()) + "\n"
            stream.truncate(0)
            stream.write(text)
    except OSError as error:
        raise MidfillError(f"cannot write the report: {error.strerror}", "name another file") from error
    print("written: versions, settings, states and figures; no code, no paths. Read it before you send it.")
    return 0


def report() -> Iterator[str]:
    """Return the lines of the report; a part that fails says so, and the next one follows."""
    parts = (_versions, _machine, _settings, _findings, _records, _trace, _logs)
    for part in parts:
        yield f"## {part.__name__.strip('_')}"
        try:
            yield from part()
        except Exception as error:  # noqa: BLE001 - a report about an illness must not die of it
            yield f"failed: {type(error).__name__}"
        yield ""


def _versions() -> Iterator[str]:
    yield f"midfill {__version__}"
    yield f"python {platform.python_version()} {platform.python_implementation()}"
    for name in PACKAGES:
        found = doctor._version(name)
        yield f"{name} {found if _VERSION.fullmatch(found) else 'missing' if not found else 'another version'}"


def _machine() -> Iterator[str]:
    release = re.match(r"\d+(\.\d+)*", platform.release())
    yield f"{_known(sys.platform, ('linux', 'darwin', 'win32'))} {release.group() if release else ''}".strip()
    yield _known(platform.machine(), ("x86_64", "AMD64", "aarch64", "arm64"))
    yield f"{os.cpu_count()} processors"
    with_pages = hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names
    if with_pages:
        yield f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1e9:.0f} GB of memory"
    set_here = [name for name in VARIABLES if os.environ.get(name)]
    yield f"set: {', '.join(set_here) or 'no variable'}"


def _settings() -> Iterator[str]:
    try:
        mine = config_files.load_user()
    except MidfillError:
        yield "the file is refused"
        return
    for field in dataclasses.fields(config.Config):
        value = getattr(mine, field.name)
        mark = "" if value == getattr(config.DEFAULT, field.name) else " (changed)"
        yield f"{field.name} = {_setting(value)}{mark}"


def _setting(value: object) -> str:
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, tuple):
        known = [str(entry) for entry in value if entry in WORDS]
        return f"[{', '.join(known)}] and {len(value) - len(known)} more" if len(known) < len(value) else f"{known}"
    return json.dumps(value) if value in WORDS else "a value of the user's"


def _findings() -> Iterator[str]:
    """Return the state of each of the doctor's checks. Its sentences hold paths, so they are left out."""
    for finding in doctor.examine():
        yield f"{finding.state}: {finding.what}"


def _records() -> Iterator[str]:
    rows = records.rows(7)
    yield f"{len(rows)} suggestions in 7 days"
    for outcome, n in Counter(str(row["outcome"]) for row in rows).most_common():
        yield f"{_known(outcome, ('accepted', 'partial', 'typed', 'rejected', '')) or 'unknown'}: {n}"
    for name in ("latency_s", "ttft_s", "n_prompt", "n_decoded"):
        values = sorted(float(row[name]) for row in rows if isinstance(row[name], int | float))
        if values:
            yield f"{name}: median {statistics.median(values):.3f}, p95 {values[int(0.95 * (len(values) - 1))]:.3f}"


def _trace() -> Iterator[str]:
    trace = records.last_trace() or {}
    yield from _figures(trace)
    for name in ("refused", "hit", "scope", "finish_reason"):
        if (value := trace.get(name)) in _literals():
            yield f"{name}: {value}"


def _figures(values: Mapping[str, Any]) -> Iterator[str]:
    """Return the numbers under names of ours."""
    for name, value in values.items():
        if name in _literals() or name in _names():
            if isinstance(value, bool | int | float):
                yield f"{name}: {value:.4g}"
            elif isinstance(value, dict):
                yield from _figures(value)


def _logs() -> Iterator[str]:
    folder = paths.state_dir() / "log"
    for name in ("lsp.log", "engine.log"):
        file = folder / name
        if not file.is_file():
            yield f"{name}: not there"
            continue
        age_h = (time.time() - file.stat().st_mtime) / 3600
        yield f"{name}: {file.stat().st_size} bytes, written {age_h:.1f} h ago"
        for kind, n in _kinds(_end_of(file)):
            yield f"  {n} x {kind}"


def _end_of(file: Path) -> list[str]:
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - MAX_LOG_BYTES))
        return stream.read(MAX_LOG_BYTES).decode("utf-8", "replace").splitlines()


def _kinds(lines: Iterable[str]) -> list[tuple[str, int]]:
    """Count the lines of a log by the program's text, the most frequent first."""
    found: Counter[str] = Counter()
    for line in lines:
        match = _LINE.match(line)
        if match is not None:
            found[f"{match.group(1)} {_kind(match.group(2))}"] += 1
        elif (error := _ERROR.match(line)) is not None and hasattr(builtins, error.group(1)):
            found[error.group(1)] += 1
    return found.most_common(MAX_KINDS)


def _kind(message: str) -> str:
    """Return our text that ``message`` was made of, with the names of Python's exceptions in it."""
    for pattern, text in _formats():
        if pattern.fullmatch(message):
            errors = [word for word in re.findall(r"[A-Z]\w+", message) if _is_error(word)]
            return " ".join([text, *(f"[{error}]" for error in errors)])
    return "another message"


def _is_error(word: str) -> bool:
    kind = getattr(builtins, word, None)
    return isinstance(kind, type) and issubclass(kind, BaseException)


def _known(word: str, words: Iterable[str]) -> str:
    return word if word in words else "another"


@functools.cache
def _formats() -> list[tuple[re.Pattern[str], str]]:
    """Return what the program logs, the longest text first: "%s failed: %s" as a pattern and as it stands in the
    source."""
    texts = {node.args[0].value for node in _calls() if isinstance(node.args[0], ast.Constant)}
    made = []
    for text in sorted((text for text in texts if isinstance(text, str)), key=len, reverse=True):
        parts = re.split(r"%(?:\.\d+)?[sdrf]", text)
        if any(re.search(r"\w", part) for part in parts):
            made.append((re.compile(".*".join(map(re.escape, parts)), re.DOTALL), text))
    return made


def _calls() -> Iterator[ast.Call]:
    for tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id == "log":
                    yield node


@functools.cache
def _literals() -> frozenset[str]:
    """Return every quoted word in midfill's source."""
    nodes = (node for tree in _trees() for node in ast.walk(tree))
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


@functools.cache
def _names() -> frozenset[str]:
    """Return every field of midfill's classes."""
    nodes = (node for tree in _trees() for node in ast.walk(tree) if isinstance(node, ast.AnnAssign))
    return frozenset(node.target.id for node in nodes if isinstance(node.target, ast.Name))


@functools.cache
def _trees() -> tuple[ast.Module, ...]:
    sources = Path(__file__).parents[1].rglob("*.py")
    return tuple(ast.parse(source.read_text(encoding="utf-8")) for source in sources)
