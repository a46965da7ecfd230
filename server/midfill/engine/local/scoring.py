"""How likely a served model finds a text: log probabilities of given tokens, in the number format that serves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.lora.adapter import Adapter, ResidentAdapters, read_adapter, summed
from midfill.engine.local.model.load import load
from midfill.engine.local.sequence.generation import PREFILL_CHUNK
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.engine.local.store import models
from midfill.engine.local.store.safetensors_reader import Progress
from midfill.tokenizer import CodeTokenizer


class Scorer:
    """A model as the engine holds it, for scoring given texts only: it generates nothing."""

    def __init__(self, spec: str, *, device: str, dtype: str, progress: Progress) -> None:
        """``spec``, ``device`` and ``dtype`` are those of the settings. Raises MidfillError."""
        source = models.resolve(spec)
        folder = models.prepare(source, progress)
        self._loaded = load(folder, source.name, device=device, dtype=dtype, progress=progress)
        self._residents = ResidentAdapters(self._loaded.model)
        self._runner = Runner(self._loaded.model)

    @property
    def tokenizer(self) -> CodeTokenizer:
        """The model's tokenizer."""
        return self._loaded.tokenizer

    @property
    def number_format(self) -> str:
        """The number format of the weights: int8, bfloat16, ..."""
        return self._loaded.number_format

    def read(self, name: str, folders: Sequence[Path]) -> Adapter:
        """Return the sum of the adapters in ``folders``, ready for ``nats``. Raises MidfillError."""
        model, names = self._loaded.model, self._loaded.base_names
        adapter = summed(name, [read_adapter(name, folder, model, names) for folder in folders])
        self._runner.make_ready(adapter)
        self._residents.add(adapter)
        return self._residents.adapters[name]

    def nats(self, ids: Sequence[int], n_prompt: int, adapter: Adapter | None) -> list[float]:
        """Return the negative log likelihood, in nats, of each of ``ids`` after the first ``n_prompt`` (at least 1)."""
        slot = Slot()
        slot.begin(ids[:-1], None, None)
        found: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(ids) - 1, PREFILL_CHUNK):
                positions = range(start, min(start + PREFILL_CHUNK, len(ids) - 1))
                first = max(start, n_prompt - 1)  # the first position here whose next token counts
                n_logits = max(0, positions.stop - first)
                rows = Rows(slot, ids[start : positions.stop], positions, n_logits)
                (logits,) = self._runner.forward([rows], adapter)
                if n_logits:
                    labels = torch.tensor(ids[first + 1 : positions.stop + 1], device=logits.device)
                    chosen = torch.log_softmax(logits.float(), -1).gather(1, labels[:, None])
                    found += (-chosen[:, 0]).tolist()
        return found
