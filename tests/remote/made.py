"""Requests to engines elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator

from midfill.engine.base import Delta, GenerateRequest
from midfill.remote.probe import LINE
from midfill.types import Stats
from tests.serve.made import FakeResident
from tests.tokenizers_made import make

TOKENIZER = make("qwen2.5-coder")
PRE, SUF, MID = (TOKENIZER.id_of([f"<|fim_{part}|>"]) for part in ("prefix", "suffix", "middle"))
PROMPT = (PRE, *TOKENIZER.encode("x = "), SUF, *TOKENIZER.encode("\ny"), MID)
REQUEST = GenerateRequest(
    tuple(token for token in PROMPT if token is not None), 32, request_id="7-1", n=3, logprobs=True, suffix=(1, 2),
    window="7", bias_names=("name",), session="f00d",
)  # fmt: skip


class Resident(FakeResident):
    """Continues a fixed string for as long as it is asked to, and writes "a + b" for everything else."""

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        self.asked.append(request)
        said = LINE * 40 if TOKENIZER.decode(request.prompt).endswith(LINE) else "a + b"
        text = TOKENIZER.decode(TOKENIZER.encode(said)[: request.max_tokens]).rstrip("\ufffd")
        for index in range(request.n):
            yield Delta(text, index=index)
            yield Delta("", "stop", Stats(len(request.prompt)), index=index)
