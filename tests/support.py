"""What several tests share."""

from __future__ import annotations

from midfill.types import Snapshot

# What is missing at the cursor shows in what stands below it: three branches, and the head of a fourth.
LETTERS = """def letter(score):
    if score < 10:
        return "A"
    elif score < 20:
        return "B"
    ‸
        return "F"
    elif score < 70:
        return "G"
    return "Z"
"""


def at(buffer: str, *, path: str = "main.py", language: str = "python") -> Snapshot:
    """Return a snapshot of ``buffer`` with the cursor at ``‸``."""
    cursor = buffer.index("‸")
    return Snapshot("file:///w/" + path, 1, language, buffer.replace("‸", ""), cursor, path=path)


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
