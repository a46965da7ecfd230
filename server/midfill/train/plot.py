"""The losses of a run as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

SMOOTH = 20  # steps


def losses(history: Sequence[Mapping[str, float]], file: Path) -> None:
    """Draw the training loss (each step, and smoothed) and the held-out loss over the steps into an SVG or PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    train = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    held_out = [(entry["step"], entry["held_out"]) for entry in history if "held_out" in entry]
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    if train:
        steps, values = zip(*train, strict=True)
        axes.plot(steps, values, color="#b8c4d6", linewidth=0.8, label="a step")
        axes.plot(steps, smoothed(values), color="#2f6db5", linewidth=1.8, label=f"mean of {SMOOTH} steps")
    if held_out:
        steps, values = zip(*held_out, strict=True)
        axes.plot(steps, values, "o-", color="#d9622b", linewidth=1.5, markersize=4, label="held out")
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats a token)")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def smoothed(values: Sequence[float]) -> list[float]:
    """The mean of each value and the SMOOTH - 1 before it."""
    return [sum(values[max(0, at - SMOOTH + 1) : at + 1]) / min(at + 1, SMOOTH) for at in range(len(values))]
