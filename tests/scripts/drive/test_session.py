"""A session in an editor of a few lines: whatever it shows, the files get the text that was to be written."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from scripts.drive.film import Film, GhostText, Key
from scripts.drive.hands import State, Way
from scripts.drive.script import LANGUAGES, Project, read
from scripts.drive.session import Record, Session

from scripts.drive import session as session_module

PAIRS = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'", "`": "`"}
Suggest = Callable[[State], str]


class Paper:
    """An editor that closes brackets and indents, or does not."""

    name = "paper"

    def __init__(self, project: Project, *, helps: bool, suggest: Suggest) -> None:
        self.files = {file.name: file.text(()) for file in project.files}
        self.helps, self.suggest = helps, suggest
        self.left = self.right = self.file = ""
        self.seen, self.clock, self.ghost = Film(), 0.0, ""
        self.before: list[tuple[str, str]] = []

    def begin(self, name: str) -> None: ...

    def open(self, name: str, offset: int) -> float:
        self.file = name
        self._put(self.files[name][:offset], self.files[name][offset:])
        return self.clock

    def _put(self, left: str, right: str, typed: str = "") -> None:
        self.before.append((self.left, self.right))
        self.left, self.right, self.clock = left, right, self.clock + 0.1
        self.files[self.file] = left + right
        self.seen.keys.append(Key(self.clock, typed))
        self.ghost = self.suggest(State(left + right, len(left)))
        self.seen.frames.append(GhostText(self.clock, self.ghost))

    def type(self, char: str) -> None:
        if self.helps and char in PAIRS.values() and self.right.startswith(char):
            self._put(self.left + char, self.right[1:], char)
        elif self.helps and char in PAIRS and not self.right[:1].isalnum() and not self.left[-1:].isalnum():
            self._put(self.left + char, PAIRS[char] + self.right, char)
        else:
            self._put(self.left + char, self.right, char)

    def enter(self) -> None:
        line = self.left.rsplit("\n", 1)[-1]
        indentation = re.match(r"[ \t]*", line)[0] if self.helps else ""  # type: ignore[index]
        left = self.left if line.strip() else self.left[: len(self.left) - len(line)]
        if self.helps and line[-1:] in ("(", "[", "{") and self.right.startswith(PAIRS[line[-1]]):
            return self._put(f"{left}\n{indentation}    ", f"\n{indentation}{self.right}")
        return self._put(f"{left}\n{indentation}", self.right)

    def backspace(self) -> None:
        self._put(self.left[:-1], self.right)

    def delete(self) -> None:
        self._put(self.left, self.right[1:])

    def over(self, text: str) -> None:
        assert self.right.startswith(text)
        self._put(self.left + text, self.right[len(text) :])

    def begin_undoable(self) -> None: ...

    def undo(self, offset: int) -> None:
        for _ in range(4):
            left, right = self.before.pop()
        self._put(left, right)

    def accept(self, way: Way) -> None:
        pieces = {"whole": r"(?s).*", "line": r".*\n?", "word": r"\s*(?:\w+|[^\w\s]+)"}
        found = re.match(pieces[way], self.ghost)
        self._put(self.left + (found[0] if found else ""), self.right)

    def dismiss(self) -> None:
        self.ghost = ""
        self.seen.frames.append(GhostText(self.clock, ""))

    def state(self) -> State:
        return State(self.left + self.right, len(self.left))

    def film(self) -> Film:
        return self.seen

    def is_answered(self) -> bool:
        return True

    def sleep(self, seconds: float) -> None: ...

    def save(self, name: str) -> str:
        return self.files[name]

    def replace(self, name: str, text: str, offset: int) -> None:
        self._put(text[:offset], text[offset:])

    def shot(self, file: Path) -> None: ...


def knows(project: Project, rng: random.Random) -> Suggest:
    """Says what follows; sometimes less of it, sometimes with a wrong end, sometimes something else, or nothing."""
    texts = [file.text({region.number for _, region in project.tasks()}) for file in project.files]

    def suggest(state: State) -> str:
        line = state.left[-40:]
        follows = next((text.split(line, 1)[1] for text in texts if line in text), "")
        rest = follows[: rng.choice((4, 12, 30, 80))]
        return rng.choice((rest, rest, rest.rstrip() + "wrong", "wrong", ""))

    return suggest


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("helps", [False, True])
@pytest.mark.parametrize("name", LANGUAGES)
def test_the_text_becomes_what_was_to_be_written(
    name: str, helps: bool, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "SETTLED_S", 0.0)
    monkeypatch.setattr(session_module, "SETTLE_S", 0.001)
    project = read(name)
    paper = Paper(project, helps=helps, suggest=knows(project, random.Random(seed)))
    record: Record = Session(paper, project, seed, dict, lambda line: None, 0.001).run(float("inf"))
    assert record.faults == []
    every = {region.number for _, region in project.tasks()}
    assert paper.files == {file.name: file.text(every) for file in project.files}
    verdicts = {look.judgement.verdict for look in record.looks}
    assert verdicts >= {"useful", "annoying", "nothing"}
    assert record.n_taken > record.n_wrong
