"""Text prompts with sentinels spelled out, as Zed and llama.vscode send them.

Nothing else here reads sentinels from text: a buffer that spells one would be misread.
"""

from __future__ import annotations

import re
from typing import Any

from midfill import fim
from midfill.engine.base import MAX_TOKENS
from midfill.engine.wire import BadRequest
from midfill.fim import FimRenderer
from midfill.tokenizer import CodeTokenizer
from midfill.types import ModelInfo, Snapshot, Snippet

MAX_TEXT = 2_000_000  # characters
MAX_SNIPPETS = 64
MAX_STOPS = 16


class TextPrompts:
    """Converts text to ids for the served model. Making one takes about 0.3 s."""

    def __init__(self, renderer: FimRenderer, budget: int) -> None:
        self._renderer, self._budget = renderer, budget
        tokenizer = renderer.tokenizer
        names = {tokenizer.decode([token]): token for token in tokenizer.control_ids}
        self._ids = {name: token for name, token in names.items() if name}
        alternatives = sorted(map(re.escape, self._ids), key=len, reverse=True)
        self._control = re.compile("(" + "|".join(alternatives) + ")") if alternatives else None

    @classmethod
    def of(cls, info: ModelInfo, file: Any) -> TextPrompts:
        """Return one for what an engine serves. Raises MidfillError."""
        tokenizer = CodeTokenizer.from_file(file)
        renderer = FimRenderer(fim.find(info.template or fim.PREFIX_ONLY.name, tokenizer), tokenizer)
        return cls(renderer, info.context_tokens)

    def ids(self, text: str) -> list[int]:
        """Return the ids of ``text``, with spelled control tokens as such, and the template's own start if it is
        missing."""
        if len(text) > MAX_TEXT:
            raise BadRequest("prompt is too long")
        ids: list[int] = []
        for part in self._control.split(text) if self._control else [text]:
            ids += [self._ids[part]] if part in self._ids else self._renderer.tokenizer.encode(part)
        start = self._renderer.start_ids
        return ids if ids[: len(start)] == start else [*start, *ids]

    def translated(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body of /v1/completions with ids instead of a text prompt, and without stops that always end a
        middle."""
        stop = body.get("stop") or []
        stop = [stop] if isinstance(stop, str) else stop
        kept = [one for one in stop if isinstance(one, str) and one not in self._ids and not _is_sentinel(one)]
        return {**body, "prompt": self.ids(body["prompt"]), "stop": kept[:MAX_STOPS]}

    def infill(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return llama.cpp's /infill as a body of /v1/completions. Raises BadRequest."""
        before, line, after = (body.get(key) or "" for key in ("input_prefix", "prompt", "input_suffix"))
        extra = body.get("input_extra") or []
        if not all(isinstance(text, str) for text in (before, line, after)) or not isinstance(extra, list):
            raise BadRequest("input_prefix, prompt and input_suffix must be texts, input_extra a list")
        if len(before) + len(line) + len(after) > MAX_TEXT:
            raise BadRequest("the text is too long")
        head = before + line
        snapshot = Snapshot("", 0, "", head + after, len(head), path=str(body.get("filename") or ""))
        snippets = [
            Snippet(str(one.get("filename") or ""), str(one["text"]))
            for one in extra[:MAX_SNIPPETS]
            if isinstance(one, dict) and isinstance(one.get("text"), str)
        ]
        prompt = self._renderer.render(snapshot, snippets, self._budget)
        n = body.get("n_predict")
        n = n if type(n) is int and n > 0 else 128  # llama.cpp's -1: no limit
        return {"prompt": list(prompt.ids), "max_tokens": min(n, MAX_TOKENS), "temperature": 0}


def _is_sentinel(text: str) -> bool:
    """Whether it is a control token of some model: clients send those of every model that they know."""
    return bool(re.fullmatch(r"<\|[\w▁/]+\|>|<[A-Za-z_]+>|</s>|\[[A-Z]+\]|<｜.*｜>|<[A-Z]{3}>", text))
