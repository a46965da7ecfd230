"""What a session needs of an editor."""

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
        """What stands before the cursor."""
        return self.text[: self.cursor]

    @property
    def right(self) -> str:
        """What stands after it."""
        return self.text[self.cursor :]


class Hands(Protocol):
    """A person's hands on one editor, and their eyes. Keys do not wait for their effect."""

    name: str

    def begin(self, name: str) -> None:
        """Wait until the engine can answer, with a file open where the editor needs one for that."""

    def open(self, name: str, offset: int) -> float:
        """Open a file and put the cursor there, ready to type; when it was opened, on the film's clock."""

    def type(self, char: str) -> None:
        """Type one character."""

    def enter(self) -> None:
        """Begin a new line."""

    def backspace(self) -> None:
        """Delete the character before the cursor."""

    def delete(self) -> None:
        """Delete the character after it."""

    def over(self, text: str) -> None:
        """Move over ``text``, which stands after the cursor."""

    def begin_undoable(self) -> None:
        """What is typed from now on can be undone alone, where the editor lets one say so."""

    def undo(self, offset: int) -> None:
        """Undo once; ``offset`` is where the cursor is wanted."""

    def accept(self, way: Way) -> None:
        """Take what is shown, or the next piece of it."""

    def dismiss(self) -> None:
        """Hide what is shown."""

    def state(self) -> State:
        """The document as it stands."""

    def film(self) -> Film:
        """All frames and keys until now."""

    def is_answered(self) -> bool:
        """Whether the server has nothing more to say."""

    def sleep(self, seconds: float) -> None:
        """Do nothing for a while."""

    def save(self, name: str) -> str:
        """Save; what stands in the file on disk."""

    def replace(self, name: str, text: str, offset: int) -> None:
        """Put the file right by force, after a fault of the drive's."""

    def shot(self, file: Path) -> None:
        """A picture of the window, where there is one."""
