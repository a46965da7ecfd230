"""What a step's loops are given."""

from __future__ import annotations

from typing import NamedTuple

from midfill.engine.local.forward.compiled.compiled import Array


class Shape(NamedTuple):
    """Numbers of a step; counts, but for the last."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    dim: int
    threads: int
    bytes: int  # 1: the layers' products take activations of eight bits, a scale a group (byte_products.py)


class Work(NamedTuple):
    """A step's rows and what they become; n rows each. Counters are zero at its start."""

    x: Array  # float32 (n, hidden)
    places: Array  # which of the step's slots a row belongs to
    positions: Array  # in its slot
    cos: Array  # float32 (n, dim)
    sin: Array
    logit_rows: Array  # rows whose logits are wanted
    normed: Array  # float32 (n, hidden)
    quantised: Array  # int16, room for n times the longest row; or as many bytes
    scales: Array  # float32: what a level of a quantised row is worth, or of each group of its inputs
    lora_a: Array  # float32 (n, an adapter's ranks)
    qkv: Array  # float32 (n, ...), as are those that follow
    attention_output: Array
    gate_up: Array
    inner: Array
    logits: Array  # float32 (logit_rows, vocabulary)
    counters: Array  # int64 (phases, LINE)
