"""What the package holds and says, and the extension's pure parts."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from midfill.config import DEFAULT, WORKSPACE_KEYS

from .workbench import NODE, REPOSITORY

SOURCES = REPOSITORY / "editors" / "vscode"
MANIFEST = json.loads((SOURCES / "package.json").read_text(encoding="utf-8"))
PROPERTIES = {
    name.removeprefix("midfill."): value
    for name, value in MANIFEST["contributes"]["configuration"]["properties"].items()
}
EDITORS_OWN = {"trigger", "grow", "path", "trace.server"}


def snake(name: str) -> str:
    return re.sub("[A-Z]", lambda match: "_" + match.group().lower(), name)


def test_pure_parts() -> None:
    command = [str(NODE), "--test", "--test-reporter=spec", str(Path(__file__).parent / "pure.test.ts")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "fail 0" in run.stdout


def test_the_package_holds_what_it_needs(vsix: Path) -> None:
    names = {name for name in zipfile.ZipFile(vsix).namelist() if name.startswith("extension/")}
    assert names == {
        f"extension/{name}"
        for name in (
            "package.json", "readme.md", "changelog.md", "LICENSE.txt", "icon.png", "out/extension.js",
            "out/THIRD-PARTY-NOTICES.txt", "walkthrough/install.md", "walkthrough/type.md", "walkthrough/switch.md",
        )
    }  # fmt: skip


def test_one_version() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert MANIFEST["version"] == project["version"]


@pytest.mark.parametrize("name", sorted(PROPERTIES.keys() - EDITORS_OWN))
def test_settings_are_the_servers(name: str) -> None:
    setting, default = PROPERTIES[name], getattr(DEFAULT, snake(name))
    assert setting["default"] == (list(default) if isinstance(default, tuple) else default)
    assert setting.get("description") or setting.get("markdownDescription")
    assert (setting.get("scope") != "machine") == (snake(name) in WORKSPACE_KEYS)  # a workspace decides no others


def test_every_setting_that_is_sent_is_one() -> None:
    sent = re.findall(
        r"'(\w+)'", "".join(re.findall(r"= \[([^\]]*)\]", (SOURCES / "src/settings.ts").read_text("utf-8")))
    )
    assert set(sent) == PROPERTIES.keys() - EDITORS_OWN
    assert {snake(name) for name in sent} <= {field.name for field in dataclasses.fields(DEFAULT)}


def test_every_command_is_handled() -> None:
    handled = set(re.findall(r"^    (\w+)[:,]", (SOURCES / "src/extension.ts").read_text("utf-8"), re.MULTILINE))
    commands = {command["command"].removeprefix("midfill.") for command in MANIFEST["contributes"]["commands"]}
    assert commands <= handled


def test_only_stable_api() -> None:
    assert "enabledApiProposals" not in MANIFEST
