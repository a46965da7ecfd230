"""The advantage of names that are about to be used."""

from __future__ import annotations

import math

import pytest
import torch

from midfill.engine.local.sequence.logit_bias import BEGIN, GO_ON, LogitBias

TEXTS = ["S", "Sa", "Save", " Sa", "ve", "v", "x", "(", "Saver", "Load", "\n"]


class Few:
    """A vocabulary of TEXTS."""

    text_of = TEXTS

    def leading_to(self, text: str) -> list[int]:
        return [i for i, one in enumerate(TEXTS) if text.startswith(one)]


def favoured(subject: LogitBias) -> dict[str, float]:
    logits = subject.favour(torch.zeros(len(TEXTS)))
    return {text: float(value) for text, value in zip(TEXTS, logits, strict=True) if value}


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ([], {"S": BEGIN, "Sa": BEGIN, "Save": BEGIN, " Sa": BEGIN}),
        (["Sa"], {"ve": GO_ON, "v": GO_ON}),
        ([" Sa"], {"ve": GO_ON, "v": GO_ON}),
    ],
)
def test_tokens_that_spell_a_name(chosen: list[str], expected: dict[str, float]) -> None:
    subject = LogitBias(["Save"], Few())  # type: ignore[arg-type]
    for text in chosen:
        subject.advance(TEXTS.index(text))
    assert favoured(subject) == expected


@pytest.mark.parametrize("chosen", [["Save"], ["x"], ["Sa", "x"], ["("], ["Saver"]])
def test_it_is_over_after_the_first_word(chosen: list[str]) -> None:
    subject = LogitBias(["Save"], Few())  # type: ignore[arg-type]
    for text in chosen:
        subject.advance(TEXTS.index(text))
    assert subject.over
    assert favoured(subject) == {}


def only(names: list[str], *chosen: str, logits: dict[str, float] | None = None) -> set[str]:
    """The tokens that may come next where there are no other names."""
    subject = LogitBias(names, Few(), only=True)  # type: ignore[arg-type]
    for text in chosen:
        subject.advance(TEXTS.index(text))
    values = torch.zeros(len(TEXTS))
    for text, value in (logits or {}).items():
        values[TEXTS.index(text)] = value
    found = subject.favour(values)
    return {text for text, value in zip(TEXTS, found.tolist(), strict=True) if value > -math.inf}


@pytest.mark.parametrize(("names", "chosen", "expected"), [
    (["Save"], [], {"S", "Sa", "Save"}),
    (["Save", "Load"], [], {"S", "Sa", "Save", "Load"}),
    (["Save"], ["Sa"], {"ve", "v"}),
    (["Save", "Saver"], ["Save"], set(TEXTS)),  # a whole name may end, though another one goes on
    (["Nothing"], [], set(TEXTS)),  # no token spells it
])  # fmt: skip
def test_a_choice_among_all_there_are(names: list[str], chosen: list[str], expected: set[str]) -> None:
    assert only(names, *chosen) == expected


def chosen_name(names: dict[str, float], logits: dict[str, float], *, only: bool) -> str:
    """Spell greedily what comes, up to the first word's end."""
    subject = LogitBias(list(names), Few(), only=only, advantages=list(names.values()))  # type: ignore[arg-type]
    word = ""
    while not subject.over:
        values = torch.tensor([logits.get(text, 0.0) for text in TEXTS])
        token = int(subject.favour(values).argmax())
        if TEXTS[token] == "(":
            break
        subject.advance(token)
        word += TEXTS[token]
    return word


@pytest.mark.parametrize("only", [True, False])
@pytest.mark.parametrize(("names", "logits", "expected"), [
    ({"Save": 0.0, "Load": 0.0}, {"Save": 1.5}, "Save"),
    ({"Save": 0.0, "Load": 3.0}, {"Save": 1.5}, "Load"),
    ({"Save": 3.0, "Load": 0.0}, {"Save": 2.5, "Load": 3.0}, "Save"),
    ({"Save": 3.0, "Load": 0.0}, {"Load": 5.0}, "Load"),  # where the model knows, little is added
    # A whole name that another one continues: ending and going on by what each of them has.
    ({"Save": 4.0, "Saver": 0.0}, {"Save": 2.0, "(": 3.0}, "Save"),
])  # fmt: skip
def test_additional_advantages(
    names: dict[str, float], logits: dict[str, float], expected: str, *, only: bool
) -> None:  # fmt: skip
    assert chosen_name(names, logits, only=only) == expected


@pytest.mark.parametrize("tokens", [["Save"], ["Sa", "ve"], ["S", "Sa"]])
def test_an_advantage_is_given_once(tokens: list[str]) -> None:
    """However many tokens a name takes, together they get what the name has."""
    names = {"Save": 5.0, "SSav": 5.0, "Load": 1.0}
    subject = LogitBias(list(names), Few(), only=True, advantages=list(names.values()))  # type: ignore[arg-type]
    got = 0.0
    for text in tokens:
        got += float(subject.favour(torch.zeros(len(TEXTS)))[TEXTS.index(text)])
        subject.advance(TEXTS.index(text))
    assert got == pytest.approx(5.0 * math.sqrt(3 / 4))  # the first token is one of four


@pytest.mark.parametrize(("text", "logit", "is_free"), [("x", 20.0, True), ("x", 2.0, False), ("\n", 20.0, False)])
def test_a_model_that_is_sure_may_write_another_word(text: str, logit: float, is_free: bool) -> None:
    """But no end of the text where a name is missing."""
    assert (text in only(["Save"], logits={text: logit})) is is_free
