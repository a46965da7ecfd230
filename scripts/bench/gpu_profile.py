"""Show in which kernels a GPU spends the time of a prompt and of a decoding step: where gpu.py's milliseconds go.

    python -m scripts.bench.gpu_profile [--dtype bfloat16] [--context 2048] [--rows 30]
    python -m scripts.bench.gpu_profile --tiny --device cpu       only to see that it runs

The other options are those of gpu.py. Prints two tables of torch's profiler with the kernels sorted by time. Below each
table stand the time of a step by the clock, the sum of its kernels, and the difference, in which the device is idle.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from . import gpu
from .gpu_model import Bench, arguments, build, why_not

N_STEPS = 10


def profiled(bench: Bench, action: Callable[[], object], n: int, n_rows: int) -> None:
    """Print the parts of ``n`` runs of ``action``."""
    spent = min(bench.seconds(action) for _ in range(3))
    is_cuda = bench.device.type == "cuda"
    activities = [ProfilerActivity.CUDA] if is_cuda else [ProfilerActivity.CPU]
    with profile(activities=activities) as seen:
        for _ in range(n):
            action()
        bench.sync()
    kernels = seen.key_averages()
    order = "self_device_time_total" if is_cuda else "self_cpu_time_total"
    print(kernels.table(sort_by=order, row_limit=n_rows, max_name_column_width=70))
    busy = sum(getattr(kernel, order) for kernel in kernels) / n / 1e3
    count = sum(kernel.count for kernel in kernels) / n
    print(
        f"{spent * 1e3:.3f} ms by the clock, {busy:.3f} ms in {count:.0f} kernels, {spent * 1e3 - busy:.3f} ms idle\n"
    )


def main() -> int:
    """Profile a step of one token by its graph, and a prompt."""
    parser = arguments(__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=30, help="number of kernels to print")
    options = parser.parse_args()
    if (problem := why_not(options)) is not None:
        print(problem, file=sys.stderr)
        return 2
    with torch.inference_mode():
        bench = build(options)
        gpu.capture(bench)
        slot = bench.slots.slots[0]
        slot.truncate(0)
        generation = gpu.read(bench, slot, bench.prompt(options.context))
        print("a token after", options.context)
        profiled(bench, lambda: gpu.advance(bench, generation), N_STEPS, options.rows)

        def read() -> None:
            slot.truncate(0)
            gpu.read(bench, slot, bench.prompt(options.context, 1))

        print("a prompt of", options.context)
        profiled(bench, read, 1, options.rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
