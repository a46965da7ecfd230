"""Painted frames and pressed keys on one clock, and the frames in which shown text was taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

EFFECT_S = 1.0  # a key shows its effect within this time, even on a busy machine


@dataclass(frozen=True, slots=True)
class GhostText:
    """The ghost text from some time on."""

    at: float  # seconds of the editor's clock
    text: str


@dataclass(frozen=True, slots=True)
class Key:
    """A key. ``text`` is what it types; "" for a key that does something else."""

    at: float
    text: str


@dataclass(slots=True)
class Film:
    """All frames and keys of a window."""

    frames: list[GhostText] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)

    def standing(self) -> GhostText:
        """Return the frame that is shown now."""
        return self.frames[-1] if self.frames else GhostText(0.0, "")

    def after_last_key(self) -> float | None:
        """Return the seconds from the last key to the first frame with text; 0.0 if text was shown all the time, None
        if there is none."""
        if not self.keys or not self.standing().text:
            return None
        key = self.keys[-1].at
        last_empty = max((n for n, frame in enumerate(self.frames) if not frame.text), default=-1)
        return max(0.0, self.frames[last_empty + 1].at - key)

    def first_text_after(self, at: float) -> float | None:
        """Return the seconds from a time to the first frame with text."""
        return next((frame.at - at for frame in self.frames if frame.at >= at and frame.text), None)


@dataclass(frozen=True, slots=True)
class Back:
    """Text that was shown and taken back although no key disagreed with it."""

    at: float
    before: str
    after: str
    typed: str  # what was typed along in between
    later: tuple[str, ...]  # the frames that follow within a second


def went_back(film: Film) -> list[Back]:
    """Return every frame that shows less than the one before, apart from what was typed along.

    A key that does not type along (a cursor key, Escape, Enter, an accepting key, another character than the shown one)
    excuses every change for EFFECT_S.
    """
    found: list[Back] = []
    keys = list(film.keys)
    standing = ""
    pending: list[Key] = []
    for n, frame in enumerate(film.frames):
        while keys and keys[0].at <= frame.at:
            pending.append(keys.pop(0))
        pending = [key for key in pending if key.at > frame.at - EFFECT_S]
        typed = _along(standing, frame.text, pending)
        if typed is None and not _disagrees(standing, pending):
            later = tuple(f.text for f in film.frames[n + 1 : n + 6] if f.at < frame.at + 1.0)
            found.append(Back(frame.at, standing, frame.text, "".join(key.text for key in pending), later))
        elif typed:
            pending = pending[typed:]
        standing = frame.text
    return found


def _along(before: str, after: str, pending: Sequence[Key]) -> int | None:
    """Return how many pending keys were typed along such that ``after`` continues ``before``; None if it does not."""
    typed = ""
    for n in range(len(pending) + 1):
        if before.startswith(typed) and after.startswith(before[len(typed) :]):
            return n
        if n < len(pending):
            typed += pending[n].text or "\0"
    return None


def _disagrees(before: str, pending: Sequence[Key]) -> bool:
    typed = ""
    for key in pending:
        typed += key.text
        if not key.text or not before.startswith(typed):
            return True
    return False
