"""The prompts that every contender gets."""

from __future__ import annotations

import pytest

from midfill import fim
from midfill.bench.holes import cut
from midfill.bench.prompts import WINDOW, Layouts, Windows, continuation, shortened
from tests.support import at
from tests.tokenizers_made import make

TOKENIZER = make("qwen2.5-coder")
LAYOUTS = Layouts(fim.TEMPLATES["qwen2.5-coder"], TOKENIZER, keeps_suffix=True)


@pytest.mark.parametrize("n_tokens", [64, 400])
def test_shortened(n_tokens: int) -> None:
    for hole in cut(4):
        short = shortened(hole, TOKENIZER, n_tokens)
        assert hole.prefix.endswith(short.prefix)
        assert hole.suffix.startswith(short.suffix)
        assert short.middle == hole.middle
        n = len(LAYOUTS.exact_ids(short.snapshot()))
        assert n_tokens * 0.97 <= n <= n_tokens * 1.03  # where it is cut, a token may read otherwise


def test_typing_keeps_the_head() -> None:
    hole = shortened(cut(1)[0], TOKENIZER, 400)
    earlier, now = (LAYOUTS.exact_ids(hole.snapshot(n)) for n in (8, 0))
    n_shared = next(i for i, (a, b) in enumerate(zip(earlier, now, strict=False)) if a != b)
    assert n_shared > 250
    earlier, now = (LAYOUTS.default(hole.snapshot(n), 1).prompt for n in (8, 0))
    assert earlier[:250] == now[:250]


def test_exact_layout() -> None:
    snapshot = at("total = wid‸\nreturn total\n")
    spelled = TOKENIZER.decode(LAYOUTS.exact_ids(snapshot))
    assert spelled == "<|file_sep|>main.py\n<|fim_prefix|>total = wid<|fim_suffix|>\nreturn total\n<|fim_middle|>"


def test_default_layout() -> None:
    request = LAYOUTS.default(at("total = wid‸\nreturn total\n"), 32)
    spelled = TOKENIZER.decode(request.prompt)
    assert spelled == "<|file_sep|>main.py\n<|fim_prefix|>total =<|fim_suffix|>\nreturn total\n<|fim_middle|>"
    assert request.forced_prefix == " wid"
    assert request.suffix is not None
    start, end = request.suffix
    assert TOKENIZER.decode(request.prompt[start:end]) == "\nreturn total\n"  # without the sentinel before it
    assert (request.max_tokens, request.temperature, request.speculate, request.window) == (32, 0, True, WINDOW)


def test_what_is_approximate_can_be_left_out() -> None:
    snapshot = at("total = wid‸\nreturn total\n")
    exact = LAYOUTS.exact(snapshot, 32)
    assert (exact.suffix, exact.forced_prefix, exact.speculate, exact.window) == (None, "", True, WINDOW)
    never = Layouts(fim.TEMPLATES["qwen2.5-coder"], TOKENIZER, keeps_suffix=False)  # as on a GPU
    assert never.default(snapshot, 32).suffix is None
    plain = continuation([1, 2], 4)
    assert (plain.prompt, plain.max_tokens, plain.suffix, plain.speculate) == ((1, 2), 4, None, False)


def test_windows() -> None:
    windows = Windows(TOKENIZER, seed=1)
    taken = [tuple(windows.take(128)) for _ in range(20)]
    assert {len(window) for window in taken} == {128}
    assert len({window[:16] for window in taken}) == 20
    again = Windows(TOKENIZER, seed=1)
    assert [tuple(again.take(128)) for _ in range(20)] == taken
