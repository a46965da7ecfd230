"""Small conversions, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from midfill.config import Config
from midfill.lsp import convert, settings
from midfill.lsp.positions import Encoding, to_character, to_index
from midfill.lsp.protocol import InvalidParams


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("print(x)", "print(x)"),
        ("\n\n   return x\n", "return x"),
        ("if x:\n    y", "if x: …"),
        ("z" * 200, "z" * 79 + "…"),
        ("z" * 79 + "\nmore", "z" * 79 + "…"),
        ("   ", ""),
    ],
)
def test_label(text: str, label: str) -> None:
    assert convert.label_of(text) == label
    assert len(label) <= convert.LABEL_CHARS


@pytest.mark.parametrize(
    ("text", "language", "block"),
    [
        ("x", "python", "```python\nx\n```"),
        ("a ```` b", "c++", "`````c++\na ```` b\n`````"),
        ("x", "py\n# `", "```py#\nx\n```"),
    ],
)
def test_fence(text: str, language: str, block: str) -> None:
    assert convert.fenced(text, language) == block


@pytest.mark.parametrize(
    "value", [None, [], {}, {"line": -1, "character": 0}, {"line": 1}, {"line": 1.0, "character": 0}]
)
def test_bad_positions(value: Any) -> None:
    with pytest.raises(InvalidParams):
        convert.read_position(value)


def test_a_huge_position_is_a_position() -> None:
    assert convert.read_position({"line": 10**30, "character": 0}) == (convert.MAX_NUMBER, 0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_units_there_and_back(encoding: Encoding) -> None:
    line = "aé中\U0001f600\ud800x"
    for index in range(len(line) + 1):
        character = to_character(line[:index], encoding)
        assert to_index(line, character, encoding) == index
    assert to_index(line, 10**9, encoding) == len(line)


@pytest.mark.parametrize(
    ("options", "section"),
    [
        (None, {}),
        ([1], {}),
        ({"maxTokens": 5, "adapter": None, "trace": {"server": "off"}}, {"maxTokens": 5, "adapter": None}),
        ({"midfill": {"maxTokens": 5}, "other": 1}, {"maxTokens": 5}),
        ({"midfill": {"maxTokens": 5}, "midfill.adapter": "a"}, {"maxTokens": 5, "adapter": "a"}),
        ({"midfill.max_tokens": 5, "midfill.trace.server": "off", "editor.x": 1}, {"max_tokens": 5}),
        ({"midfill": None}, {}),
        ({"midfill": {}}, {}),
        ({"python": {"analysis": {}}, "rust-analyzer": {}, "enabled": False}, {"enabled": False}),
        ({"python": {"analysis": {}}}, {}),  # another server's
        ({"python.analysis.typeCheckingMode": "off"}, {}),
        ({"nonsense": True}, {"nonsense": True}),  # a setting that may have been meant
        ({"adapter": {"name": "x"}}, {"adapter": {"name": "x"}}),  # ours, and not a string
    ],
)
def test_own_section(options: Any, section: dict[str, Any]) -> None:
    assert settings.own_section(options) == section


@pytest.mark.parametrize(
    ("changes", "new_link"),
    [
        ({"enabled": False}, False),
        ({"first_answer_s": 1.0}, False),
        ({"adapter": "x"}, True),
        ({"max_tokens": 5}, True),
    ],
)
def test_needs_new_link(changes: dict[str, Any], new_link: bool) -> None:
    assert settings.needs_new_link(Config(), Config(**changes)) is new_link


@pytest.mark.parametrize(
    ("params", "folders"),
    [
        ({"workspaceFolders": [{"uri": "file:///a"}, 5, {"uri": 1}], "rootUri": "file:///b"}, ("file:///a",)),
        ({"workspaceFolders": None, "rootUri": "file:///b"}, ("file:///b",)),
        ({"rootPath": "/c d"}, ("file:///c%20d",)),
        ({"rootPath": "c"}, ()),
        ({}, ()),
    ],
)
def test_folders(params: dict[str, Any], folders: tuple[str, ...]) -> None:
    assert settings.read_client(params).folders == folders
