"""The sources of context: one file each, a function from a view and a focus to what it finds there."""

from __future__ import annotations

from midfill.context.sources import definitions, edits, imports, names, opened, siblings, similar
from midfill.context.view import Source

# By the names that the setting ``disabled_context`` takes.
SOURCES: dict[str, Source] = {
    "imports": imports.find,
    "names": names.find,
    "similar": similar.find,
    "edits": edits.find,
    "definitions": definitions.find,
    "open": opened.find,
    "siblings": siblings.find,
}
