"""What a training process is told and what it reports, as lines of JSON: it has its own
memory, and its faults stay there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that ``midfill train`` decides before the work. Paths are absolute;
    flat, because it is sent as JSON."""

    name: str
    roots: tuple[str, ...]
    held_out: tuple[str, ...]  # folders whose files are held out; empty: some of ``roots``
    folder: str  # the run's folder: checkpoints, and at the end the adapter
    model: str
    device: str = "auto"
    template: str = "auto"
    order: str = "psm"
    rank: int = 4
    alpha: float = 16.0
    dropout: float = 0.1
    targets: tuple[str, ...] = ()
    on_top_of: str = ""  # name of the adapter that is frozen in the base, and its folders; empty: none
    under: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()  # only files of these, and only those that the glob matches, are learned from
    glob: str = ""
    start: str = ""  # folder of the adapter to continue from, and its name; empty: a fresh one
    start_name: str = ""
    n_steps: int = 0  # 0: depends on the device
    minutes: float = 0.0
    n_tokens: int = 0
    accumulate: int = 1
    rate: float = 3e-4
    seed: int = 1
    prompt_share: float = 0.5  # share of the prompt's tokens that are learned from besides the middle
    end_weight: float = 3.0  # weight of the token that ends a middle
    start_share: float = 0.5  # of the adapter that training starts from, in the average of the weights at the end
    draw: str = "even"  # how middles are drawn: one of weights.DRAWS
    learn_from_accepted: bool = False  # texts that the user accepted and kept come more often
    quantise: bool = False
    checkpointing: bool = False
    resume: bool = True
    estimate: bool = False  # only estimate whether training is likely to pay
    throttled: bool = True  # runs at idle priority
    run: str = ""  # name of a run to resume although texts have changed; empty: only one of the same texts

    @property
    def computes_again(self) -> bool:
        """Whether layers are computed again on the way back (gradient checkpointing). On a base in four bits they
        always are: its purpose is a small card."""
        return self.checkpointing or self.quantise


ADAPTER = "adapter"  # name of the finished adapter's folder in the run's folder
