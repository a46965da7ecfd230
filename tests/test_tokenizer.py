"""Text in, ids out, and back; what spells a control token stays text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midfill.tokenizer import CodeTokenizer, TextStream
from midfill.types import MidfillError
from tests.tokenizers_made import NAMES, describe, make

ODD = (
    "", " ", "  two", "\t\tx", "\n", "\n\n\n", "    return x", "é 漢字 😀👩‍👩‍👧 \U000e0041", "a\r\nb",
    "\x00\x7f", "<h1>x</h1>", "\ufeffbom", "\ufffd", "a \n  \n b ",
)  # fmt: skip
# "▁" is how SentencePiece writes a space: only there it cannot come back.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=60)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ODD)
def test_round_trip(name: str, text: str) -> None:
    tokenizer = make(name)
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(text=TEXT)
def test_round_trip_of_any_text(name: str, text: str) -> None:
    tokenizer = make(name)
    ids, starts = tokenizer.encode_with_offsets(text)
    assert tokenizer.decode(ids) == text
    assert len(starts) == len(ids)
    assert starts == sorted(starts)
    assert all(0 <= start < len(text) for start in starts)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("times", [1, 2, 3000])
def test_a_control_token_in_a_text_is_text(name: str, times: int) -> None:
    """Also where the merges rebuild it, and however often it is there."""
    tokenizer = make(name)
    for control in [str(token["content"]) for token in describe(name)["added_tokens"]]:
        text = f"x = '{control * times}'"
        ids, starts = tokenizer.encode_with_offsets(text)
        assert tokenizer.control_ids.isdisjoint(ids)
        assert tokenizer.decode(ids).replace("▁", " ") == text.replace("▁", " ")
        assert starts == sorted(starts)


def test_the_merges_of_the_test_do_rebuild_control_tokens() -> None:
    """Else the test above proved nothing."""
    from tokenizers import Tokenizer

    description = describe("codegemma") | {"added_tokens": []}
    ids = Tokenizer.from_str(json.dumps(description)).encode("<|fim_middle|>", add_special_tokens=False).ids
    assert ids == [make("codegemma").id_of(["<|fim_middle|>"])]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ud83d\ude00", "\udc00\ud800 x"])
def test_lone_surrogates_are_replaced(name: str, text: str) -> None:
    decoded = make(name).decode(make(name).encode(text))
    assert decoded == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(text=TEXT.filter(lambda text: "\ufffd" not in text))  # it stands for an incomplete character
def test_stream_says_what_decoding_the_whole_says(name: str, text: str) -> None:
    tokenizer = make(name)
    stream = TextStream(tokenizer)
    pieces = [stream.push(token) for token in tokenizer.encode(text)]
    assert "".join(pieces) + stream.flush() == text


@pytest.mark.parametrize("name", NAMES)
def test_stream_drops_half_a_character(name: str) -> None:
    tokenizer = make(name)
    ids = tokenizer.encode("a😀")
    stream = TextStream(tokenizer)
    assert "".join(stream.push(token) for token in ids[:-1]) + stream.flush() == "a"


def test_control_tokens_are_spelled_out() -> None:
    tokenizer = make("codellama")
    pre = tokenizer.id_of(["▁<PRE>"])
    assert pre is not None
    assert tokenizer.decode([pre, *tokenizer.encode(" x"), pre]) == "▁<PRE> x▁<PRE>"


def test_text_tokens_among_the_added_ones_stay_usable() -> None:
    tokenizer = make("codegemma")
    newlines = tokenizer.id_of(["\n\n\n"])
    assert newlines not in tokenizer.control_ids
    assert tokenizer.encode("\n\n\n") == [newlines]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": 1}', "{" * 3000])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(content)
    with pytest.raises(MidfillError, match="cannot be read as a tokenizer"):
        CodeTokenizer.from_file(file)
    file.unlink()
    with pytest.raises(MidfillError, match="is missing"):
        CodeTokenizer.from_file(file)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("order", ["as written", "model first", "an end that is not the model's"])
def test_a_file_is_read_as_its_content(name: str, indent: int | None, order: str, tmp_path: Path) -> None:
    """Although its model, where it comes last, is handed on without being parsed."""
    description = describe(name)
    model = description.pop("model")
    if order == "model first":
        written = {"model": model, **description}
    elif order == "as written":
        written = {**description, "model": model}
    else:
        processor = description.pop("post_processor")
        written = {**description, "model": model, "post_processor": processor}
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(written, indent=indent) + "\n", encoding="utf-8")
    read = CodeTokenizer.from_file(file)
    assert read.control_ids == make(name).control_ids
    for text in ODD:
        assert read.encode(text) == make(name).encode(text)
