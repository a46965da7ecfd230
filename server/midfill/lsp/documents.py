"""The editor's text, kept exactly as LSP defines it and never read from disk."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from midfill.lsp import closers
from midfill.lsp.notebooks import Notebooks
from midfill.lsp.positions import Encoding, content, join_surrogates, split_lines, to_character, to_index
from midfill.lsp.uris import display_path, file_path, folder_path
from midfill.syntax import languages
from midfill.types import Snapshot

MAX_TEXT = 64 << 20  # code points; longer documents are not kept
LARGE_TEXT = 1 << 20  # code points; of longer documents a snapshot shows only the text near the cursor
WINDOW = 200_000  # code points on each side of the cursor, at least
STEP_LINES = 256  # the window's start moves in steps, so that prompts keep their start
STEP_CHARS = 1 << 16

MAX_KEY = 8  # code points that one key or an input method inserts at most
FOLLOWS_S = 1.0  # seconds within which an editor sends its automatic request after a key

# Why the text of a document is unknown; shown to users.
NOT_UNDERSTOOD = "an edit could not be understood"
FELL = "its version number fell"
NO_SUCH_LINE = "an edit names a line that does not exist"
TOO_LARGE = f"it has more than {MAX_TEXT >> 20} million characters"


class Span(NamedTuple):
    """An LSP range: two positions in the client's units."""

    start_line: int
    start_character: int
    end_line: int
    end_character: int

    @property
    def is_everything(self) -> bool:
        """Whether the span covers the whole document, whatever it holds: from its start to a line that no document
        has."""
        return self[:2] == (0, 0) and self.end_line > MAX_TEXT


@dataclass(frozen=True, slots=True)
class ContentChange:
    """One change of a didChange. Without a span, ``text`` is the whole document."""

    text: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Keystroke:
    """A typed key: where the cursor stands after it, and when. It has no place in a text that was sent whole."""

    end: tuple[int, int] | None
    at: float


class Document:
    """One text as a list of lines."""

    def __init__(self, uri: str, language: str, version: int, text: str, encoding: Encoding = "utf-16") -> None:
        self.uri = uri
        self.language = language
        self.version = version  # the client's version
        self.revision = 0  # our own count of changes, because clients may repeat a version
        self.encoding = encoding
        self.doubt = ""  # why the text is unknown until the client sends all of it
        self.lines: list[str] = [""]
        self.n_chars = 0
        self.closers = closers.NONE
        self.key: Keystroke | None = None  # the last change, if it looks like a key that no request has followed yet
        self.replace(text)
        self.key = None

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.lines)

    @property
    def stale(self) -> bool:
        """Whether edits were lost: the text is unknown until the client sends all of it."""
        return bool(self.doubt)

    def replace(self, text: str) -> None:
        """Take the whole text."""
        self.doubt = TOO_LARGE if len(text) > MAX_TEXT else ""
        self.closers = closers.NONE
        n_before = self.n_chars
        self.lines = [""] if self.stale else split_lines(join_surrogates(text))
        self.n_chars = sum(map(len, self.lines))
        self.key = Keystroke(None, time.monotonic()) if 0 < self.n_chars - n_before <= MAX_KEY else None

    def edit(self, text: str, span: Span) -> None:
        """Replace what ``span`` covers by the text of the edit."""
        start, end = self.locate(span.start_line, span.start_character), self.locate(span.end_line, span.end_character)
        if start > end:
            start, end = end, start
        self.closers = self.closers.edited(start, end, text)
        is_key = 0 < len(text) <= MAX_KEY and split_lines(text)[-1] == text
        self.key = Keystroke((start[0], start[1] + len(text)), time.monotonic()) if is_key else None
        (first, start_index), (last, end_index) = start, end
        changed = self.lines[first][:start_index] + text + self.lines[last][end_index:]
        if first > 0:  # the inserted text may end in a \r that now meets a \n
            first -= 1
            changed = self.lines[first] + changed
        lines = split_lines(join_surrogates(changed))
        if last + 1 < len(self.lines):
            lines.pop()  # the empty rest after the end of the last line
        self.n_chars += sum(map(len, lines)) - sum(map(len, self.lines[first : last + 1]))
        self.lines[first : last + 1] = lines
        if self.n_chars > MAX_TEXT:
            self.replace("")
            self.doubt = TOO_LARGE

    def has(self, span: Span) -> bool:
        """Whether the span's lines exist. The start of the line after the last one counts as the end, and so does a
        line that no document has; any other missing line shows that edits were lost."""
        n_lines = len(self.lines)
        return all(
            line < n_lines or (line == n_lines and character == 0) or line > MAX_TEXT
            for line, character in (span[:2], span[2:])
        )

    def locate(self, line: int, character: int) -> tuple[int, int]:
        """Return the line and the code point in it that a position means. A position past an end means that end."""
        if line >= len(self.lines):
            return len(self.lines) - 1, len(self.lines[-1])
        return line, to_index(content(self.lines[line]), character, self.encoding)

    def around(self, start: tuple[int, int], end: tuple[int, int]) -> tuple[str, str]:
        """Return the text before ``start`` and after ``end``; of a large document only the nearer part."""
        head, tail = self.lines[start[0]][: start[1]], self.lines[end[0]][end[1] :]
        if self.n_chars <= LARGE_TEXT:
            return "".join(self.lines[: start[0]]) + head, tail + "".join(self.lines[end[0] + 1 :])
        first, n_head = start[0], len(head)
        while first > 0 and (n_head < WINDOW or first % STEP_LINES) and n_head < 4 * WINDOW:
            first -= 1
            n_head += len(self.lines[first])
        last, n_tail = end[0] + 1, len(tail)
        while last < len(self.lines) and n_tail < WINDOW:
            n_tail += len(self.lines[last])
            last += 1
        head = "".join(self.lines[first : start[0]]) + head
        cut = max(0, len(head) - WINDOW) // STEP_CHARS * STEP_CHARS if len(head) > 4 * WINDOW else 0
        return head[cut:], (tail + "".join(self.lines[end[0] + 1 : last]))[:WINDOW]


@dataclass(frozen=True, slots=True)
class InsertionPoint:
    """Where a completion goes, in the client's units."""

    line: int
    character: int
    before: str  # the line up to the position
    closers: str = ""  # the closers right of it that the editor inserted and the prompt leaves out

    def back(self, n_chars: int, encoding: Encoding) -> int:
        """Return the position ``n_chars`` code points further left."""
        return to_character(self.before[: len(self.before) - n_chars], encoding)


class Documents:
    """All open documents."""

    def __init__(self) -> None:
        self.encoding: Encoding = "utf-16"
        self.folders: tuple[str, ...] = ()  # URIs
        self.notebooks = Notebooks()
        self._open: dict[str, Document] = {}

    def __len__(self) -> int:
        return len(self._open)

    def get(self, uri: str) -> Document | None:
        """Return the open document, stale or not."""
        return self._open.get(uri)

    @property
    def doubted(self) -> list[Document]:
        """The documents whose text is unknown."""
        return [document for document in self._open.values() if document.stale]

    def open(self, uri: str, language: str, version: int, text: str) -> None:
        """didOpen, also a second one. ``language`` is the client's language identifier."""
        first_line = text[:200].partition("\n")[0].rstrip("\r").removeprefix("\ufeff")
        known = languages.canonical(language, self.file_of(uri), first_line)
        self._open[uri] = Document(uri, known, version, text, self.encoding)

    def close(self, uri: str) -> None:
        """didClose."""
        self._open.pop(uri, None)

    def change(self, uri: str, version: int | None, edits: Sequence[ContentChange] | None) -> None:
        """didChange. ``edits`` is None if they could not be understood, ``version`` if the client does not count
        versions."""
        document = self._open.get(uri)
        if document is None:
            return
        document.revision += 1
        if edits is None:
            document.doubt = document.doubt or NOT_UNDERSTOOD
        elif version is not None and version < document.version:
            document.doubt = document.doubt or FELL
        if version is not None:
            document.version = version
        for edit in edits or ():
            if edit.span is None or edit.span.is_everything:
                document.replace(edit.text)
            elif not document.stale and not document.has(edit.span):
                document.doubt = NO_SUCH_LINE
            elif not document.stale:
                document.edit(edit.text, edit.span)

    def fits(self, document: Document, revision: int) -> bool:
        """Whether an answer made for ``revision`` of ``document`` still fits."""
        return self._open.get(document.uri) is document and document.revision == revision and not document.stale

    def file_of(self, uri: str) -> str:
        """Return the path in the workspace of the file that holds a document; "" if there is none."""
        return file_path(self.notebooks.notebook_of(uri) or uri, self.folders)

    def file_in_folder(self, uri: str) -> tuple[Path, Path] | None:
        """Return the workspace folder that holds a document's file, and the file, as the client names them; None for
        cells of notebooks and for other documents."""
        path = None if self.notebooks.notebook_of(uri) else folder_path(uri)
        folders = [folder for one in self.folders if (folder := folder_path(one)) is not None]
        found = [folder for folder in folders if path is not None and path.is_relative_to(folder)]
        return (max(found, key=lambda folder: len(folder.parts)), path) if path is not None and found else None

    def name_of(self, uri: str) -> str:
        """Return the same path as the editor shows it, even for texts that are not files: users and their globs mean
        this one."""
        return display_path(self.notebooks.notebook_of(uri) or uri, self.folders)

    def shown_path(self, document: Document) -> str:
        """Return the path that the model sees."""
        return languages.shown_path(self.file_of(document.uri), document.language)

    def place(self, uri: str, line: int, character: int) -> InsertionPoint | None:
        """Return where a position really is; None for a document that is unknown."""
        document = self._known(uri)
        if document is None:
            return None
        row, index = document.locate(line, character)
        before, left_out = document.lines[row][:index], document.closers.at((row, index))
        if not left_out:
            document.closers = closers.NONE  # the cursor left them
        return InsertionPoint(row, to_character(before, document.encoding), before, left_out)

    def follows_key(self, uri: str, line: int, character: int) -> bool:
        """Whether a request at a position is the first one after a key that put the cursor there just now."""
        document = self._known(uri)
        if document is None or (key := document.key) is None:
            return False
        document.key = None
        return time.monotonic() - key.at < FOLLOWS_S and key.end in (None, document.locate(line, character))

    def snapshot(
        self, uri: str, line: int, character: int, selected: tuple[Span, str] | None = None, closers: str = ""
    ) -> Snapshot | None:
        """Return what the editor shows now. ``selected`` is a text that a popup is about to put in place of a span.
        ``closers`` stand to the right of the position and are left out."""
        document = self._known(uri)
        if document is None:
            return None
        start = end = document.locate(line, character)
        insert = ""
        if selected is not None:
            span, insert = selected
            start = document.locate(span.start_line, span.start_character)
            end = document.locate(span.end_line, span.end_character)
            start, end = min(start, end), max(start, end)
        end = (end[0], end[1] + len(closers))
        head, tail = document.around(start, end)
        eol = dominant_eol(head, tail)
        earlier, later = self._cells_around(document)
        prefix = "".join(f"{cell}\n\n" for cell in earlier) + unix(head.removeprefix("\ufeff") + insert)
        suffix = unix(tail if head else tail.removeprefix("\ufeff")) + "".join(f"\n\n{cell}" for cell in later)
        path, name = self.shown_path(document), self.name_of(uri)
        return Snapshot(uri, document.revision, document.language, prefix + suffix, len(prefix), eol, path, name)

    def at(self, uri: str, line: int, character: int) -> Snapshot | None:
        """Return what the editor shows now, without the closers that it inserted to the right of the position."""
        place = self.place(uri, line, character)
        return self.snapshot(uri, line, character, None, place.closers if place is not None else "")

    def whole(self, uri: str) -> str | None:
        """Return the whole text that snapshots of a document show; None if they show other cells too, or a part."""
        document = self._known(uri)
        if document is None or document.n_chars > LARGE_TEXT or self.notebooks.notebook_of(uri):
            return None
        left_out = document.closers
        if not left_out.text:
            return unix(document.text.removeprefix("\ufeff"))
        end = (left_out.row, left_out.index + len(left_out.text))
        return unix("".join(document.around((left_out.row, left_out.index), end)).removeprefix("\ufeff"))

    def _known(self, uri: str) -> Document | None:
        document = self._open.get(uri)
        return None if document is None or document.stale else document

    def _cells_around(self, document: Document) -> tuple[list[str], list[str]]:
        """Return the notebook's other cells in the same language, the near ones, in order."""
        before, after = self.notebooks.neighbours(document.uri)
        earlier = self._cell_texts(reversed(before), document.language)
        return earlier[::-1], self._cell_texts(after, document.language)

    def _cell_texts(self, uris: Iterable[str], language: str) -> list[str]:
        texts: list[str] = []
        n_left = WINDOW
        for uri in uris:
            cell = self._known(uri)
            if cell is None or cell.language != language:
                continue
            n_left -= cell.n_chars
            if n_left < 0:
                break
            texts.append(unix(cell.text.removeprefix("\ufeff")))
        return texts


def unix(text: str) -> str:
    """Return ``text`` with \\n as line ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def dominant_eol(*texts: str) -> str:
    """Return the line end that a buffer uses most; \\n if it has none."""
    n_crlf = sum(text.count("\r\n") for text in texts)
    n_lf = sum(text.count("\n") for text in texts) - n_crlf
    n_cr = sum(text.count("\r") for text in texts) - n_crlf
    return max((n_lf, "\n"), (n_crlf, "\r\n"), (n_cr, "\r"), key=lambda pair: pair[0])[1]
