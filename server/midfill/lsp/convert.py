"""Conversion between the JSON that clients send and our own values. Nothing here trusts a type."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lsprotocol import types as lsp

from midfill.lsp.closers import n_covered, steady
from midfill.lsp.documents import ContentChange, InsertionPoint, Span
from midfill.lsp.notebooks import Cell
from midfill.lsp.positions import Encoding
from midfill.lsp.protocol import InvalidParams, Params
from midfill.types import Completion, Snapshot

MAX_NUMBER = 2**31 - 1  # the largest uinteger of LSP
LABEL_CHARS = 80
ACCEPTED = "midfill.accepted"
_WORD = re.compile(r"\w+$")


def read_object(params: Params, key: str) -> Mapping[str, Any]:
    """Return an object field, or {} if it is missing or of another type."""
    value = params.get(key)
    return value if isinstance(value, dict) else {}


def read_uri(params: Params) -> str:
    """Return ``textDocument.uri``. Raises InvalidParams."""
    uri = read_object(params, "textDocument").get("uri")
    if not isinstance(uri, str):
        raise InvalidParams
    return uri


def read_position(value: Any) -> tuple[int, int]:
    """Return a position. Raises InvalidParams."""
    if not isinstance(value, dict):
        raise InvalidParams
    line, character = value.get("line"), value.get("character")
    for number in (line, character):
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise InvalidParams
    return min(int(line or 0), MAX_NUMBER), min(int(character or 0), MAX_NUMBER)


def read_span(value: Any) -> Span:
    """Return a range. Raises InvalidParams."""
    if not isinstance(value, dict):
        raise InvalidParams
    return Span(*read_position(value.get("start")), *read_position(value.get("end")))


def read_seconds(params: Params) -> float:
    """Return ``seconds``. Raises InvalidParams."""
    value = params.get("seconds", 0)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 3600:
        raise InvalidParams
    return float(value)


def read_token(params: Params) -> int | str | None:
    """Return ``partialResultToken``."""
    token = params.get("partialResultToken")
    return token if isinstance(token, int | str) and not isinstance(token, bool) else None


def read_version(value: Any) -> int | None:
    """Return a document's version, or None if the client sends none. Raises InvalidParams."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise InvalidParams
    return value


def read_edits(value: Any) -> list[ContentChange] | None:
    """Return ``contentChanges``, or None if they cannot be understood."""
    if not isinstance(value, list):
        return None
    edits = []
    for change in value:
        if not isinstance(change, dict) or not isinstance(change.get("text"), str):
            return None
        try:
            span = read_span(change["range"]) if change.get("range") is not None else None
        except InvalidParams:
            return None
        edits.append(ContentChange(change["text"], span))
    return edits


def read_cells(value: Any) -> list[Cell]:
    """Return the notebook cells; invalid ones are left out."""
    cells = value if isinstance(value, list) else []
    return [
        Cell(cell["document"], cell.get("kind") == lsp.NotebookCellKind.Code.value)
        for cell in cells
        if isinstance(cell, dict) and isinstance(cell.get("document"), str)
    ]


def inline_items(
    completion: Completion, place: InsertionPoint, selected: tuple[Span, str] | None
) -> lsp.InlineCompletionList:
    """Return the answer to inlineCompletion. The range is empty and at the cursor, or covers the closers that the text
    writes itself, or it is the popup's, with its text before ours."""
    here = lsp.Position(line=place.line, character=place.character)
    language = completion.snapshot.language
    items = []
    for index, text in enumerate(completion.texts):
        if not completion.finished:
            text = steady(text, place.closers, language)
        n = n_covered(text, place.closers, language)
        end = lsp.Position(line=place.line, character=place.character + n)
        span, chosen = (lsp.Range(start=here, end=end), "") if selected is None else (_range(selected[0]), selected[1])
        insert, command = chosen + native(text, completion.snapshot), accepted_command(completion.id, index)
        items.append(lsp.InlineCompletionItem(insert_text=insert, range=span, command=command))
    return lsp.InlineCompletionList(items=items)


def accepted_command(id: str, index: int) -> lsp.Command | None:
    """Return the command that the client calls when the user accepts the item: LSP has no other accept signal."""
    return lsp.Command(title="accepted", command=ACCEPTED, arguments=[id, index]) if id else None


def completion_item(
    text: str, snapshot: Snapshot, place: InsertionPoint, encoding: Encoding, *, as_is: bool, markdown: bool, sort: str
) -> lsp.CompletionItem:
    """Return a popup entry. It replaces the word before the cursor, so that the client's own filter accepts it."""
    match = _WORD.search(place.before)
    word = match.group() if match else ""
    start = lsp.Position(line=place.line, character=place.back(len(word), encoding))
    end = lsp.Position(line=place.line, character=place.character)
    whole = word + text
    return lsp.CompletionItem(
        label=label_of(whole),
        kind=lsp.CompletionItemKind.Text,
        detail="midfill",
        documentation=lsp.MarkupContent(lsp.MarkupKind.Markdown, fenced(whole, snapshot.language))
        if markdown
        else lsp.MarkupContent(lsp.MarkupKind.PlainText, whole),
        text_edit=lsp.TextEdit(range=lsp.Range(start=start, end=end), new_text=native(whole, snapshot)),
        filter_text=whole.split("\n", 1)[0] or None,
        sort_text=sort,
        insert_text_format=lsp.InsertTextFormat.PlainText,
        insert_text_mode=lsp.InsertTextMode.AsIs if as_is else None,
    )


def label_of(text: str) -> str:
    """Return the first line that is not blank, shortened."""
    lines = [line.strip() for line in text.split("\n")]
    first = next((line for line in lines if line), "")
    more = sum(map(bool, lines)) > 1
    if len(first) > LABEL_CHARS - 2 * more:
        return first[: LABEL_CHARS - 1] + "…"
    return f"{first} …" if more else first


def fenced(text: str, language: str) -> str:
    """Return ``text`` as a Markdown block, whatever backticks it holds."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{re.sub(r'[^A-Za-z0-9+#._-]', '', language)}\n{text}\n{fence}"


def native(text: str, snapshot: Snapshot) -> str:
    """Return ``text`` with the buffer's own line ends."""
    return text.replace("\n", snapshot.eol)


def _range(span: Span) -> lsp.Range:
    return lsp.Range(
        start=lsp.Position(line=span.start_line, character=span.start_character),
        end=lsp.Position(line=span.end_line, character=span.end_character),
    )
