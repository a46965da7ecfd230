"""One browser, one extension, and one window with a scripted engine for all tests that leave it unchanged."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from midfill import paths

from .workbench import CHROMIUM, REPOSITORY, Workbench, missing_tool, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NOTEBOOK = {
    "cells": [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": [text]}
        for text in ("x = 1", "")
    ],
    "metadata": {"language_info": {"name": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
NUMBERS = itertools.count(1)
# The scripted engine's settings: nothing runs in the background of what a test checks.
SCRIPTED_SETTINGS = {"midfill.ahead": False, "midfill.maxDebounceS": 0, "editor.inlineSuggest.showToolbar": "never"}


@pytest.fixture(scope="package", autouse=True)
def tools() -> None:
    """Skip a test without its tools on a developer's machine, and fail it in CI."""
    if missing := missing_tool():
        text = f"{missing} is missing: make test-vscode installs it"
        pytest.fail(text) if os.environ.get("MIDFILL_REQUIRE_EDITORS") else pytest.skip(text)


@pytest.fixture(scope="package")
def vsix(tools: None) -> Path:
    """Return the extension as `make vsix` packs it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "--no-print-directory", "vsix"]
    made = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    return max((REPOSITORY / "dist").glob("midfill-*.vsix"), key=lambda file: file.stat().st_mtime)


@pytest.fixture(scope="package")
def browser(tools: None) -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        yield browser
        browser.close()


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return folders of its own for midfill; the cache of prepared models is the machine's."""
    folders = {
        f"MIDFILL_{name}_DIR": str(folder / f"m-{name.lower()}") for name in ("CONFIG", "DATA", "STATE", "RUNTIME")
    }
    return {**folders, "HOME": str(folder), "PYTHONPATH": str(REPOSITORY / "server"), **more}


def with_embedded_model(folder: Path, settings: str) -> dict[str, str]:
    """Install midfill into the project in ``folder`` with ``settings``; return an environment with the prepared
    embedded model. The engine leaves with the window."""
    env = environment(folder, MIDFILL_CACHE_DIR=str(paths.cache_dir()))
    config = Path(env["MIDFILL_CONFIG_DIR"]) / "config.toml"
    config.parent.mkdir()
    config.write_text(f'model = "embedded"\nengine_idle_exit_s = 1.0\n{settings}')
    install(folder / "project")
    return env


def scripted_program(folder: Path) -> Path:
    """Write a program in place of midfill (server.py), with its script and its log in ``folder``; return its path."""
    program = folder / "midfill"
    server = Path(__file__).parent / "server.py"
    words = [sys.executable, "-P", str(server), str(folder / "script.json"), str(folder / "wire.jsonl")]
    program.write_text("#!/bin/sh\nexec " + " ".join(f"'{word}'" for word in words) + ' "$@"\n')
    program.chmod(0o755)
    (folder / "script.json").write_text('{"chunks": ["x"], "delay_s": 0}')
    return program


def install(project: Path) -> None:
    """Put midfill into the workspace's virtual environment, where the extension looks first."""
    program = project / ".venv" / "bin" / "midfill"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -P -m midfill \"$@\"\n")
    program.chmod(0o755)


@pytest.fixture(scope="package")
def window(browser: Browser, vsix: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """Yield a window whose server has a scripted engine."""
    folder = tmp_path_factory.mktemp("vscode")
    config = folder / "m-config" / "config.toml"
    config.parent.mkdir()
    config.write_text('disabled_rules = ["confidence"]\n')  # the scripted engine is never sure
    settings: dict[str, Any] = {**SCRIPTED_SETTINGS, "midfill.path": str(scripted_program(folder))}
    with opened(
        browser,
        folder,
        {"a.py": "# demo\n", "n.ipynb": json.dumps(NOTEBOOK)},
        vsix,
        settings,
        environment(folder),
        "a.py",
    ) as workbench:
        workbench.wait_status("codicon-check")
        yield workbench


@pytest.fixture
def bench(window: Workbench, request: pytest.FixtureRequest) -> Iterator[Workbench]:
    """Yield the shared window with a file of one line; take a picture of it if the test fails."""
    window.head = f"# case {next(NUMBERS)}\n"
    window.write("")
    yield window
    report = getattr(request.node, "report", None)
    if report is None or report.failed:
        window.shot(f"failed-{request.node.name}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.report = report  # type: ignore[attr-defined]
    return report
