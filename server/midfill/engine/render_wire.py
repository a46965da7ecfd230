"""The parts of a prompt, and the prompt, as JSON: for the engine's route and for the tokenizer process."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from midfill.engine.wire import MAX_PROMPT_IDS, BadRequest
from midfill.fim import Prompt
from midfill.types import Snapshot, Snippet

MAX_SNIPPETS = 1000
ORDERS = ("psm", "spm")


def render_body(snapshot: Snapshot, snippets: Sequence[Snippet], budget: int) -> dict[str, Any]:
    """Return a request for the prompt of ``budget`` tokens at the cursor of ``snapshot``."""
    return {
        "snapshot": [snapshot.prefix, snapshot.suffix, snapshot.path, snapshot.language],
        "snippets": [[snippet.path, snippet.text] for snippet in snippets],
        "budget": budget,
    }


def read_render(body: dict[str, Any]) -> tuple[Snapshot, list[Snippet], int]:
    """Return the snapshot, snippets and budget of such a request. Raises BadRequest."""
    place, snippets, budget = body.get("snapshot"), body.get("snippets"), body.get("budget")
    if not _are_texts(place, 4):
        raise BadRequest("snapshot must be prefix, suffix, path and language")
    if (
        not isinstance(snippets, list)
        or len(snippets) > MAX_SNIPPETS
        or not all(_are_texts(one, 2) for one in snippets)
    ):
        raise BadRequest(f"snippets must be up to {MAX_SNIPPETS} paths with texts")
    if type(budget) is not int or not 0 < budget <= MAX_PROMPT_IDS:
        raise BadRequest("budget must be a number of tokens")
    prefix, suffix, path, language = place  # type: ignore[misc]  # four texts
    snapshot = Snapshot("", 0, language, prefix + suffix, len(prefix), path=path)
    return snapshot, [Snippet(path, text) for path, text in snippets], budget


def read_layout(body: dict[str, Any]) -> tuple[str, bool]:
    """Return the order of the parts and whether a begun word is left to the middle. Raises BadRequest."""
    order, heal = body.get("order", ORDERS[0]), body.get("heal", False)
    if order not in ORDERS or not isinstance(heal, bool):
        raise BadRequest(f"order must be one of {', '.join(ORDERS)}, heal true or false")
    return str(order), heal


def read_ids(ids: Any) -> list[int]:
    """Return the token ids to spell. Raises BadRequest."""
    if not isinstance(ids, list) or len(ids) > MAX_PROMPT_IDS or not all(type(one) is int and one >= 0 for one in ids):
        raise BadRequest("spell must be a list of token ids")
    return ids


def read_text(text: Any) -> str:
    """Return the text whose ids are asked for. Raises BadRequest."""
    if not isinstance(text, str) or len(text) > MAX_PROMPT_IDS:
        raise BadRequest(f"encode must be a text of up to {MAX_PROMPT_IDS} characters")
    return text


def prompt_body(prompt: Prompt) -> dict[str, Any]:
    """Return the answer with ``prompt``."""
    return {"prompt": dataclasses.asdict(prompt)}


def read_prompt(answer: dict[str, Any]) -> Prompt:
    """Return the prompt of an answer. Raises KeyError or TypeError if it holds none."""
    found = answer["prompt"]
    suffix = tuple(found["suffix"]) if found["suffix"] else None
    return Prompt(**{**found, "ids": tuple(found["ids"]), "suffix": suffix})


def _are_texts(values: Any, n: int) -> bool:
    return isinstance(values, list) and len(values) == n and all(isinstance(value, str) for value in values)
