"""What other language servers say the names near the cursor are: definitions that the index has, and heads of those
outside of the workspace."""

from __future__ import annotations

from collections.abc import Iterator

from midfill.context.definitions import Resolved
from midfill.context.focus import Focus
from midfill.context.index import SourceFile
from midfill.context.knowledge.places import call_inside
from midfill.context.sources.members import whole
from midfill.context.view import SAID, Excerpt, Found, View
from midfill.context.walk import printable
from midfill.syntax.calls import CONSTRUCTS

RECEIVER, CALLEE, NEAR = 1.25, 1.2, 0.9
MEMBERS = 0.92  # of the class whose member is being written
NAME = "definitions"


def find(view: View, focus: Focus) -> Iterator[Found]:
    """Yield what the names near the cursor are."""
    callee = _callee(focus) if view.resolved else ""
    for one in view.resolved:
        is_receiver = one.name == focus.receiver
        score = RECEIVER if is_receiver else CALLEE if one.name == callee else NEAR * focus.near.get(one.name, 0.0)
        is_found = False
        for target in one.targets:
            file = view.index.files.get(target.path)
            at = defined_at(file, target.row) if file is not None else -1
            is_found |= file is not None or target.path == focus.key
            if file is not None and at >= 0:
                yield from whole(file, at, score, NAME, focus, share=MEMBERS if is_receiver else 0.0)
        if one.head and not is_found:
            yield _outside(one, focus, score)


def defined_at(file: SourceFile, row: int) -> int:
    """Return the innermost definition around a row; -1 if there is none."""
    around = [at for at, one in enumerate(file.definitions) if one.line <= row <= one.end_line]
    return min(around, key=lambda at: (file.definitions[at].end_line - file.definitions[at].line, -at), default=-1)


def _outside(one: Resolved, focus: Focus, score: float) -> Excerpt:
    path = printable("/".join(one.targets[0].path.replace("\\", "/").split("/")[-2:]))
    text = f"{one.head}: ..." if focus.language == "python" and one.head.startswith(("def ", "class ")) else one.head
    return Excerpt(SourceFile(f"{SAID}{one.name}", path, focus.language, text), 0, 1, score, NAME)


def _callee(focus: Focus) -> str:
    call = call_inside(focus.text, focus.cursor, focus.language)
    return call[0].removeprefix(CONSTRUCTS).rpartition(".")[2] if call is not None else ""
