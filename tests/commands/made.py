"""Inputs for the commands."""

from __future__ import annotations

TASKS = [
    {
        "task_id": f"T/{n}",
        "prompt": f"def f_{n}(a):\n",
        "canonical_solution": f"    b = a + {n}\n    return b\n",
        "test": f"def check(f):\n    assert f(1) == {n + 1}\n",
        "entry_point": f"f_{n}",
    }
    for n in range(8)
]
