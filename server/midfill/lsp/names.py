"""midfill/names: what the editor's other language servers say may be named behind a dot. Nobody waits for it."""

from __future__ import annotations

from typing import Any

from midfill.context.knowledge.store import Knowledge
from midfill.lsp import convert
from midfill.lsp.documents import Documents
from midfill.lsp.protocol import Params

MAX_NAMES = 5000  # of a list that is read; a longer one is not called complete
# pyright, gopls and rust-analyzer call every list incomplete, so that they are asked again at the next key. Directly
# behind a dot they name all members; servers that cut lists do so at 50 names (Java's) or more. ``__x__`` do not count.
MAX_WHOLE = 49
MAX_NAME = 200  # characters
ACCESS = ".?:->"  # TypeScript's server has the dot in its names


def names(documents: Documents, knowledge: Knowledge, params: Params) -> Any:
    """Keep a list for the place that it was made for; one for another version of the document is dropped."""
    document = documents.get(convert.read_uri(params))
    version = convert.read_object(params, "textDocument").get("version")
    told = params.get("names")
    if document is None or document.stale or document.version != version or not isinstance(told, list):
        return
    found = [name for one in told[:MAX_NAMES] if (name := _name(one))]
    snapshot = documents.snapshot(document.uri, *convert.read_position(params.get("position")))
    if snapshot is not None:
        is_complete = params.get("complete") is True and len(told) <= MAX_NAMES
        knowledge.told(snapshot, list(dict.fromkeys(found)), is_complete=is_complete)


def _name(one: Any) -> str:
    """A name out of a text or a CompletionItem: what is inserted, without a call's parentheses; "" for what is none."""
    if isinstance(one, dict):
        one = one.get("filterText") or one.get("label")
    if not isinstance(one, str) or len(one) > MAX_NAME:
        return ""
    name = one.strip().lstrip(ACCESS).partition("(")[0]
    return name if name.isidentifier() or name.replace("$", "_").replace("-", "_").isidentifier() else ""
