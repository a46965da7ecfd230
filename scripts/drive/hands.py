"""What a session needs from an editor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from scripts.drive.film import Film

Way = Literal["whole", "word", "line"]


@dataclass(frozen=True, slots=True)
class State:
    """A document and the cursor in it."""

    text: str
    cursor: int

    @property
    def left(self) -> str:
        """The text before the cursor."""
        return self.text[: self.cursor]

    @property
    def right(self) -> str:
        """The text after it."""
        return self.text[self.cursor :]


class Hands(Protocol):
    """The user's hands and eyes on one editor. Keys do not wait for their effect."""

    name: str

    def begin(self, name: str) -> None:
        """Wait until the engine can answer, with a file open if the editor needs one for that."""

    def open(self, name: str, offset: int) -> float:
        """Open a file and put the cursor there, ready to type; return when it was opened, on the film's clock."""

    def type(self, char: str) -> None:
        """Type one character."""

    def enter(self) -> None:
        """Begin a new line."""

    def backspace(self) -> None:
        """Delete the character before the cursor."""

    def delete(self) -> None:
        """Delete the character after it."""

    def over(self, text: str) -> None:
        """Move over ``text``, which is after the cursor."""

    def begin_undoable(self) -> None:
        """Make what is typed from now on undoable by itself, if the editor allows that."""

    def undo(self, offset: int) -> None:
        """Undo once; ``offset`` is where the cursor should be."""

    def accept(self, way: Way) -> None:
        """Take what is shown, or the next piece of it."""

    def dismiss(self) -> None:
        """Hide what is shown."""

    def state(self) -> State:
        """Return the document."""

    def film(self) -> Film:
        """Return all frames and keys until now."""

    def is_answered(self) -> bool:
        """Return whether the server has answered everything."""

    def sleep(self, seconds: float) -> None:
        """Do nothing for a while."""

    def save(self, name: str) -> str:
        """Save; return what is in the file on disk."""

    def replace(self, name: str, text: str, offset: int) -> None:
        """Overwrite the file with the right text, after a fault of the drive."""

    def shot(self, file: Path) -> None:
        """Take a picture of the window, if there is one."""
