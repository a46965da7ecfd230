"""transformers' ``generate()`` as on the model card, in a child process of the benchmark.

    python -m midfill.bench.baseline FOLDER DTYPE THREADS

Reads ``{"ids": [...], "n_tokens": 32}`` from each line and answers ``{"token_s": [...]}``: the seconds after which each
token was there. Between requests it waits for input and its threads sleep.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM


class Clock:
    """A streamer that notes when tokens come; the first call brings the prompt."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._is_prompt = True
        self.token_s: list[float] = []

    def put(self, _tokens: torch.Tensor) -> None:
        """Take the prompt, or one more token."""
        if not self._is_prompt:
            self.token_s.append(time.perf_counter() - self._start)
        self._is_prompt = False

    def end(self) -> None:
        """Do nothing: there are no more tokens."""


def main() -> None:
    """Answer requests until the input ends."""
    folder, dtype, n_threads = sys.argv[1:4]
    torch.set_num_threads(int(n_threads))
    if dtype == "auto":  # the card's type, unless this CPU takes several times as long for it
        dtype = "bfloat16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True)
    for line in sys.stdin:
        request = json.loads(line)
        n_tokens = request["n_tokens"]
        ids = torch.tensor([request["ids"]])
        clock = Clock()
        model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=n_tokens,
            min_new_tokens=n_tokens, streamer=clock,
        )  # fmt: skip
        print(json.dumps({"token_s": clock.token_s, "dtype": dtype}), flush=True)


if __name__ == "__main__":
    main()
