"""Typists in front of an engine that knows the file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from midfill.client.scripted import CharRenderer
from midfill.completer import Completer
from midfill.config import Config
from midfill.engine.base import Delta, GenerateRequest
from midfill.eval.replay import Habits, Passage, Tally, Typist
from midfill.types import ModelInfo, Stats

INFO = ModelInfo("scripted", "", "qwen2.5-coder", 1024, 4096, "cpu", "float32")
PATIENT = Habits(waits=True)


class Oracle:
    """Writes what a function makes of the text before the cursor."""

    def __init__(self, say: Callable[[str], str]) -> None:
        self._say = say

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        prefix = "".join(map(chr, request.prompt[1 : request.prompt.index(CharRenderer.SUF)]))
        text = self._say(prefix)
        yield Delta(text)
        yield Delta("", "stop", Stats(len(request.prompt), 0, len(text)))

    async def aclose(self) -> None: ...


def place(text: str) -> Passage:
    before, typed, after = text.split("‸")
    return Passage(Path("/w"), "a.py", "python", before + typed + after, len(before), len(before) + len(typed))


async def typed(engine: Any, text: str, habits: Habits = PATIENT) -> tuple[Tally, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    # Neither the gaps nor the probabilities are real here.
    completer = Completer(engine, CharRenderer(), INFO, Config(max_debounce_s=0.0, disabled_rules=("confidence",)))
    tally = await Typist(completer, place(text), habits, len, events.append).type()
    return tally, events


def project(root: Path) -> Path:
    """Write two files that use each other; each of their lines is unique."""
    root.mkdir()
    names = ("apple", "banana", "cherry", "damson", "elder", "fig", "grape", "hazel")
    made = "".join(f"def make_{name}(weight):\n    return weight * {7919 + n}\n\n\n" for n, name in enumerate(names))
    used = "from making import *\n\n\n" + "".join(
        f"def use_{name}(basket):\n    {name}_total = make_{name}(basket)\n    return {name}_total\n\n\n"
        for name in names
    )
    (root / "making.py").write_text(made)
    (root / "using.py").write_text(used)
    return root
