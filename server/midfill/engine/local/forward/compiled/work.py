"""The inputs and buffers of a step's loops."""

from __future__ import annotations

from typing import NamedTuple

from midfill.engine.local.forward.compiled.compiled import Array


class StepShape(NamedTuple):
    """Numbers of a step; all but the last are counts."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    dim: int
    threads: int
    bytes: int  # 1: the layers' products use activations of eight bits, one scale per group (byte_products.py)


class Work(NamedTuple):
    """A step's rows and their intermediate values; n rows each. Counters are zero at its start."""

    x: Array  # float32 (n, hidden)
    places: Array  # which of the step's slots a row belongs to
    positions: Array  # in its slot
    cos: Array  # rows whose logits are needed
    sin: Array
    logit_rows: Array  # rows whose logits are wanted
    normed: Array  # float32 (n, hidden)
    quantised: Array  # int16, room for n times the longest row; or as many bytes
    scales: Array  # float32: the value of one level of a quantised row, or of each group of its inputs
    lora_a: Array  # float32 (n, an adapter's ranks)
    qkv: Array  # float32 (n, ...), like the next three
    attention_output: Array
    gate_up: Array
    inner: Array
    logits: Array  # float32 (logit_rows, vocabulary)
    counters: Array  # int64 (phases, LINE)
