"""The files that are written from the table of settings agree with the table."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from scripts.settings import WRITTEN, manifest, property_of

from midfill.config import DEFAULT, SETTINGS, take
from midfill.lsp.settings import EDITOR_SETTINGS

ROOT = Path(__file__).parents[2]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(WRITTEN))
def test_it_says_what_the_table_says(name: str) -> None:
    assert WRITTEN[name](read(name)) == read(name), "run make settings"


def test_a_change_by_hand_is_found() -> None:
    text = read("editors/vscode/package.json")
    wrong = text.replace('"default": "balanced"', '"default": "eager"')
    assert wrong != text == manifest(wrong)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("candidates", {"type": "integer", "minimum": 1, "maximum": 8, "default": 3, "scope": "machine"}),
        ("disabled_scopes", {"type": "array", "items": {"type": "string", "enum": ["comment", "string", "docstring"]}}),
        ("disabled_files", {"maxItems": 100, "items": {"type": "string", "maxLength": 200}, "default": []}),
        ("quiet_on_battery", {"type": "boolean", "default": True, "scope": "machine"}),
        ("max_debounce_s", {"type": "number", "default": 0.1}),
    ],
)
def test_what_vs_code_reads(name: str, expected: dict[str, Any]) -> None:
    assert expected.items() <= property_of(name, 1).items()


def test_a_setting_of_the_editor_alone_is_not_sent() -> None:
    """The server takes no notice of what VS Code keeps beside its settings."""
    properties = json.loads(read("editors/vscode/package.json"))["contributes"]["configuration"]["properties"]
    keys = [key.removeprefix("midfill.") for key in properties]
    own = {key for key in keys if re.sub("[A-Z]", lambda m: "_" + m[0].lower(), key) not in SETTINGS}
    assert {key.partition(".")[0] for key in own} == EDITOR_SETTINGS


def test_the_extension_describes_every_setting() -> None:
    text = read("editors/vscode/README.md")
    properties = json.loads(read("editors/vscode/package.json"))["contributes"]["configuration"]["properties"]
    table, may_set = (
        text[text.index("| setting") : text.index("The program is")],
        text[text.index("A repository may") :],
    )
    names = re.findall(r"`([\w.]+)`", "".join(line.split("|")[1] for line in table.splitlines() if "|" in line))
    assert sorted(names) == sorted(key.removeprefix("midfill.") for key in properties)
    own = {name for name in names if properties[f"midfill.{name}"].get("scope", "workspace") == "workspace"}
    assert set(re.findall(r"`(\w+)`", may_set[: may_set.index(". ")])) == own


def test_neovim_completes_the_words_that_there_are() -> None:
    lists = re.findall(r"fixed\(\{([^}]*)\}\)", read("editors/neovim/lua/midfill/command.lua"))
    words = [tuple(re.findall(r"'(\w+)'", each)) for each in lists]
    for name in ("eagerness", "lines"):
        assert tuple(SETTINGS[name].choices) in words


def test_what_the_docs_set_can_be_set() -> None:
    """Every block of TOML that sets one of ours sets nothing else, and nothing that would be refused."""
    n_blocks = 0
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "editors").glob("*/README.md")]:
        for block in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            values = tomllib.loads(block)
            if values.keys() & SETTINGS.keys():
                n_blocks += 1
                assert take(DEFAULT, values, page.name).problems == ()
    assert n_blocks >= 2
