"""The files and the texts of the package, and the extension's pure parts."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from pathlib import Path

from .workbench import NODE, REPOSITORY

SOURCES = REPOSITORY / "editors" / "vscode"
MANIFEST = json.loads((SOURCES / "package.json").read_text(encoding="utf-8"))


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


def test_every_command_is_handled() -> None:
    handled = set(re.findall(r"^    (\w+)[:,]", (SOURCES / "src/extension.ts").read_text("utf-8"), re.MULTILINE))
    commands = {command["command"].removeprefix("midfill.") for command in MANIFEST["contributes"]["commands"]}
    assert commands <= handled


def test_only_stable_api() -> None:
    assert "enabledApiProposals" not in MANIFEST
