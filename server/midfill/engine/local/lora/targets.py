"""The modules that an adapter's ``adapter_config.json`` names, as PEFT reads it. Standard library only.

A name or a list of names is compared with the ends of the modules' paths. A string is a regular expression, written by
a stranger: it is bounded in length and nesting and runs in a child process (this file as a script) that is ended when
it takes too long, since a few characters can keep ``re`` busy for years while it holds Python's lock.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ALL_LINEAR = "all-linear"
MAX_NAMES, MAX_NAME_CHARS = 4096, 300
MAX_PATTERN_CHARS, MAX_NESTING = 1000, 12
CPU_S = 2  # seconds of processor time for all modules of a model
PATTERN_S = 20.0  # longest time by the clock: the machine may be busy, or have no limit of processor time
MAX_MEMORY = 512 << 20  # of the child: counted repetitions are compiled by copying


def targets(config: Mapping[str, Any], names: Sequence[str], linear: Iterable[str]) -> set[str]:
    """Return those of ``names`` that ``config`` targets. ``linear``: the meaning of "all-linear".

    Raises ValueError with the reason if PEFT could not read the settings or they exceed the bounds.
    """
    check(config)
    wanted = config["target_modules"]
    if isinstance(wanted, str) and wanted.lower() == ALL_LINEAR:
        config = {**config, "target_modules": sorted(linear)}
    plain = {key: config.get(key) for key in _KEYS}
    if not any(_patterns(plain)):
        return set(matching(plain, names))
    command = [sys.executable, "-I", "-S", str(Path(__file__).resolve())]
    try:
        answer = subprocess.run(  # noqa: S603 - our own interpreter and file
            command, input=json.dumps({"config": plain, "names": list(names)}), capture_output=True, text=True,
            timeout=PATTERN_S, check=True,
        )  # fmt: skip
        return set(json.loads(answer.stdout))
    except (OSError, ValueError, subprocess.SubprocessError):
        raise ValueError("one of its regular expressions is invalid or takes too long") from None


_KEYS = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")


def check(config: Mapping[str, Any]) -> None:
    """Raise ValueError with the reason if a setting has another kind than PEFT's, or is too large."""
    wanted, layers, pattern = (config.get(key) for key in ("target_modules", "layers_to_transform", "layers_pattern"))
    if not (isinstance(wanted, str) or _is_names(wanted)) or not wanted:
        raise ValueError("target_modules is neither a list of names nor an expression")
    if not (config.get("exclude_modules") is None or isinstance(config["exclude_modules"], str)
            or _is_names(config["exclude_modules"])):  # fmt: skip
        raise ValueError("exclude_modules is neither a list of names nor an expression")
    indexes = layers if isinstance(layers, list) else [] if layers is None else [layers]
    if len(indexes) > MAX_NAMES or any(type(index) is not int for index in indexes):
        raise ValueError("layers_to_transform is not a list of numbers")
    if not (pattern is None or isinstance(pattern, str) or _is_names(pattern)):
        raise ValueError("layers_pattern is neither a name nor a list of names")
    if isinstance(wanted, str) and (indexes or pattern):
        raise ValueError("layers_to_transform and layers_pattern go with a list of target_modules")
    if pattern and not indexes:
        raise ValueError("layers_pattern goes with layers_to_transform")
    for expression in _patterns(config):
        if len(expression) > MAX_PATTERN_CHARS:
            raise ValueError(f"one of its regular expressions is longer than {MAX_PATTERN_CHARS} characters")
        if _nesting(expression) > MAX_NESTING:
            raise ValueError(f"one of its regular expressions is nested deeper than {MAX_NESTING}")


def _is_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) <= MAX_NAMES
        and all(isinstance(name, str) and len(name) <= MAX_NAME_CHARS for name in value)
    )


def _patterns(config: Mapping[str, Any]) -> list[str]:
    """Return the settings that would run as regular expressions; plain words of ``layers_pattern`` are none."""
    found = [config.get(key) for key in ("target_modules", "exclude_modules")]
    layers = config.get("layers_pattern")
    found += [layers] if isinstance(layers, str) else layers or []
    whole = [value for value in found[:2] if isinstance(value, str) and value]
    return whole + [value for value in found[2:] if isinstance(value, str) and not re.fullmatch(r"\w*", value)]


def _nesting(expression: str) -> int:
    """Return the depth of nested groups; an escaped or bracketed parenthesis counts as well,
    which errs on the safe side."""
    depth = deepest = 0
    for char in expression:
        depth = depth + 1 if char == "(" else max(0, depth - 1) if char == ")" else depth
        deepest = max(deepest, depth)
    return deepest


def matching(config: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that ``config`` targets. Raises re.error."""
    wanted, left_out = config["target_modules"], config.get("exclude_modules")
    return [
        name
        for name in names
        if not (left_out and _names(left_out, name)) and _names(wanted, name) and _in_layers(config, name)
    ]


def _names(wanted: str | list[str], name: str) -> bool:
    if isinstance(wanted, str):
        return re.fullmatch(wanted, name) is not None
    return name in wanted or name.endswith(tuple(f".{end}" for end in wanted))


def _in_layers(config: Mapping[str, Any], name: str) -> bool:
    """Whether ``name`` is in one of the chosen layers; a name written in full needs no choice."""
    indexes = config.get("layers_to_transform")
    wanted = config["target_modules"]
    if indexes is None or indexes == [] or isinstance(wanted, str) or name in wanted:
        return True
    patterns = config.get("layers_pattern") or []
    patterns = [patterns] if isinstance(patterns, str) else patterns
    starts = [rf"(?:^|.*?\.){pattern}" for pattern in patterns] or [r".*?\.[^.]*"]
    tries = (re.match(rf"{start}\.(?P<idx>\d+)\.", name) for start in starts)
    found = next((match for match in tries if match), None)
    if found is None:
        return False
    return int(found["idx"]) in (indexes if isinstance(indexes, list) else [indexes])


def main() -> None:
    """The child: one question on standard input, the names on standard output."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    except (ImportError, OSError, ValueError):  # the limit by the parent's clock remains
        pass
    question = json.loads(sys.stdin.read())
    print(json.dumps(matching(question["config"], question["names"])))


if __name__ == "__main__":
    main()
