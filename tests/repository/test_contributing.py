"""The files that CONTRIBUTING.md names exist, and facts in two places are the same in both."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import midfill

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ADDITIONS = TEXT[TEXT.index("## Four common additions") : TEXT.index("## What a change looks like")]
MADE = (".venv", "dist")  # not there before `make`


def test_every_path_is_there() -> None:
    paths = set(re.findall(r"`([\w./-]+/[\w./-]*)`", TEXT)) | set(re.findall(r"\]\(([\w./-]+)\)", TEXT))
    known = [path for path in paths if not path.startswith((*MADE, ".tools")) and "NAME" not in path]
    assert len(known) > 15
    assert [path for path in known if not (ROOT / path).exists()] == []


def test_no_addition_touches_more_than_three_files() -> None:
    steps = re.split(r"^\*\*A ", ADDITIONS, flags=re.MULTILINE)[1:]
    assert len(steps) == 4
    assert [len(re.findall(r"^\d\. ", step, re.MULTILINE)) for step in steps] == [3, 3, 3, 3]


def test_every_target_is_one() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][\w-]+)", TEXT)) <= targets


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extension = json.loads((ROOT / "editors/vscode/package.json").read_text(encoding="utf-8"))
    assert midfill.__version__ == project["version"] == extension["version"]


@pytest.mark.parametrize("name", ["bug.yml", "idea.yml", "config.yml"])
def test_templates_can_be_read(name: str) -> None:
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE" / name).read_text(encoding="utf-8"))
    if name != "config.yml":
        assert form["name"]
        assert form["description"]
        assert all(field["type"] in ("textarea", "input") and field["attributes"]["label"] for field in form["body"])
        assert len({field["id"] for field in form["body"]}) == len(form["body"])
