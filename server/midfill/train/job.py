"""What a training process is told, and what it tells: lines of JSON, so that its memory and its faults are its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that ``midfill train`` decides before the work. Paths are absolute; flat, because it goes as JSON."""

    name: str
    roots: tuple[str, ...]
    held_out: tuple[str, ...]  # folders whose files are held out; none: some of ``roots``
    folder: str  # of the run: checkpoints, and at the end the adapter
    model: str
    device: str = "auto"
    template: str = "auto"
    order: str = "psm"
    rank: int = 4
    alpha: float = 16.0
    dropout: float = 0.1
    targets: tuple[str, ...] = ()
    start: str = ""  # folder of the adapter to go on from, and its name; empty: a fresh one
    start_name: str = ""
    n_steps: int = 0  # 0: by the device
    minutes: float = 0.0
    n_tokens: int = 0
    accumulate: int = 1
    rate: float = 3e-4
    seed: int = 1
    prompt_share: float = 0.5  # of the prompt's tokens, that are learned from beside the middle
    end_weight: float = 3.0  # of the token that ends a middle
    quantise: bool = False
    checkpointing: bool = False
    resume: bool = True
    estimate: bool = False  # only say whether it is likely to pay
    throttled: bool = True  # runs at idle priority
    run: str = ""  # goes on from the checkpoints of this run though texts have changed since; empty: of the same texts

    @property
    def computes_again(self) -> bool:
        """Whether layers are computed again on the way back (gradient checkpointing): always on a base in four bits,
        whose point is a small card."""
        return self.checkpointing or self.quantise


ADAPTER = "adapter"  # the folder of the finished adapter in the run's folder
