"""A model with an adapter, and the gradients of one batch."""

from __future__ import annotations

import random

import torch
from peft import PeftModel

from midfill.engine.local.model.load import LoadedModel
from midfill.train.base import Lora, with_lora
from midfill.train.examples import Batch, Example, Loss
from midfill.train.steps import loss_of

CPU = torch.device("cpu")
WITHOUT_DROPOUT = Lora(rank=3, dropout=0.0)


def a_batch() -> Batch:
    chance = torch.Generator().manual_seed(3)
    rows = torch.randint(5, 300, (3, 70), generator=chance).tolist()
    return Batch.of([Example(tuple(row), 20, "line") for row in rows], Loss(0.5, 3.0), random.Random(1))


def started(loaded: LoadedModel, lora: Lora = WITHOUT_DROPOUT) -> PeftModel:
    """Return it with an adapter whose b are not zero, so that a has a gradient, the same ones each time."""
    adapted = with_lora(loaded, lora, "x", 1)
    chance = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn(weight.shape, generator=chance) * 0.05)
    return adapted.train()


def gradients(model: PeftModel) -> dict[str, torch.Tensor]:
    loss = loss_of(model, a_batch(), CPU)
    loss.backward()  # type: ignore[no-untyped-call]
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return found | {"loss": loss.detach().reshape(1)}


def apart(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Return the largest relative difference."""
    assert found.keys() == expected.keys()
    return max(float((found[name] - one).norm() / one.norm()) for name, one in expected.items())
