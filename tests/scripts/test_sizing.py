"""The arithmetic of how many GPUs a company needs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from scripts.sizing import Card, Model, People, Requests, by_anchor, size, table

# Qwen2.5-Coder-7B in bfloat16 on a card with 48 GB: 28 layers, 4 heads of keys and values, 128 wide.
MODEL = Model(7.6e9, 28, 4, 128)
CARD = Card(44.7, prefill=12_000, decode=1_500)
REQUESTS = Requests()


def test_requests_a_second() -> None:
    assert People(1000, at_once=0.1, keys_per_minute=120, reaching=0.05).requests_per_s == pytest.approx(10.0)
    assert People(0).requests_per_s == 0


def test_memory() -> None:
    assert MODEL.weights_gib == pytest.approx(14.16, abs=0.01)
    assert MODEL.kv_bytes_per_token == 57_344
    assert dataclasses.replace(MODEL, kv_bytes=1.0).kv_bytes_per_token == 28_672


def test_time_decides_where_memory_is_plenty() -> None:
    found = size(People(10_000), MODEL, REQUESTS, CARD, spare=0)
    work_s = 2048 * 0.2 / 12_000 + 24 / 1_500
    assert found.limit == "time"
    assert found.requests_per_s_and_card == pytest.approx(0.6 / work_s)
    assert found.requests_per_s == pytest.approx(10_000 * 0.1 * 100 / 60 * 0.04)
    assert found.gpus == -(-found.requests_per_s // found.requests_per_s_and_card)


def test_memory_decides_where_it_is_short() -> None:
    small = dataclasses.replace(CARD, memory_gib=17.5, adapters_gib=1.0, decode=1e6, prefill=1e9)
    found = size(People(10_000), MODEL, REQUESTS, small, spare=0)
    assert found.limit == "memory"
    assert found.kv_gib == pytest.approx(found.kv_room_gib)


def test_a_model_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="leaves"):
        size(People(1), MODEL, REQUESTS, dataclasses.replace(CARD, memory_gib=15.0))


@pytest.mark.parametrize("users", [1, 100, 1_000, 10_000, 100_000])
def test_more_people_never_need_fewer_cards(users: int) -> None:
    found = [size(People(n), MODEL, REQUESTS, CARD).gpus for n in (users, 2 * users)]
    assert found[0] <= found[1]
    assert found[0] >= 2  # one may fail
    assert by_anchor(users) <= by_anchor(2 * users)


def test_what_a_cache_of_prompts_is_worth() -> None:
    without = size(People(100_000), MODEL, dataclasses.replace(REQUESTS, cached=0.0), CARD).gpus
    assert without > 2 * size(People(100_000), MODEL, REQUESTS, CARD).gpus


@pytest.mark.parametrize(("users", "cards"), [(1, 1), (750, 1), (751, 2), (100_000, 134)])
def test_the_anchor(users: int, cards: int) -> None:
    assert by_anchor(users) == cards


def test_the_page_shows_what_the_arithmetic_says() -> None:
    page = (Path(__file__).parents[2] / "docs/team.md").read_text(encoding="utf-8")
    assert table() in page
