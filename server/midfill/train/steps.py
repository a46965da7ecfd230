"""One step of training, and the loss of examples that are only read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from peft import PeftModel
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import get_cosine_schedule_with_warmup

from midfill.train.examples import Batch, Example
from midfill.types import MidfillError

CLIP = 1.0  # norm of the gradient
PIECE = 128  # rows of logits at once: a row of a vocabulary of 152,000 takes 0.6 MB, and its gradient as much
N_CACHED = 8  # rows of logits that fit into a core's second cache as float32
# On a GPU, rows are padded to a multiple of this: then kernels are chosen and memory is allocated only once per length.
ROW_STEP = 128
# Operations that some families apply to the logits after the head.
BEHIND_HEAD = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class DivergedError(MidfillError):
    """The loss is no longer a number."""


def computes_in_sixteen_bits(model: Any, device: torch.device) -> bool:
    """Whether everything between the layers of ``model`` stays in bfloat16, though its adapter is in float32."""
    return device.type == "cuda" and model.dtype == torch.bfloat16


def in_sixteen_bits(model: PeftModel, device: torch.device) -> AbstractContextManager[Any]:
    """Return a context with products in bfloat16 if ``computes_in_sixteen_bits``; norms and
    losses choose their own format."""
    if computes_in_sixteen_bits(model.get_base_model(), device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def logits_of(model: PeftModel, batch: Batch, device: torch.device) -> torch.Tensor:
    """Return the logits of positions that predict a label, (labels, vocabulary): the vocabulary is wide,
    and the others have no loss."""
    keep = torch.tensor(batch.predicts, device=device)
    with in_sixteen_bits(model, device):
        logits: torch.Tensor = model(**_inputs(batch, device), logits_to_keep=keep, use_cache=False).logits
    return logits[0].float()


def loss_of(model: PeftModel, batch: Batch, device: torch.device) -> torch.Tensor:
    """Return the mean negative log likelihood of the labels by their weights, in nats."""
    labels = torch.tensor(batch.labels, device=device)
    weights = torch.tensor(batch.weights, device=device)
    causal: Any = model.get_base_model()
    if len(labels) <= PIECE or any(getattr(causal.config, name, None) is not None for name in BEHIND_HEAD):
        return _sum(logits_of(model, batch, device), labels, weights) / weights.sum()
    # The adapter's layers are in the base model itself, so its parts have them.
    with in_sixteen_bits(model, device):
        hidden: torch.Tensor = causal.base_model(**_inputs(batch, device), use_cache=False).last_hidden_state
    rows = hidden[0, torch.tensor(batch.predicts, device=device)]  # (labels, width)
    head = causal.get_output_embeddings()

    def piece(rows: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        with in_sixteen_bits(model, device):
            logits = head(rows)
        return _sum(logits.float(), labels, weights)

    if device.type == "cpu" and not any(weight.requires_grad for weight in head.parameters()):
        whole: torch.Tensor = _AtOnce.apply(rows, head, labels, weights)  # type: ignore[no-untyped-call]
        return whole / weights.sum()
    total = torch.zeros((), device=device)
    for part in zip(*(torch.split(one, PIECE) for one in (rows, labels, weights)), strict=True):
        total = total + (checkpoint(piece, *part, use_reentrant=False) if torch.is_grad_enabled() else piece(*part))
    return total / weights.sum()


class _AtOnce(torch.autograd.Function):
    """The weighted sum of the cross entropies of ``head(rows)``; the gradient of each piece is made right after its
    loss, so that no piece is computed twice (as in Liger Kernel, Hsu et al. 2024, arXiv:2410.10989)."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, head: torch.nn.Module, labels: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:  # fmt: skip
        """rows: (labels, width); labels, weights: (labels,)."""
        total, gradients, needed = torch.zeros(()), [], ctx.needs_input_grad[0]
        pieces = (torch.split(one, PIECE) for one in (rows, labels, weights))
        for part, its_labels, its_weights in zip(*pieces, strict=True):
            with torch.set_grad_enabled(needed):
                its = part.detach().requires_grad_(needed)
                logits = head(its)
            of_logits = torch.empty_like(logits)
            # A few rows at a time stay in the cache between these operations.
            for at in range(0, len(part), N_CACHED):
                few = slice(at, at + N_CACHED)
                nats, of_few = with_gradient(logits.detach()[few], its_labels[few], its_weights[few])
                total += nats
                of_logits[few] = of_few
            if needed:
                gradients += torch.autograd.grad(logits, its, of_logits)
        ctx.gradients = gradients
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """The gradient of the rows."""
        return torch.cat(ctx.gradients) * gradient, None, None, None


def with_gradient(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return the weighted sum of the cross entropies of ``logits``, (rows, vocabulary), and its gradient in float32."""
    highest, right = logits.amax(-1, keepdim=True).float(), logits.gather(-1, labels[:, None]).float()
    values = logits.to(torch.float32, copy=True)
    sums = values.sub_(highest).exp_().sum(-1, keepdim=True)
    nats = (sums.log() + highest - right)[:, 0]
    values.mul_(weights[:, None] / sums).scatter_add_(-1, labels[:, None], -weights[:, None])
    return (nats * weights).sum(), values


def _inputs(batch: Batch, device: torch.device) -> dict[str, torch.Tensor]:
    """Return the inputs, (1, tokens) each; the model makes the row's mask from the positions."""
    ids, positions = filled_up(batch, ROW_STEP) if device.type == "cuda" else (batch.ids, batch.positions)
    return {
        "input_ids": torch.tensor([ids], device=device),
        "position_ids": torch.tensor([positions], device=device),
    }


def filled_up(batch: Batch, step: int) -> tuple[list[int], list[int]]:
    """Return ids and positions, padded to a multiple of ``step``. The padding continues the last example, so that a row
    of one example still needs no mask; no token comes after it, so nothing of the others changes."""
    n_more = -len(batch.ids) % step
    first = batch.positions[-1] + 1
    return [*batch.ids, *[batch.ids[-1]] * n_more], [*batch.positions, *range(first, first + n_more)]


def _sum(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (cross_entropy(logits, labels, reduction="none") * weights).sum()


class Stepper:
    """Optimiser and schedule over the adapter's weights."""

    def __init__(self, model: PeftModel, device: torch.device, *, rate: float, n_steps: int, done: int = 0) -> None:
        """``done`` of ``n_steps`` steps were made before."""
        self.model, self.device = model, device
        self.weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.optimizer = torch.optim.AdamW(self.weights.values(), lr=rate, weight_decay=0.0)
        for group in self.optimizer.param_groups:
            group["initial_lr"] = rate  # a schedule that begins in the middle needs it
        n_warm = max(1, min(20, n_steps // 10))
        self._schedule = get_cosine_schedule_with_warmup(self.optimizer, n_warm, n_steps, last_epoch=done - 1)

    @property
    def rate(self) -> float:
        """The current learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, batches: Sequence[Batch]) -> float:
        """Change the weights once by the weighted mean over the labels of all ``batches``; return the loss.

        Raises DivergedError, and then leaves the weights as they were.
        """
        self.model.train()
        weight, total = sum(sum(batch.weights) for batch in batches), 0.0
        self.optimizer.zero_grad(set_to_none=True)
        for batch in batches:
            loss = loss_of(self.model, batch, self.device) * (sum(batch.weights) / weight)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights.values(), CLIP))
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise DivergedError("training diverged: the loss is no longer a number", "use a smaller --rate")
        self.optimizer.step()
        self._schedule.step()
        return total

    def state(self) -> dict[str, torch.Tensor]:
        """Return weights and moments by name, not copied."""
        found: dict[str, torch.Tensor] = {}
        for name, weight in self.weights.items():
            found[f"weight.{name}"] = weight.detach()
            moments = self.optimizer.state.get(weight, {})
            for kind in ("exp_avg", "exp_avg_sq"):
                if kind in moments:
                    found[f"{kind}.{name}"] = moments[kind]
        return found

    def restore(self, state: dict[str, torch.Tensor], done: int) -> None:
        """Restore the ``state`` that was taken after ``done`` steps."""
        for name, weight in self.weights.items():
            with torch.no_grad():
                weight.copy_(state[f"weight.{name}"])
            if f"exp_avg.{name}" in state:
                self.optimizer.state[weight] = {
                    "step": torch.tensor(float(done)),
                    "exp_avg": state[f"exp_avg.{name}"].to(weight.device).clone(),
                    "exp_avg_sq": state[f"exp_avg_sq.{name}"].to(weight.device).clone(),
                }


def losses(model: PeftModel, examples: Iterable[Example], device: torch.device) -> Iterator[float]:
    """Yield the mean loss of each example's labels, in nats."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for example in examples:
                yield float(loss_of(model, Batch.of([example]), device))
    finally:
        model.train(was_training)
