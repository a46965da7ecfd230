"""The start: midfill is missing and then installed; a workspace that is not trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from .conftest import SCRIPTED_SETTINGS, environment, scripted_program
from .workbench import Workbench, opened, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EMPTY_PATH = "/usr/bin:/bin"
EVIL = '#!/bin/sh\necho "$0" >> "{marker}"\n'


def installed(folder: Path) -> None:
    """Install it as uv and pipx do."""
    program = folder / ".local" / "bin" / "midfill"
    program.parent.mkdir(parents=True)
    program.symlink_to(scripted_program(folder))


def notifications(bench: Workbench) -> list[str]:
    texts: list[str] = bench.page.locator(".notification-list-item").all_inner_texts()
    return texts


def test_missing_then_installed(browser: Browser, vsix: Path, tmp_path: Path) -> None:
    env = environment(tmp_path, PATH=EMPTY_PATH)
    with opened(browser, tmp_path, {"a.py": ""}, vsix, SCRIPTED_SETTINGS, env, "a.py") as bench:
        bench.wait_status("codicon-warning")
        toast = bench.page.locator(".notifications-toasts", has_text="which is not installed")
        toast.wait_for()
        bench.shot("missing")
        toast.get_by_text("Install...").click()
        command = bench.page.locator(".quick-input-list .monaco-list-row", has_text="python3 -m venv")
        command.wait_for()
        bench.shot("install")
        bench.press("Enter")
        rows = bench.page.locator(".panel .xterm-rows")
        until(rows.inner_text, lambda text: "-m venv" in text.replace("\u00a0", " "), bench)  # and nothing runs
        bench.shot("terminal")
        bench.focus()
        bench.type("x = ")  # and nothing happens
        assert bench.ghost() == ""
        installed(tmp_path)  # somehow: it is noticed
        bench.wait_status("codicon-check")
        bench.focus()
        bench.script("found\n")
        bench.type("y = ")
        bench.wait_ghost("found")
        assert not notifications(bench)
        assert not (tmp_path / ".local" / "share" / "midfill").exists()


def test_uv_installs_it_from_the_button(browser: Browser, vsix: Path, tmp_path: Path) -> None:
    """uv is in the folder of its own installer, which is not on the PATH of an editor that no shell started."""
    uv = tmp_path / ".local" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    installs = f"ln -s '{scripted_program(tmp_path)}' '{uv.parent}/midfill'"
    uv.write_text(f"#!/bin/sh\necho \"$@\" > '{tmp_path}/uv-ran'\n{installs}\n")
    uv.chmod(0o755)
    env = environment(tmp_path, PATH=EMPTY_PATH)
    with opened(browser, tmp_path, {"a.py": ""}, vsix, SCRIPTED_SETTINGS, env, "a.py") as bench:
        bench.wait_status("codicon-warning")
        bench.page.locator(".notifications-toasts").get_by_text("Install...").click()
        first = bench.page.locator(".quick-input-list .monaco-list-row").first
        until(first.inner_text, lambda text: "uv tool install" in text, bench)
        bench.press("Enter")
        rows = bench.page.locator(".panel .xterm-rows")
        until(rows.inner_text, lambda text: "tool install" in text.replace("\u00a0", " "), bench)
        assert not (tmp_path / "uv-ran").exists()
        bench.press("Enter")  # the person's
        bench.wait_status("codicon-check")
        assert (tmp_path / "uv-ran").read_text() == "tool install midfill[embedded]\n"
        bench.focus()
        bench.script("found\n")
        bench.type("y = ")
        bench.wait_ghost("found")


def test_the_walkthrough_comes_once(browser: Browser, vsix: Path, tmp_path: Path) -> None:
    settings = {**SCRIPTED_SETTINGS, "workbench.welcomePage.walkthroughs.openOnInstall": True}
    installed(tmp_path)
    env = environment(tmp_path, PATH=EMPTY_PATH)
    with opened(browser, tmp_path, {"a.py": ""}, vsix, settings, env) as bench:
        bench.page.get_by_text("Three steps to ghost text").wait_for()
        bench.page.get_by_text("Install in Terminal").wait_for()
        bench.wait_status("codicon-check")
        bench.shot("walkthrough")


def test_an_untrusted_workspace_runs_and_chooses_nothing(browser: Browser, vsix: Path, tmp_path: Path) -> None:
    marker = tmp_path / "evil-ran"
    evil, programs = EVIL.format(marker=marker), [".venv/bin/midfill", "evil", "bin/midfill"]
    wanted = {"path": "./evil", "model": "./evil.gguf", "adapter": "../evil", "maxTokens": 32}
    chosen = json.dumps({f"midfill.{name}": value for name, value in wanted.items()})
    files = {"a.py": "", ".vscode/settings.json": chosen, **dict.fromkeys(programs, evil)}
    env = environment(tmp_path, PATH=f"{tmp_path / 'project' / 'bin'}:.:{EMPTY_PATH}")
    installed(tmp_path)
    own = {
        "security.workspace.trust.enabled": True,
        "security.workspace.trust.startupPrompt": "never",
        "security.workspace.trust.banner": "never",
    }
    with opened(
        browser, tmp_path, files, vsix, SCRIPTED_SETTINGS, env, "a.py", user=own, programs=programs
    ) as bench:  # fmt: skip
        bench.page.get_by_text("Restricted Mode").first.wait_for()
        bench.wait_status("codicon-check")
        bench.script("harmless\n")
        bench.type("x = ")
        bench.wait_ghost("harmless")
        (hello,) = until(lambda: bench.wire("initialize"), bool, bench)
    options = hello["params"]["initializationOptions"]
    assert options == {"maxDebounceS": 0, "ahead": False, "maxTokens": 32}
    assert not marker.exists()
