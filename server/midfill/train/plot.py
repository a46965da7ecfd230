"""The losses of a run as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from midfill.train.history import Entry

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


def nights(entries: Sequence[Entry], file: Path) -> None:
    """Draw the held-out loss of each night's adapter into an SVG or PNG; filled if it was promoted."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    known = [(at, entry.after, entry.kind) for at, entry in enumerate(entries, 1) if entry.after is not None]
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    axes.plot([at for at, _, _ in known], [after for _, after, _ in known], color="#b8c4d6", linewidth=1.0, zorder=1)
    for kind, face in (("promoted", "#2f6db5"), ("refused", "white")):
        places = [(at, after) for at, after, of in known if of == kind]
        if places:
            axes.scatter(*zip(*places, strict=True), label=kind, facecolor=face, edgecolor="#2f6db5", zorder=2)
    axes.set_xlabel("night")
    axes.set_ylabel("held-out loss (nats a token)")
    axes.spines[["top", "right"]].set_visible(False)
    if known:
        axes.legend(frameon=False)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    plt.close(figure)


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the mean of each value and the SMOOTH - 1 before it."""
    return [sum(values[max(0, at - SMOOTH + 1) : at + 1]) / min(at + 1, SMOOTH) for at in range(len(values))]
