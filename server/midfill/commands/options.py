"""What `midfill eval` and `midfill replay` are told in the same way."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from midfill import paths
from midfill.types import MidfillError


def settings(given: Sequence[str]) -> dict[str, Any]:
    """``key=value`` each, the value as in TOML or a plain word. Raises MidfillError."""
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
    """The file for the records, opened before anything is measured. Raises MidfillError."""
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
