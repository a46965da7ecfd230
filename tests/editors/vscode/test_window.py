"""The status bar item and its menu, what they show and switch; and notebooks."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.editors.vscode.made import ASK, FILE, asked

from .workbench import Workbench, machine_setting, until


def user_settings(bench: Workbench) -> str:
    return (bench.folder / "user" / "User" / "settings.json").read_text(encoding="utf-8")


@pytest.fixture
def menu(bench: Workbench) -> Iterator[Workbench]:
    """A window whose menu can be opened by a click on the status bar item."""
    yield bench
    bench.press("Escape")


def open_menu(bench: Workbench) -> list[str]:
    """Click the status bar item; return the entries of the menu."""
    bench.page.click(bench.ITEM)
    bench.page.wait_for_selector(".quick-input-list .monaco-list-row")
    labels: list[str] = []
    for key in ("ArrowUp", "ArrowDown"):  # to the last and to the first: a list holds only the rows in sight
        labels += bench.page.locator(".quick-input-list .monaco-list-row .label-name").all_inner_texts()
        bench.press(key)
        bench.page.wait_for_timeout(100)
    return labels


def test_the_menu(menu: Workbench) -> None:
    labels = [label.strip() for label in open_menu(menu)]
    menu.shot("menu")
    for wanted in (
        "Turn off in this file", "Turn off for Python", "Turn off in this workspace", "Turn off everywhere",
        "Eagerness…", "Lines…", "Snooze…",
        "Explain last suggestion", "Trigger suggestion", "Choose model…", "Choose adapter…", "Statistics", "Log",
        "Settings", "Restart",
    ):  # fmt: skip
        assert wanted in labels, labels


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("everywhere", "midfill is turned off (enabled)"),
        ("for Python", "Automatic suggestions are off for Python (disabled_languages)"),
        ("in this file", "Turned off in this file; what you ask for comes"),
        ("in this workspace", "midfill is turned off (enabled)"),
    ],
)
def test_off_and_on_again(menu: Workbench, where: str, why: str) -> None:
    menu.script("shown", "\n")
    open_menu(menu)
    menu.pick(f"Turn off {where}")
    menu.wait_status("codicon-circle-slash")
    until(lambda: menu.page.get_attribute(menu.ITEM, "aria-label") or "", lambda label: why in label, menu)
    menu.focus()
    menu.type("off = ")
    menu.press("Control+s")
    assert menu.ghost() == ""
    n_started = len(menu.wire("initialize"))
    open_menu(menu)
    menu.pick(f"Turn on {where}")
    if where == "for Python":  # a setting that is no more: midfill's own file counts again
        until(lambda: len(menu.wire("initialize")), lambda n: n > n_started, menu)
    menu.wait_status("codicon-check")
    menu.focus()
    menu.type("+ ")
    menu.wait_ghost("shown")
    assert "disabledLanguages" not in user_settings(menu)
    project = menu.workspace / ".vscode" / "settings.json"
    assert "disabledFiles" not in user_settings(menu) + (project.read_text() if project.is_file() else "")


def test_why_nothing(bench: Workbench) -> None:
    bench.script("\n")
    bench.type("nothing = ")
    until(lambda: bench.news(ASK), bool, bench)
    bench.wait_status("codicon-check")
    bench.command("midfill: Explain Last Suggestion")
    told = bench.page.locator(".editor-group-container", has_text="Explain last suggestion.txt").locator(".view-lines")
    until(told.inner_text, lambda text: text.replace("\u00a0", " ").startswith("Nothing was shown:"), bench)
    bench.shot("explain")
    bench.command("View: Close Editors in Other Groups")
    bench.focus()


def test_statistics(bench: Workbench) -> None:
    bench.command("midfill: Show Statistics")
    told = bench.page.locator(".editor-group-container", has_text="Statistics.txt").locator(".view-lines")
    until(told.inner_text, lambda text: "This window" in text.replace("\u00a0", " ") and "requests" in text, bench)
    bench.shot("statistics")
    bench.command("View: Close Editors in Other Groups")
    bench.focus()


def test_the_adapter_is_chosen_by_name(bench: Workbench) -> None:
    adapter = bench.folder / "m-data" / "adapters" / "mine"
    adapter.mkdir(parents=True, exist_ok=True)
    config = {"r": 8, "lora_alpha": 16, "base_model_name_or_path": "base"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    for name in ("mine", "none"):
        bench.command("midfill: Choose Adapter...")
        bench.page.locator(".quick-input-list .monaco-list-row", has_text="mine").wait_for()
        bench.pick(name)
        sent = until(lambda: bench.news("workspace/didChangeConfiguration")[-1:], bool, bench)
        until(
            lambda: bench.news("workspace/didChangeConfiguration")[-1]["params"]["settings"]["midfill"].get("adapter"),
            lambda adapter, name=name: adapter == name,  # type: ignore[misc]
            bench,
        )
        assert sent
    bench.wait_status("codicon-check")
    bench.focus()


def told(bench: Workbench, name: str) -> object:
    """Return the value of a setting that the server got last."""
    settings = [m["params"]["settings"]["midfill"] for m in bench.news("workspace/didChangeConfiguration")]
    return settings[-1].get(name) if settings else None


@pytest.mark.parametrize(
    ("entry", "name", "value", "usual"),
    [("Eagerness…", "eagerness", "quiet", "balanced"), ("Lines…", "lines", "one", "auto")],
)
def test_the_knob_is_turned(menu: Workbench, entry: str, name: str, value: str, usual: str) -> None:
    for chosen in (value, usual):
        open_menu(menu)
        menu.pick(entry)
        menu.page.locator(".quick-input-title", has_text=f"midfill: {name}").wait_for()
        menu.shot(name)
        menu.pick(chosen)
        until(lambda: told(menu, name), lambda told, chosen=chosen: told == chosen, menu)  # type: ignore[misc]
    open_menu(menu)
    row = menu.page.locator(".quick-input-list .monaco-list-row", has_text=entry)
    until(row.inner_text, lambda text: usual in text, menu)


def test_a_snooze(menu: Workbench) -> None:
    menu.script("shown\n")
    open_menu(menu)
    menu.pick("Snooze…")
    menu.page.locator(".quick-input-list .monaco-list-row", has_text="60 minutes").wait_for()
    menu.pick("15 minutes")
    menu.wait_status("codicon-bell-slash", "15 min")
    menu.focus()
    menu.type("snooze = ")
    menu.page.wait_for_timeout(400)
    assert menu.ghost() == ""
    menu.press("Alt+\\")
    menu.wait_ghost("shown")
    open_menu(menu)
    above = menu.page.get_attribute(".quick-input-widget input.input", "placeholder") or ""
    assert above == "Automatic suggestions are off: Snoozed for another 15 minutes."
    menu.pick("End the snooze")
    menu.wait_status("codicon-check")
    menu.focus()
    menu.type("+ ")
    menu.wait_ghost("shown")


def test_the_model_is_chosen(menu: Workbench) -> None:
    model = "Qwen/Qwen2.5-Coder-1.5B"
    for name in (model, "auto"):
        open_menu(menu)
        menu.pick("Choose model…")
        row = menu.page.locator(".quick-input-list .monaco-list-row", has_text=model)
        until(row.inner_text, lambda text: "3.1 GB to download, needs about 2.1 GB of memory" in text, menu)
        menu.shot("model")
        menu.pick(name)
        until(lambda: told(menu, "model"), lambda told, name=name: told == name, menu)  # type: ignore[misc]
    menu.wait_status("codicon-check")


def test_not_growing_it_comes_whole(bench: Workbench) -> None:
    """In a VS Code that cannot show growth there is one answer, and no value before it."""
    bench.script("one", " two", " three\n", delay_s=0.2)
    with machine_setting(bench, "midfill.grow", False):
        whole, n = "", 0
        while not whole:  # until the window has read its settings
            bench.write("")
            bench.record()
            n += 1
            bench.type(f"whole{n} = ")
            bench.wait_ghost("one two three")
            frames = bench.stop_recording()
            assert n < 20
            whole = "" if bench.news("$/progress", "out") else "whole"
        assert frames == ["", "one two three"]


def test_only_by_hand(bench: Workbench) -> None:
    bench.script("asked\n")
    with machine_setting(bench, "midfill.trigger", "manual"):
        bench.wait_status("codicon-circle-slash")
        bench.type("hand = ")
        bench.press("Alt+\\")
        bench.wait_ghost("asked")
        assert {m["params"]["context"]["triggerKind"] for m in asked(bench, 7)} == {1}
    bench.wait_status("codicon-check")


def test_a_problem_and_its_remedy(menu: Workbench) -> None:
    (menu.folder / "script.json").write_text("broken")
    menu.command("midfill: Restart Language Server")
    menu.wait_status("codicon-error")
    label = menu.page.get_attribute(menu.ITEM, "aria-label") or ""
    assert "Cannot read the script" in label
    assert "delay_s" in label  # the remedy
    menu.focus()
    menu.type("broken = ")  # nothing pops up
    assert menu.ghost() == ""
    assert not menu.page.locator(".notification-list-item").count()
    labels = [text.strip() for text in open_menu(menu)]
    menu.shot("error")
    assert "Run doctor" in labels
    above = menu.page.get_attribute(".quick-input-widget input.input", "placeholder") or ""
    assert above.startswith("midfill has a problem: Cannot read the script")
    menu.script("mended\n")
    menu.pick("Restart")
    menu.wait_status("codicon-check")
    menu.focus()
    menu.type("+ ")
    menu.wait_ghost("mended")


def test_it_restarts(bench: Workbench) -> None:
    n = len(bench.wire("initialize"))
    bench.command("midfill: Restart Language Server")
    until(lambda: len(bench.wire("initialize")), lambda now: now == n + 1, bench)
    bench.wait_status("codicon-check")
    bench.script("again\n")
    bench.type("restarted = ")
    bench.wait_ghost("again")


def test_a_notebook(window: Workbench) -> None:
    window.script("cell_text\n")
    window.page.locator(".explorer-folders-view .monaco-list-row", has_text="n.ipynb").dblclick()
    window.page.locator(".notebook-editor .cell .monaco-editor .view-lines").last.click()
    window.press("Control+End")
    window.type("y = ")
    window.wait_ghost("cell_text")
    window.shot("notebook")
    request = window.wire(ASK)[-1]["params"]
    assert request["textDocument"]["uri"].startswith("vscode-notebook-cell:")
    window.press("Tab")
    cells = window.saved("n.ipynb", lambda text: "y = cell_text" in text)
    assert json.loads(cells)["cells"][1]["source"] == ["y = cell_text"]
    window.page.locator(".explorer-folders-view .monaco-list-row", has_text=FILE).dblclick()
    window.page.locator(".notebook-editor").wait_for(state="hidden")
    window.focus()
