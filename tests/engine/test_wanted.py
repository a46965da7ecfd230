"""The advantage of names that are about to be used."""

from __future__ import annotations

import pytest
import torch

from midfill.engine.local.wanted import BEGIN, GO_ON, Wanted

TEXTS = ["S", "Sa", "Save", " Sa", "ve", "v", "x", "(", "Saver", "Load"]


class Few:
    """A vocabulary of TEXTS."""

    text_of = TEXTS

    def leading_to(self, text: str) -> list[int]:
        return [i for i, one in enumerate(TEXTS) if text.startswith(one)]


def favoured(subject: Wanted) -> dict[str, float]:
    logits = subject.favour(torch.zeros(len(TEXTS)))
    return {text: float(value) for text, value in zip(TEXTS, logits, strict=True) if value}


@pytest.mark.parametrize(
    ("said", "chosen", "expected"),
    [
        ("", [], {"S": BEGIN, "Sa": BEGIN, "Save": BEGIN, " Sa": BEGIN}),
        ("", ["Sa"], {"ve": GO_ON, "v": GO_ON}),
        ("", [" Sa"], {"ve": GO_ON, "v": GO_ON}),
        ("Sa", [], {"ve": GO_ON, "v": GO_ON}),
    ],
)
def test_tokens_that_spell_a_name(said: str, chosen: list[str], expected: dict[str, float]) -> None:
    subject = Wanted(["Save"], Few(), said)  # type: ignore[arg-type]
    for text in chosen:
        subject.advance(TEXTS.index(text))
    assert favoured(subject) == expected


@pytest.mark.parametrize("chosen", [["Save"], ["x"], ["Sa", "x"], ["("], ["Saver"]])
def test_it_is_over_after_the_first_word(chosen: list[str]) -> None:
    subject = Wanted(["Save"], Few())  # type: ignore[arg-type]
    for text in chosen:
        subject.advance(TEXTS.index(text))
    assert subject.over
    assert favoured(subject) == {}
